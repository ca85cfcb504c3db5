#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""make soak: hours of bad luck in minutes. A mirror before two mirrors and an origin whose faults come and go, clients that
pull, range, look and leave in the middle, kills, reloads, a budget that is too small. Every answer that was completed is
compared; descriptors, memory and what is on its way in are watched. SOAK_SECONDS, SOAK_SEED (printed; it chooses the same
faults and kills, not the same threads' turns)."""

import json
import os
import pathlib
import random
import signal
import sys
import tempfile
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/integration"))

import images  # noqa: E402
import wire  # noqa: E402
from fake_registry import FakeRegistry  # noqa: E402
from harness import Tranship, binary, wait_until  # noqa: E402

CLIENTS = 6
BUDGET_LEAST = 12 << 20
MEMORY_MOST, MEMORY_GROWTH = 160 << 20, 24 << 20
DESCRIPTORS_MOST = 256
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
        self.paths = {f"/v2/{self.name}/blobs/{d}": b for d, b in self.image.blobs.items()}
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
        everything = {digest: len(data) for one in self.images for digest, data in one.image.blobs.items()}
        self.budget = max(BUDGET_LEAST, sum(everything.values()) // 2)  # half of it has to be fetched again and again
        self.over = threading.Event()
        self.gate = threading.Lock()  # held while the mirror is away
        self.wrong, self.counts = [], {}
        self.samples = []
        self.mirror = self.port = None
        program = binary().read_bytes()
        # A sanitizer keeps what was freed for a while: then only descriptors and files are bounded.
        self.has_own_memory = b"__asan_init" not in program and b"__tsan_init" not in program

    # --- the mirror ---------------------------------------------------------------------------------------------------
    def begin(self):
        *mirrors, origin = self.sources
        options = {"mirror": [m.url for m in mirrors], "connections-per-source": "4", "tag-ttl": "1s", "negative-ttl": "100ms",
                   "budget": str(self.budget), "connect-timeout": "1s", "header-timeout": "2s", "stall-timeout": "2s",
                   "log-level": "info"}
        self.mirror = Tranship(self.folder / "data", origin.url, options, listen=f"127.0.0.1:{self.port or 0}").ready()
        self.port = self.mirror.port

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def complain(self, what):
        self.wrong.append(what)
        self.over.set()

    # --- clients ------------------------------------------------------------------------------------------------------
    def judge(self, reply, wanted, path):
        """A completed answer is right or an error that says why; a cut one is none."""
        if reply is None or not reply.is_whole:
            self.count("cut")
        elif reply.status in (200, 206):
            self.count("right")
            if reply.body != wanted:
                self.complain(f"wrong bytes for {path}: {len(reply.body)} of {len(wanted)}, {reply.headers}")
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
        path, data = dice.choice(list(one.paths.items()))
        kind = dice.random()
        with wire.Wire(self.port, timeout=60) as client:
            if kind < 0.3:
                self.judge(client.exchange(one.tag), one.image.manifest, one.tag)
            elif kind < 0.6:
                self.judge(client.exchange(path), data, path)
            elif kind < 0.8:
                first = dice.randrange(len(data))
                last = min(len(data) - 1, first + dice.choice((0, 100, 64 << 10, 1 << 22)))
                closed = dice.random() < 0.5
                reply = client.exchange(path, headers=[("Range", f"bytes={first}-{last if closed else ''}")])
                wanted = data[first:last + 1] if closed else data[first:]
                if closed and reply and reply.is_whole and reply.status == 206 and reply.body != wanted:
                    self.count("range of what is not whole")  # its client proves the whole: see SECURITY.md
                else:
                    self.judge(reply, wanted, path)
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
            self.mirror.kill()
            self.begin()
        self.count("kills")

    def sample(self):
        folder = pathlib.Path(f"/proc/{self.mirror.process.pid}")
        try:
            anonymous = int(next(line for line in (folder / "status").read_text().split("\n")
                                 if line.startswith("RssAnon")).split()[1]) << 10
            found = (len(os.listdir(folder / "fd")), anonymous, len(self.mirror.ingest()))
        except (OSError, StopIteration):
            return  # between two lives
        self.samples.append(found)
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
            if self.mirror.process.poll() is not None:
                self.complain(f"the mirror ended by itself:\n{self.mirror.tail()}")
            elif gone < self.seconds / 2 and self.dice.random() < 0.04:
                self.kill()
            elif self.dice.random() < 0.05:
                self.mirror.process.send_signal(signal.SIGHUP)

    # --- the whole ----------------------------------------------------------------------------------------------------
    def check_growth(self):
        half = self.samples[len(self.samples) // 2:]
        quarter = max(1, len(half) // 2)
        early, late = half[:quarter], half[quarter:] or half
        for name, at, most in (("descriptors", 0, 64), ("bytes of memory", 1, MEMORY_GROWTH), ("files in ingest/", 2, 16)):
            if at == 1 and not self.has_own_memory:
                continue
            if max(s[at] for s in late) > max(s[at] for s in early) + most:
                self.wrong.append(f"{name} grew from {max(s[at] for s in early)} to {max(s[at] for s in late)}")

    def check_recovery(self):
        """The faults gone, everything can be had, and nothing is left over."""
        for fake in self.sources:
            fake.heal()

        def has_all():
            for one in self.images:
                for path, data in {one.tag: one.image.manifest, **one.paths}.items():
                    reply = self.mirror.get(path)
                    if reply.status != 200 or not reply.is_whole:
                        return False
                    if reply.body != data:
                        self.wrong.append(f"wrong bytes for {path} at the end")
            return True

        wait_until(has_all, 60, "a pull of everything")
        wait_until(lambda: not self.mirror.status()["flows"], 30, "the end of all flows")
        held = sum(p.stat().st_size for p in self.folder.glob("data/blobs/*/*"))
        if held > self.budget * 1.05:
            self.wrong.append(f"{held >> 20} MiB are held of a budget of {self.budget >> 20}")
        for path in self.folder.glob("data/blobs/sha256/*"):
            if images.digest_of(path.read_bytes()) != f"sha256:{path.name}":
                self.wrong.append(f"{path.name} holds something else")

    def run(self):
        self.begin()
        clients = [threading.Thread(target=self.client, args=(self.dice.random(),)) for _ in range(CLIENTS)]
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
        finally:
            self.over.set()
            if self.mirror.process.poll() is None:
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
    for label, at, unit in (("descriptors", 0, 1), ("MiB anonymous", 1, 1 << 20), ("files in ingest/", 2, 1)):
        half = [s[at] // unit for s in samples[len(samples) // 2:]]
        print(f"{label}, second half: {min(half)} to {max(half)}")
    print("\n".join(wrong) or "nothing wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
