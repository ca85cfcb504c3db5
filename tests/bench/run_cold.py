# SPDX-License-Identifier: Apache-2.0
"""What nobody has asked for yet: from an origin that is free, throttled, far away, narrow per connection, or one of several;
and many clients asking at once."""

import contextlib
import os
import statistics
import time
import urllib.request

import client
from forwarder import Forwarder
from run_pool import Lying
from harness import wait_until
from trial import GB, Row, in_words, measured


def once(port, path, connections=1):
    """A sample of one GET per connection, each to its end."""
    sample = client.drain(port, path, connections)
    return sample | {"first": statistics.median(sample["firsts"]), "last": max(sample["lasts"])}


def words(sample):
    return f"{sample['last']:.2f} s, first byte {sample['first'] * 1000:.1f} ms"


def typical(samples):
    return {key: statistics.median(s[key] for s in samples) for key in ("first", "last")}


def fresh_rounds(trial, size, rounds, run):
    """[run(digest, path)] with a new blob each time."""
    results = []
    for _ in range(rounds):
        digest, path = trial.content.fresh(size)
        results.append(run(digest, path))
        trial.content.drop(digest)
    return results


def settle(programs):
    """Until nobody works on what was before: docker-registry goes on with a blob after its answer, the disk with what was
    written."""
    last = None
    while last != (last := [program.cpu() for program in programs]):
        time.sleep(0.2)  # long enough for the system to account for it
    os.sync()


def free(trial):
    """Another is the first of each round."""
    size = trial.scale.sizes[-1]
    with trial.tranship(trial.origin.url) as ours:
        programs = {"Tranship": ours, **trial.peers()}
        turns = list(programs.items())

        def run(digest, path):
            direct = once(trial.origin.port, path)
            took = {}
            turns.append(turns.pop(0))
            for name, program in turns:
                settle(programs.values())
                before = trial.origin.asked(digest)
                took[name] = measured(program, lambda p: once(p.port, path))
                after = trial.origin.asked(digest)
                took[name]["upstream"] = (after[1] - before[1]) / size
            return direct, took

        results = fresh_rounds(trial, size, trial.scale.cold_rounds, run)
    direct = typical([d for d, _ in results])
    for name in programs:
        samples = [took[name] for _, took in results]
        took = typical(samples)
        cpu = statistics.median(s["cpu"] for s in samples) * GB / size
        upstream = statistics.median(s["upstream"] for s in samples)
        what = f"cold {in_words(size)}, free origin" + ("" if name == "Tranship" else f", by {name}")
        trial.say(Row(what, f"{words(took)}, upstream bytes {upstream:.2f}x", f"direct {words(direct)}",
                      took["last"] / direct["last"], f"{cpu:.2f} s/GB", ("<=", 2.0) if name == "Tranship" else None))


def through(trial, size, line, what, target, rounds, faster=False, direct_rounds=None, **more):
    """The same new blobs through one line, direct and by way of Tranship, taking turns."""
    upstreams = more.pop("lines", [line])
    with trial.tranship(upstreams[-1].url, mirrors=[u.url for u in upstreams[:-1]], **more) as ours:
        def run(_, path):
            direct = once(line.port, path) if run.turn < (direct_rounds or rounds) else None
            run.turn += 1
            for one in upstreams:
                one.forget()
            sample = once(ours.port, path)
            return direct, sample | {"bytes": sum(u.sent for u in upstreams), "asked": sum(len(u.requests) for u in upstreams)}
        run.turn = 0
        results = fresh_rounds(trial, size, rounds, run)
    direct = typical([d for d, _ in results if d])
    samples = [s for _, s in results]
    took = typical(samples)
    ratio = direct["last"] / took["last"] if faster else took["last"] / direct["last"]
    sent, asked = (statistics.median(s[key] for s in samples) for key in ("bytes", "asked"))
    trial.say(Row(what, f"{words(took)}; upstream bytes {sent / size:.3f}x in {asked:g} requests", f"direct {words(direct)}",
                  ratio, "", target))


def throttled(trial):
    scale = trial.scale
    with Forwarder(trial.origin.port, in_all=scale.slow) as line:
        through(trial, scale.slow_size, line, f"cold {in_words(scale.slow_size)}, origin {scale.slow / 1e6:g} MB/s in all: time",
                ("<=", 1.02), scale.cold_rounds)


def far(trial):
    """A new connection of the client each; Tranship's to the origin is kept."""
    scale = trial.scale
    with Forwarder(trial.origin.port, delay=scale.delay) as line:
        through(trial, scale.sizes[0], line,
                f"cold {in_words(scale.sizes[0])}, origin {scale.delay * 1000:g} ms away: time", ("<=", 1.02), scale.far_blobs)


