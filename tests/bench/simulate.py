#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Which policy keeps the right things: replays made-up traces of pulls through several of them.

A catalogue of image families shares base layers; images are asked for by Zipf's law, ever new
versions take over their family's popularity, and scans touch every image once. A client asks for
all layers of an image (a build machine) or for those that it lacks (a node). Two units are
compared: single blobs, and whole images, of which only those blobs go that no other image held
here shares. Prints byte and request hit ratios; the same seed gives the same numbers.
"""
import argparse
import bisect
import collections
import heapq
import itertools
import random


class Lru:
    """Least recently used; with is_touched=False first in, first out."""

    def __init__(self, budget, is_touched=True):
        self.order = collections.OrderedDict()
        self.is_touched = is_touched

    def add(self, key, size):
        self.order[key] = size

    def hit(self, key):
        if self.is_touched:
            self.order.move_to_end(key)

    def victim(self, spare):
        for key in self.order:
            if key not in spare:
                del self.order[key]
                return key
        return None


class Fifo(Lru):
    def __init__(self, budget):
        super().__init__(budget, False)


class Sieve:
    """One hand over a queue in order of coming; what was used since is passed over once."""

    def __init__(self, budget):
        self.used = collections.OrderedDict()

    def add(self, key, size):
        self.used[key] = False

    def hit(self, key):
        self.used[key] = True

    # The passed-over keep their place in SIEVE; moving them to the end is its lazy cousin, CLOCK,
    # which needs no hand that survives a restart.
    def victim(self, spare):
        for _ in range(2 * len(self.used) + 1):
            key, was_used = next(iter(self.used.items()), (None, False))
            if key is None:
                return None
            if not was_used and key not in spare:
                del self.used[key]
                return key
            self.used[key] = False
            self.used.move_to_end(key)
        return None


class TrueSieve(Sieve):
    """SIEVE itself: the passed-over stay where they are."""

    def __init__(self, budget):
        super().__init__(budget)
        self.queue = []  # by coming, oldest first; holes are None
        self.at = {}
        self.hand = 0

    def add(self, key, size):
        super().add(key, size)
        self.at[key] = len(self.queue)
        self.queue.append(key)

    def victim(self, spare):
        for _ in range(2 * len(self.queue) + 1):
            if self.hand >= len(self.queue):
                self.queue = [key for key in self.queue if key is not None]
                self.at = {key: i for i, key in enumerate(self.queue)}
                self.hand = 0
                if not self.queue:
                    return None
            key = self.queue[self.hand]
            if key is not None:
                if not self.used[key] and key not in spare:
                    self.queue[self.hand] = None
                    del self.used[key], self.at[key]
                    self.hand += 1
                    return key
                self.used[key] = False
            self.hand += 1
        return None


class S3Fifo:
    """A small queue for what is new, a main one for what was used again, ghosts of what went."""

    SMALL = 0.1

    def __init__(self, budget):
        self.budget = budget
        self.small, self.main = collections.OrderedDict(), collections.OrderedDict()
        self.ghosts = collections.OrderedDict()
        self.count = {}
        self.small_bytes = 0

    def add(self, key, size):
        self.count[key] = 0
        if self.ghosts.pop(key, None) is not None:
            self.main[key] = size
        else:
            self.small[key] = size
            self.small_bytes += size

    def hit(self, key):
        self.count[key] = min(3, self.count[key] + 1)

    def _from_small(self, spare):
        for _ in range(len(self.small)):
            key, size = self.small.popitem(last=False)
            if key in spare:
                self.small[key] = size
                continue
            self.small_bytes -= size
            if self.count[key] > 0:
                self.main[key] = size
                self.count[key] = 0
                continue
            self.ghosts[key] = True
            while len(self.ghosts) > len(self.main) + 1:
                self.ghosts.popitem(last=False)
            del self.count[key]
            return key
        return None

    def _from_main(self, spare):
        for _ in range(5 * len(self.main)):
            key, size = self.main.popitem(last=False)
            if self.count[key] > 0 or key in spare:
                self.count[key] = max(0, self.count[key] - 1)
                self.main[key] = size
                continue
            del self.count[key]
            return key
        return None

    def victim(self, spare):
        ways = [self._from_main, self._from_small]
        if self.small_bytes > self.SMALL * self.budget or not self.main:
            ways.reverse()
        for way in ways:
            key = way(spare)
            if key is not None:
                return key
        return None


class Again:
    """Two orders by last use: what was used once since it came, and what was used again. The first
    goes first, as long as it has more than its share."""

    SHARE = 0.25

    def __init__(self, budget):
        self.budget = budget
        self.once, self.again = collections.OrderedDict(), collections.OrderedDict()
        self.once_bytes = 0

    def add(self, key, size):
        self.once[key] = size
        self.once_bytes += size

    def hit(self, key):
        if key in self.once:
            size = self.once.pop(key)
            self.once_bytes -= size
            self.again[key] = size
        self.again.move_to_end(key)

    def victim(self, spare):
        first, second = self.once, self.again
        if self.once_bytes <= self.SHARE * self.budget:
            first, second = second, first
        for queue in (first, second):
            for key in queue:
                if key not in spare:
                    size = queue.pop(key)
                    if queue is self.once:
                        self.once_bytes -= size
                    return key
        return None


class Gdsf:
    """GreedyDual-Size-Frequency: small and often used stays; ages by what went last."""

    def __init__(self, budget):
        self.heap, self.now = [], {}
        self.age = 0.0
        self.serial = itertools.count()

    def _push(self, key, size, count):
        entry = (self.age + count * 1e6 / max(size, 1), next(self.serial), key)
        self.now[key] = (entry, size, count)
        heapq.heappush(self.heap, entry)

    def add(self, key, size):
        self._push(key, size, 1)

    def hit(self, key):
        _, size, count = self.now[key]
        self._push(key, size, count + 1)

    def victim(self, spare):
        passed = []
        found = None
        while self.heap:
            entry = heapq.heappop(self.heap)
            if self.now.get(entry[2], (None,))[0] is not entry:
                continue
            if entry[2] in spare:
                passed.append(entry)
                continue
            found = entry[2]
            self.age = entry[0]
            del self.now[found]
            break
        for entry in passed:
            heapq.heappush(self.heap, entry)
        return found


POLICIES = {"FIFO": Fifo, "LRU": Lru, "CLOCK": Sieve, "SIEVE": TrueSieve, "S3-FIFO": S3Fifo,
            "again": Again, "GDSF": Gdsf}


class ByBlob:
    """Each blob, manifests included, stays and goes by itself."""

    def __init__(self, policy, budget):
        self.budget = budget
        self.policy = policy(budget)
        self.held = {}
        self.bytes = 0

    def pull(self, image, wanted, sizes):
        hits = []
        for blob in wanted:
            hits.append(blob in self.held)
            if hits[-1]:
                self.policy.hit(blob)
                continue
            size = sizes[blob]
            while self.bytes + size > self.budget:
                gone = self.policy.victim(())
                if gone is None:
                    break
                self.bytes -= self.held.pop(gone)
            if self.bytes + size <= self.budget:
                self.held[blob] = size
                self.bytes += size
                self.policy.add(blob, size)
        return hits


class ByImage:
    """Images stay and go whole; a blob goes with the last image here that has it."""

    def __init__(self, policy, budget):
        self.budget = budget
        self.policy = policy(budget)
        self.held = {}
        self.users = collections.Counter()
        self.images = {}
        self.bytes = 0

    def _make_room(self, size, image):
        while self.bytes + size > self.budget:
            gone = self.policy.victim((image,))
            if gone is None:
                return False
            for blob in self.images.pop(gone):
                self.users[blob] -= 1
                if self.users[blob] == 0:
                    del self.users[blob]
                    self.bytes -= self.held.pop(blob, 0)
        return True

    def pull(self, image, wanted, sizes):
        if image.name in self.images:
            self.policy.hit(image.name)
        else:
            self.images[image.name] = image.blobs
            self.users.update(image.blobs)
            self.policy.add(image.name, sum(sizes[blob] for blob in image.own))
        hits = []
        for blob in wanted:
            hits.append(blob in self.held)
            if not hits[-1] and self._make_room(sizes[blob], image.name):
                self.held[blob] = sizes[blob]
                self.bytes += sizes[blob]
        return hits


Image = collections.namedtuple("Image", "name blobs own shared")


class Trace:
    """A catalogue, and pulls from it."""

    def __init__(self, seed, families, versions, alpha, scan_every, novelty):
        self.random = random.Random(seed)
        self.alpha, self.scan_every, self.novelty = alpha, scan_every, novelty
        self.sizes = {}
        self.families = [[] for _ in range(families)]
        self.bases = [self._layers(self.random.randint(1, 4), 3.2) for _ in range(families // 6 + 1)]
        self.rank = list(range(families))
        self.random.shuffle(self.rank)
        for family in range(families):
            for _ in range(self.random.randint(1, versions)):
                self._add_version(family)
        weights = [1 / (i + 1) ** alpha for i in range(families)]
        self.sums = list(itertools.accumulate(weights))

    def _blob(self, mean):
        """Megabytes by a log-normal law, as layers are: many small, few large."""
        name = len(self.sizes)
        self.sizes[name] = max(1000, int(self.random.lognormvariate(mean, 1.6) * 1e6))
        return name

    def _layers(self, count, mean):
        return [self._blob(mean) for _ in range(count)]

    def _add_version(self, family):
        versions = self.families[family]
        base = versions[-1].shared if versions and self.random.random() < 0.7 \
            else self.random.choice(self.bases)
        manifest = len(self.sizes)
        self.sizes[manifest] = 5000
        own = [manifest] + self._layers(self.random.randint(1, 6), 1.0)
        versions.append(Image((family, len(versions)), tuple(base) + tuple(own), tuple(own),
                              tuple(base)))

    def total(self):
        used = {blob for versions in self.families for image in versions for blob in image.blobs}
        return sum(self.sizes[blob] for blob in used)

    def _choose(self):
        at = bisect.bisect(self.sums, self.random.random() * self.sums[-1])
        versions = self.families[self.rank[at]]
        if self.random.random() < self.novelty:
            self._add_version(self.rank[at])
        back = min(len(versions), int(self.random.expovariate(0.7)) + 1)
        return versions[-back]

    def _wanted(self, image):
        if self.random.random() < 0.5:
            return image.blobs
        lacks_base = self.random.random() < 0.2
        return image.blobs if lacks_base else image.own

    def pulls(self, count):
        for i in range(count):
            if self.scan_every and i % self.scan_every == self.scan_every - 1:
                for versions in self.families:
                    for image in versions:
                        yield image, image.blobs, True
            image = self._choose()
            yield image, self._wanted(image), False


def measure(cache, trace, count, warm):
    """Hit ratios of what people asked for: what a scan finds is nobody's gain."""
    asked = hit = asked_bytes = hit_bytes = 0
    for i, (image, wanted, is_scan) in enumerate(trace.pulls(count)):
        hits = cache.pull(image, wanted, trace.sizes)
        if is_scan or i < warm:
            continue
        for blob, was_hit in zip(wanted, hits):
            size = trace.sizes[blob]
            asked += 1
            asked_bytes += size
            hit += was_hit
            hit_bytes += size * was_hit
    return 100 * hit_bytes / asked_bytes, 100 * hit / asked


