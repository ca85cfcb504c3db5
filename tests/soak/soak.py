#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""make soak: hours of bad luck in minutes. A mirror before two mirrors and an origin whose faults come and go, clients that
pull, range, look and leave in the middle, kills, a budget that is too small, a scrub that hurries, and a keeper (keeper.py)
who gives commands, reloads, and has a disk that rots. Every answer that was completed is compared; descriptors, memory and
what is on its way in or set aside are watched. SOAK_SECONDS, SOAK_SEED (printed; it chooses the same faults, kills and
commands, not the same threads' turns)."""

import collections
import json
import os
import pathlib
import random
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "integration")]

import images  # noqa: E402
import wire  # noqa: E402
from fake_registry import FakeRegistry  # noqa: E402
from harness import PATIENCE, SANITIZERS, Tranship, binary, wait_until  # noqa: E402
from keeper import Keeper  # noqa: E402

CLIENTS = 6
BUDGET_LEAST = 12 << 20
MEMORY_MOST, MEMORY_GROWTH = 160 << 20, 24 << 20
DESCRIPTORS_MOST = 256
# What is watched: its name, what one of it is, how much it may grow. In quarantine/ is one file a digest that rotted.
WATCHED = [("descriptors", 1, 64), ("MiB of memory", 1 << 20, MEMORY_GROWTH), ("files in ingest/", 1, 16),
           ("files in quarantine/", 1, None), ("folders in import/", 1, 1)]
MEMORY = 1  # its place among them
SAID = {"all that is held was looked at": "passes of the scrub",
        "a held blob is wrong, set aside; it is fetched again when it is asked for": "set aside after hashing",
        "a held blob is missing or broken, fetching it again": "found bad while serving"}
FAULTS = [
    {"status": 500}, {"status": 503, "headers": {"Retry-After": "1"}}, {"status": 429, "headers": {"Retry-After": "1"}},
    {"status": 403}, {"status": 404}, {"hangup": True}, {"cut_after": 100_000}, {"cut_after": 700_000, "reset": True},
    {"corrupt_at": 50_000}, {"corrupt_at": 10}, {"no_range": True}, {"range_shift": 1}, {"rate": 3_000_000}, {"rate": 10_000},
    {"stall_at": 200_000}, {"stall_before": True}, {"delay": 0.4}, {"gzip": True}, {"claim": 77}, {"extra": b"more"},
    {"body": b"<html>sorry</html>", "status": 200}]


class Image:
    def __init__(self, number, dice):
        shared = images.random_bytes(3_000_000, "shared")
        sizes = [dice.choice((2_000, 700_000, 5_000_000, 5_000_000)) for _ in range(3)]
        layers = [images.random_bytes(size, f"soak {number} {i}") for i, size in enumerate(sizes)]
        self.name, self.image = f"library/soak{number}", images.image([shared, *layers])
        self.tag = f"/v2/{self.name}/manifests/latest"