def narrow(trial):
    scale = trial.scale
    with Forwarder(trial.origin.port, per_connection=scale.narrow) as line:
        through(trial, scale.narrow_size, line,
                f"cold {in_words(scale.narrow_size)}, origin {scale.narrow / 1e6:g} MB/s a connection: times faster",
                (">=", 3.5), scale.cold_rounds, faster=True, direct_rounds=1)


def mirrors(trial):
    """Two mirrors and the origin, each behind a line of its own."""
    scale = trial.scale
    with (Forwarder(trial.origin.port, in_all=scale.narrow) as one, Forwarder(trial.origin.port, in_all=scale.narrow) as two,
          Forwarder(trial.origin.port, in_all=scale.narrow) as three):
        through(trial, scale.narrow_size, three,
                f"cold {in_words(scale.narrow_size)}, two mirrors and an origin {scale.narrow / 1e6:g} MB/s each: times faster",
                (">=", 2.7), scale.cold_rounds, faster=True, direct_rounds=1, lines=[one, two, three])


def liar(trial):
    """The same, but one mirror lies: once, for then it is known."""
    scale, size = trial.scale, trial.scale.narrow_size
    lying = Lying(trial.content.www)
    with (contextlib.closing(lying), Forwarder(trial.origin.port, in_all=scale.narrow) as one,
          Forwarder(lying.server.port, in_all=scale.narrow) as two,
          Forwarder(trial.origin.port, in_all=scale.narrow) as three):
        through(trial, size, three, f"cold {in_words(size)}, the same, and one mirror lies: times faster", (">=", 1.0), 1,
                faster=True, lines=[one, two, three])


def reach(trial):
    """Who wants a little of the far end of what nobody has yet, as who pulls lazily does."""
    scale, size = trial.scale, trial.scale.sizes[-1]
    first, length = size // 6 * 5, 64 << 10
    with Forwarder(trial.origin.port, in_all=scale.narrow) as line, trial.tranship(line.url) as ours:
        def run(digest, path):
            line.forget()
            began = time.perf_counter()
            request = urllib.request.Request(ours.url + path, headers={"Range": f"bytes={first}-{first + length - 1}"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                body = answer.read()
            took = time.perf_counter() - began
            with open(trial.content.blobs / digest, "rb") as file:
                if body != os.pread(file.fileno(), length, first):
                    raise client.Failed(f"{path}: not those bytes")
            wait_until(lambda: line.sent > 16 * length, what=f"the filling of {path}")
            return took
        took = fresh_rounds(trial, size, scale.cold_rounds, run)
    trial.say(Row(f"{in_words(length)} at {in_words(first)} of a cold {in_words(size)} blob, origin {scale.narrow / 1e6:g} MB/s "
                  "in all, the filling goes on: of a second", f"{statistics.median(took) * 1000:.0f} ms", "",
                  statistics.median(took), "", ("<=", 1.0)))


def herd(trial):
    """Many clients, one cold blob: from a free origin, then from a throttled one."""
    scale, size = trial.scale, trial.scale.narrow_size
    what = f"herd: {scale.herd} clients, one cold {in_words(size)} blob"
    with trial.tranship(trial.origin.url) as ours:
        def run(digest, path):
            sample = measured(ours, lambda p: once(p.port, path, scale.herd))
            asked, sent = trial.origin.asked(digest)
            return sample | {"asked": asked, "sent": sent}
        samples = fresh_rounds(trial, size, scale.cold_rounds, run)
    took = typical(samples)
    sent = statistics.median(s["sent"] for s in samples) / size
    cpu = statistics.median(s["cpu"] for s in samples) * GB / size / scale.herd
    trial.say(Row(f"{what}: upstream bytes / size", f"last done {words(took)} p50", f"{samples[0]['asked']} requests", sent,
                  f"{cpu:.2f} s/GB", ("<=", 1.01)))
    with Forwarder(trial.origin.port, in_all=scale.slow) as line, trial.tranship(line.url) as ours:
        def slow(_, path):
            direct = once(line.port, path)
            return direct, once(ours.port, path, scale.herd)
        results = fresh_rounds(trial, size, scale.cold_rounds, slow)
    direct, took = typical([d for d, _ in results]), typical([t for _, t in results])
    trial.say(Row(f"{what}, origin {scale.slow / 1e6:g} MB/s: last done", f"{words(took)} p50", f"one, direct {words(direct)}",
                  took["last"] / direct["last"], "", ("<=", 1.05)))