SCENES = [
    ("Zipf 0.9", dict(alpha=0.9, scan_every=0, novelty=0.0)),
    ("new versions", dict(alpha=0.9, scan_every=0, novelty=0.05)),
    ("nightly scans", dict(alpha=0.9, scan_every=2500, novelty=0.02)),
    ("Zipf 1.2, scans", dict(alpha=1.2, scan_every=2500, novelty=0.02)),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pulls", type=int, default=20000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--budgets", default="5,15,40", help="per cent of the catalogue")
    args = parser.parse_args()
    totals = collections.defaultdict(lambda: [0.0, 0.0, 0])
    for scene, how in SCENES:
        for share in (int(text) for text in args.budgets.split(",")):
            print(f"\n{scene}, budget {share} % of the catalogue: bytes hit, requests hit (%)")
            for unit in (ByBlob, ByImage):
                for name, policy in POLICIES.items():
                    got = []
                    for seed in range(args.seeds):
                        trace = Trace(seed, 300, 8, **how)
                        cache = unit(policy, trace.total() * share // 100)
                        got.append(measure(cache, trace, args.pulls, args.pulls // 5))
                    of_bytes = sum(g[0] for g in got) / len(got)
                    of_requests = sum(g[1] for g in got) / len(got)
                    print(f"  {unit.__name__:8} {name:8} {of_bytes:6.1f} {of_requests:6.1f}",
                          flush=True)
                    total = totals[(unit.__name__, name)]
                    total[0] += of_bytes
                    total[1] += of_requests
                    total[2] += 1
    print("\nmean of all: bytes hit, requests hit (%)")
    for (unit, name), (of_bytes, of_requests, count) in sorted(
            totals.items(), key=lambda item: -item[1][0]):
        print(f"  {unit:8} {name:8} {of_bytes / count:6.1f} {of_requests / count:6.1f}")


if __name__ == "__main__":
    main()