class Soak:
    def __init__(self, folder, seconds, seed):
        self.dice = random.Random(seed)
        self.folder, self.seconds = folder, seconds
        self.sources = [FakeRegistry() for _ in range(3)]  # two mirrors, the origin
        self.images = [Image(i, self.dice) for i in range(8)]
        for fake in self.sources:
            for one in self.images:
                fake.add(one.name, one.image, "latest")
        self.contents = {d: b for one in self.images for d, b in [(one.image.digest, one.image.manifest), *one.image.blobs.items()]}
        self.data, self.config = folder / "data", folder / "soak.json"
        self.usual_budget = max(BUDGET_LEAST, sum(map(len, self.contents.values())) // 2)  # half of it comes again and again
        self.configure(1)
        self.over = threading.Event()
        self.gate = threading.Lock()  # held while the mirror is away
        self.hand = threading.Lock()  # held while a command runs, or a mirror begins
        self.deaths = 0  # counts twice, when it begins and when it is over: odd while one is under way
        self.tally = threading.Lock()
        self.wrong, self.counts = [], {}
        self.latest = collections.deque(maxlen=30)  # what was done to the mirror: told where something is wrong
        self.samples = []
        self.mirror = self.port = None
        self.keeper = Keeper(self, self.dice.random())
        program = binary().read_bytes()
        # A sanitizer keeps what was freed for a while: then only descriptors and files are bounded.
        self.has_own_memory = b"__asan_init" not in program and b"__tsan_init" not in program

    # --- the mirror ---------------------------------------------------------------------------------------------------
    def configure(self, share):
        """The file that the mirror and the commands read. The commands are mirrors, too, where there is no server."""
        *mirrors, origin = self.sources
        self.budget = max(BUDGET_LEAST, int(self.usual_budget * share))
        self.config.write_text(json.dumps({
            "data": str(self.data), "budget": str(self.budget), "scrub_interval": "1s", "tag_ttl": "1s", "negative_ttl": "100ms",
            "connect_timeout": "1s", "header_timeout": "2s", "stall_timeout": "2s", "connections_per_source": 4,
            "log_level": "info",
            "registries": {"docker.io": {"mirrors": [m.url for m in mirrors], "origin": origin.url}}}))

    def begin(self):
        told_by_the_file = dict.fromkeys([*PATIENCE, "connections-per-source", "log-level"])
        self.mirror = Tranship(self.data, None, told_by_the_file | {"config": self.config},
                               listen=f"127.0.0.1:{self.port or 0}").ready()
        self.port = self.mirror.port

    def is_running(self):
        return self.mirror.process.poll() is None

    def settle(self):
        """True once the ledger has done what it was given before."""
        try:
            reply = self.mirror.ask_local("/control/pin", "POST", body=b'{"images": []}')
        except OSError:
            reply = None
        return bool(reply and reply.status == 200) or not self.is_running()  # the next one never saw the files that went

    def count(self, what, times=1):
        with self.tally:
            self.counts[what] = self.counts.get(what, 0) + times

    def note(self, what):
        self.latest.append(f"{time.strftime('%T')} {what}")

    def complain(self, what):
        if not self.wrong:
            self.wrong += [*self.latest, *self.mirror.stderr.split("\n")[-30:]]
        self.wrong.append(what)
        self.over.set()

    # --- clients ------------------------------------------------------------------------------------------------------
    def judge(self, reply, digest, path, begun, part=(0, None)):
        """A completed answer is right or an error that says why; a cut one is none."""
        data = self.contents[digest]
        first, last = part[0], len(data) if part[1] is None else part[1]
        if reply is None or not reply.is_whole:
            self.count("cut")
        elif reply.status in (200, 206):
            if reply.body == data[first:last]:
                self.count("right")
            elif self.keeper.decay.explains(digest, first, last, reply.body, begun):
                self.count("rotten and not looked at yet")
            elif part[1] is not None and "hit" not in (reply.header("cache-status") or ""):
                self.count("range of what is not whole")  # its client proves the whole: see SECURITY.md
            else:
                self.complain(f"wrong bytes for {path}: {len(reply.body)} of {last - first}, {reply.headers}")
        elif reply.status >= 500 or reply.status == 404:
            self.count("refused")
            errors = json.loads(reply.body)["errors"]
            if not errors[0]["message"]:
                self.complain(f"{reply.status} without a message for {path}")
        else:
            self.complain(f"{reply.status} for {path}: {reply.body[:300]!r}")

    def judge_head(self, reply, length, path):
        """Of what is held it is right; of what is not, it is what a source said, which nobody can prove."""
        if reply is None or reply.status != 200 or reply.length == length:
            return
        if "hit" in (reply.header("cache-status") or ""):
            self.complain(f"HEAD says {reply.length} for {path}")
        else:
            self.count("HEAD as a source lied")

    def one_request(self, dice):
        one = dice.choice(self.images[:3] if dice.random() < 0.6 else self.images)  # some are hot
        digest = dice.choice(list(one.image.blobs))
        path, data = f"/v2/{one.name}/blobs/{digest}", self.contents[digest]
        kind, begun = dice.random(), time.monotonic()
        with wire.Wire(self.port, timeout=60) as client:
            if kind < 0.3:
                self.judge(client.exchange(one.tag), one.image.digest, one.tag, begun)
            elif kind < 0.6:
                self.judge(client.exchange(path), digest, path, begun)
            elif kind < 0.8:
                first = dice.randrange(len(data))
                last = min(len(data) - 1, first + dice.choice((0, 100, 64 << 10, 1 << 22)))
                closed = dice.random() < 0.5
                reply = client.exchange(path, headers=[("Range", f"bytes={first}-{last if closed else ''}")])
                self.judge(reply, digest, path, begun, (first, last + 1 if closed else None))
            elif kind < 0.9:
                client.ask(path)
                head = client.head()
                if head and head.status == 200:
                    client.read(dice.randrange(1, len(data) + 1))
                self.count("left")
            else:
                self.judge_head(client.exchange(path, "HEAD"), len(data), path)

    def client(self, seed):
        dice = random.Random(seed)
        while not self.over.is_set():
            with self.gate:
                pass
            try:
                self.one_request(dice)
            except (ConnectionError, TimeoutError) as why:
                self.count(type(why).__name__)
            except Exception as why:  # told at the end
                self.complain(f"{type(why).__name__}: {why}")

    # --- who keeps it ---------------------------------------------------------------------------------------------------
    def keep(self):
        while not self.over.wait(self.keeper.order.uniform(0, 0.4)):
            self.give_a_turn()

    def give_a_turn(self):
        try:
            with self.hand:
                self.keeper.turn()
        except Exception as why:  # told at the end
            self.complain(f"the keeper: {type(why).__name__}: {why}")

    # --- bad luck -----------------------------------------------------------------------------------------------------
    def flip(self):
        """At most two of the three are bad at a time, in one way each, and not for ever."""
        fake = self.dice.choice(self.sources)
        fake.heal()
        if sum(bool(f.journal.faults) for f in self.sources) < 2:
            fake.fault(self.dice.choice(("registry .*blobs", "registry .*manifests", "registry ")),
                       **self.dice.choice(FAULTS))

    def kill(self):
        with self.gate:
            self.deaths += 1
            self.note("killed")
            self.mirror.kill()
            self.deaths += 1
            self.read_log()
            if self.dice.random() < 0.5:
                self.give_a_turn()  # nobody serves
            with self.hand:  # a command that was at work when it died has taken its place
                self.begin()
        self.count("kills")

    def read_log(self):
        """What it said before it ended."""
        said = self.mirror.stderr
        if SANITIZERS.search(said):
            self.complain(said)
        for message, what in SAID.items():
            self.count(what, said.count(f'"message":"{message}"'))

    def sample(self):
        folder = pathlib.Path(f"/proc/{self.mirror.process.pid}")
        try:
            anonymous = int(next(line for line in (folder / "status").read_text().split("\n")
                                 if line.startswith("RssAnon")).split()[1]) << 10
            found = (len(os.listdir(folder / "fd")), anonymous,
                     *(len(list(self.data.glob(f"{place}/*"))) for place in ("ingest", "quarantine", "import")))
        except (OSError, StopIteration):
            return  # between two lives
        self.samples.append(found)
        aside = {p.name.replace("-", ":", 1) for p in self.data.glob("quarantine/*")}
        if right := aside - self.keeper.decay.ever():
            self.complain(f"set aside, and right: {right}")
        if found[0] > DESCRIPTORS_MOST or (self.has_own_memory and found[1] > MEMORY_MOST):
            self.complain(f"{found[0]} descriptors, {found[1] >> 20} MiB")

    def bad_luck(self):
        """Kills in the first half; none in the second, so that growth can be seen."""
        begun = time.monotonic()
        while not self.over.wait(self.dice.uniform(0.1, 0.6)):
            gone = time.monotonic() - begun
            if gone > self.seconds:
                return
            self.flip()
            self.sample()
            if not self.is_running():
                self.complain(f"the mirror ended by itself:\n{self.mirror.tail()}")
            elif gone < self.seconds / 2 and self.dice.random() < 0.04:
                self.kill()

    # --- the whole ----------------------------------------------------------------------------------------------------
    def check_growth(self):
        half = self.samples[len(self.samples) // 2:]
        quarter = max(1, len(half) // 2)
        early, late = half[:quarter], half[quarter:] or half
        for at, (name, unit, most) in enumerate(WATCHED):
            if most is None or (at == MEMORY and not self.has_own_memory):
                continue
            before, now = max(s[at] for s in early), max(s[at] for s in late)
            if now > before + most:
                self.wrong.append(f"{name} grew from {before // unit} to {now // unit}")

    def check_recovery(self):
        """The faults gone and what rotted repaired, everything can be had, and nothing is left over."""
        self.keeper.end()

        def has_all():
            for one in self.images:
                blobs = {f"/v2/{one.name}/blobs/{d}": b for d, b in one.image.blobs.items()}
                for path, data in {one.tag: one.image.manifest, **blobs}.items():
                    reply = self.mirror.get(path)
                    if reply.status != 200 or not reply.is_whole:
                        return False
                    if reply.body != data:
                        self.wrong.append(f"wrong bytes for {path} at the end")
            return True

        wait_until(has_all, 60, "a pull of everything")
        wait_until(lambda: not self.mirror.status()["flows"], 30, "the end of all flows")
        held = sum(p.stat().st_size for p in self.data.glob("blobs/*/*"))
        if held > self.budget * 1.05:
            self.wrong.append(f"{held >> 20} MiB are held of a budget of {self.budget >> 20}")
        for path in self.data.glob("blobs/sha256/*"):
            if images.digest_of(path.read_bytes()) != f"sha256:{path.name}":
                self.wrong.append(f"{path.name} holds something else")
        for place in ("ingest", "import"):
            if left := [p.name for p in self.data.glob(f"{place}/*")]:
                self.wrong.append(f"left in {place}/: {left}")

    def run(self):
        self.begin()
        clients = [threading.Thread(target=self.client, args=(self.dice.random(),)) for _ in range(CLIENTS)]
        clients.append(threading.Thread(target=self.keep))
        try:
            for thread in clients:
                thread.start()
            self.bad_luck()
            self.over.set()
            for fake in self.sources:
                fake.heal()
            for thread in clients:
                thread.join()
            if not self.wrong:
                self.check_growth()
                self.check_recovery()
            self.mirror.stop(60)
            self.read_log()
        finally:
            self.over.set()
            if self.is_running():
                self.mirror.kill()
            for fake in self.sources:
                fake.heal()
                fake.stop()
        return self.wrong


def soak(folder, seconds, seed):
    """(what was wrong, what was counted, the samples)"""
    one = Soak(folder, seconds, seed)
    return one.run(), one.counts, one.samples


def main():
    seconds = int(os.environ.get("SOAK_SECONDS", "600"))
    seed = os.environ.get("SOAK_SEED") or str(random.randrange(1 << 32))
    print(f"SOAK_SEED={seed} SOAK_SECONDS={seconds}", flush=True)
    with tempfile.TemporaryDirectory(prefix="tranship-soak-") as name:
        wrong, counts, samples = soak(pathlib.Path(name), seconds, seed)
    print(", ".join(f"{n} {what}" for what, n in sorted(counts.items())))
    for at, (label, unit, _) in enumerate(WATCHED):
        half = [s[at] // unit for s in samples[len(samples) // 2:]]
        print(f"{label}, second half: {min(half)} to {max(half)}")
    print("\n".join(wrong) or "nothing wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
