# SPDX-License-Identifier: Apache-2.0
"""One bench: what is running, how large and how long, runs taking turns, and the rows that come of it."""

import contextlib
import dataclasses
import sys
import time

import client
import started
import wire
from harness import wait_until
from table import Row

GB = 1e9
MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much of everything. Sizes are small, middle, large, largest."""

    sizes: tuple = (4096, MIB, 64 * MIB, 300 * MIB)
    connections: tuple = (1, 8, 64, 256)
    seconds: float = 1.5
    rounds: int = 3
    slow: int = 50_000_000        # bytes a second of a throttled origin
    narrow: int = 5_000_000       # of one connection, or of one of several sources
    slow_size: int = 128 * MIB
    narrow_size: int = 64 * MIB
    cold_rounds: int = 3
    delay: float = 0.05
    layer: int = 8 * MIB          # of the image that dockerd pulls
    far_blobs: int = 9
    pulls: int = 100
    herd: int = 50
    idle: int = 5000
    growth: tuple = (1000, 100_000, 1_000_000)
    bundle: tuple = (8, 256 * MIB)  # layers, and the size of each
    peers: bool = True
    has_targets: bool = True


FULL = Scale()
QUICK = Scale(connections=(8, 64), seconds=1, rounds=1, slow_size=64 * MIB, narrow_size=16 * MIB, cold_rounds=1, far_blobs=3,
              pulls=40, growth=(1000, 100_000), bundle=(4, 64 * MIB), peers=False)
SMOKE = Scale(sizes=(4096, 65536, MIB, 2 * MIB), connections=(2,), seconds=0.2, rounds=1, slow=20_000_000, slow_size=MIB,
              narrow_size=MIB, cold_rounds=1, delay=0.01, layer=MIB // 4, far_blobs=2, pulls=4, herd=4, idle=20, growth=(100, 1000),
              bundle=(2, MIB), has_targets=False)


def in_words(size):
    return f"{size >> 20} MiB" if size >= MIB else f"{size >> 10} KiB"


def one_each(names, rounds):
    """The order of runs: everyone in turn, each round begun by another."""
    for i in range(rounds):
        yield from names[i % len(names):] + names[:i % len(names)]


class Trial:
    """What every run gets. rows grow; programs end with the stack."""

    def __init__(self, folder, scale, stack):
        self.folder, self.scale, self.stack = folder, scale, stack
        self.rows = []
        self.began = time.monotonic()
        self.content = started.Content(folder, scale.sizes)
        self.origin = self.start(started.Origin, folder / "origin", self.content)
        self.files = self.start(started.files, folder / "files", self.content)
        self.count = 0
        self._main = self._peers = None

    def start(self, kind, *words, **more):
        return self.stack.enter_context(kind(*words, **more))

    def new_folder(self, name):
        self.count += 1
        return self.folder / f"{name}{self.count}"

    @contextlib.contextmanager
    def tranship(self, upstream, **more):
        with started.Tranship(self.new_folder("tranship"), upstream, **more) as one:
            yield one

    def main(self):
        """The Tranship of warm runs: before the origin, everything held."""
        if not self._main:
            self._main = self.start(started.Tranship, self.new_folder("tranship"), self.origin.url)
            self._main.after_start = self._main.memory_mib()
            content = self.content
            for path in (content.by_digest, content.by_tag, *content.path.values()):
                warm_up(self._main, path, hit=True)
        return self._main

    def peers(self):
        """{name: program}: what else people would use, where installed; everything held."""
        if self._peers is None:
            self._peers = {}
            if self.scale.peers:
                self._peers["nginx proxy_cache"] = self.start(started.proxy_cache, self.new_folder("cache"), self.origin.port)
                if started.find("docker-registry"):
                    self._peers["docker-registry"] = self.start(started.PullThrough, self.new_folder("pull"), self.origin.port)
            for one in self._peers.values():
                for path in (self.content.by_digest, self.content.by_tag, *self.content.path.values()):
                    warm_up(one, path)
        return self._peers

    def say(self, row):
        if not self.scale.has_targets:
            row.target = None
        self.rows.append(row)
        print(f"{time.monotonic() - self.began:6.1f} s  {row.what}: {row.ours}; {row.beside}", file=sys.stderr, flush=True)

    def take_turns(self, programs, run, rounds=None):
        """{name: samples} of run(program), CPU included."""
        samples = {name: [] for name in programs}
        for name in one_each(list(programs), rounds or self.scale.rounds):
            samples[name].append(measured(programs[name], run))
        return samples

    def compare(self, what, samples, unit, target=None):
        """A row for each beside Tranship; the target holds for the first."""
        ours = samples.pop("Tranship")
        for name, theirs in samples.items():
            key = "bytes_rate" if unit == "GB/s" else "rate"
            a, b = client.median(ours, key), client.median(theirs, key)
            self.say(Row(what, rate_in_words(ours, unit), f"{name} {rate_in_words(theirs, unit)}", a / b,
                         f"{cpu_in_words(ours, unit)} / {cpu_in_words(theirs, unit)}", target))
            target = None


def warm_up(program, path, hit=False):
    """Asks once; with hit, until it is served as held."""
    client.drain(program.port, path)

    def is_hit():
        return wire.fetch(program.port, path, "HEAD").header("cache-status") == "tranship; hit"

    if hit:
        wait_until(is_hit, 30, f"a hit on {path}")


def measured(program, run):
    before = program.cpu()
    sample = run(program)
    sample["cpu"] = program.cpu() - before
    return sample


def brief(value):
    """Two digits that count, and never an exponent."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def rate_in_words(samples, unit):
    if unit == "GB/s":
        return f"{client.median(samples, 'bytes_rate') / GB:.2f} GB/s"
    p50, p99 = client.median(samples, "p50"), client.median(samples, "p99")
    tail = "" if p99 is None else f" (p50 {brief(p50)}, p99 {brief(p99)} ms)"
    return f"{client.median(samples, 'rate') / 1000:.1f} k/s{tail}"


def cpu_in_words(samples, unit):
    cpu = sum(s["cpu"] for s in samples)
    if unit == "GB/s":
        return f"{cpu * GB / max(1, sum(s['bytes'] for s in samples)):.2f} s/GB"
    return f"{cpu * 1e6 / max(1, sum(s['requests'] for s in samples)):.1f} µs"
