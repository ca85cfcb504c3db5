# SPDX-License-Identifier: Apache-2.0
"""A budget that holds: what is kept, what goes, and pulls that succeed where nothing more fits. BUDGET_SCALE multiplies
all sizes of the first two stories (10: a budget of 500 MB under 5 GB of pulls, a file system of 200 MB under 2 GB)."""

import contextlib
import os
import pathlib
import queue
import random
import signal
import subprocess
import sys
import threading

import harness
import images
import pytest
from fake_registry import FakeRegistry
from harness import wait_until

sys.path.append(str(harness.TOP / "tests" / "bench"))
import simulate  # noqa: E402

SCALE = int(os.environ.get("BUDGET_SCALE", "1"))
MB = 1000 * 1000
CLIENTS = 8


def taken(folder):
    """Bytes of disk that a folder takes; what goes away meanwhile takes none."""
    total = 0
    for path in pathlib.Path(folder).rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_blocks * 512
    return total


class Sampler(threading.Thread):
    """The most that a folder took while it was watched."""

    def __init__(self, folder):
        super().__init__()
        self.folder, self.most, self.is_over = folder, 0, threading.Event()

    def run(self):
        while not self.is_over.wait(0.02):
            self.most = max(self.most, taken(self.folder))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.join()


class Shelf:
    """Images of families that share base layers, in the fake registry; some of them hot."""

    def __init__(self, fake, families=10, versions=5, mean_kb=700):
        dice = random.Random(7)
        self.images = []
        for family in range(families):
            base = self._layer(dice, 2 * mean_kb, f"base {family}")
            for version in range(versions):
                layers = [base] + [self._layer(dice, mean_kb, f"{family}.{version}.{i}") for i in range(dice.randint(1, 5))]
                name, tag = f"family/f{family}", f"v{version}"
                self.images.append((name, tag, fake.add(name, images.image(layers), tag)))
        self.hot = self.images[::10]
        self.bytes = sum(len(b) for _, _, i in self.images for b in i.blobs.values())

    @staticmethod
    def _layer(dice, mean_kb, seed):
        return images.random_bytes(int(SCALE * 1000 * mean_kb * dice.uniform(0.3, 1.7)), seed)

    def trace(self, total):
        """Pulls of so many bytes in random order, seven of ten of the hot ones. These come in rounds, so that each is hot to
        the end: one that nobody wanted for a while may go."""
        dice, asked, pulls, round_of_hot = random.Random(11), 0, [], []
        while asked < total:
            if dice.random() < 0.7:
                round_of_hot = round_of_hot or dice.sample(self.hot, len(self.hot))
                one = round_of_hot.pop()
            else:
                one = dice.choice(self.images)
            asked += sum(len(b) for b in one[2].blobs.values())
            pulls.append(one)
        return pulls


def pull_all(mirror, pulls):
    """By several clients side by side; every answer's Cache-Status."""
    work, found = queue.SimpleQueue(), []
    for one in pulls:
        work.put(one)

    def client(_):
        with contextlib.suppress(queue.Empty):
            while True:
                found.extend(one.header("cache-status") for one in mirror.pull(*work.get_nowait()))

    harness.at_once(client, range(CLIENTS))
    return found


def simulated(pulls, budget):
    """The share of bytes that the adopted policy finds, in that order one after the other."""
    cache = simulate.ByImage(simulate.TrueSieve, budget)
    asked = hit = 0
    for name, tag, image in pulls:
        sizes = {image.digest: len(image.manifest)} | {d: len(b) for d, b in image.blobs.items()}
        blobs = tuple(sizes)
        hits = cache.pull(simulate.Image((name, tag), blobs, blobs, ()), blobs, sizes)
        asked += sum(sizes.values())
        hit += sum(size for size, was_hit in zip(sizes.values(), hits) if was_hit)
    return hit / asked


def test_eight_clients_pull_ten_times_the_budget_and_it_holds(fake, start):
    budget = 50 * MB * SCALE
    shelf = Shelf(fake)
    pulls = shelf.trace(10 * budget)
    mirror = start(budget=budget, keep_free=0)
    with Sampler(mirror.data) as sampler:
        pull_all(mirror, pulls)
    assert sampler.most <= budget * 1.05
    assert mirror.metric("evicted_blobs_total") > 0
    gone = {f"{name}:{tag}": {image.digest, *image.blobs} - mirror.held() for name, tag, image in shelf.hot}
    assert not any(gone.values()), gone
    asked = sum(len(b) for _, _, image in pulls for b in image.blobs.values())
    sent = sum(fake.sent(digest) for digest in {d for _, _, image in shelf.images for d in image.blobs})
    hit, expected = 1 - sent / asked, simulated(pulls, budget * 0.965)  # between the two marks
    print(f"bytes hit {hit:.3f}, simulated {expected:.3f}, most {sampler.most / MB:.1f} of {budget / MB:.0f} MB")
    assert abs(hit - expected) < 0.05


@contextlib.contextmanager
def small_disk(folder, megabytes):
    """A file system of that size, for as long as it is needed."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def disk(tmp_path, start):
    """A small file system, there until the mirrors are stopped (start is undone before)."""
    with contextlib.ExitStack() as stack:
        yield lambda megabytes: stack.enter_context(small_disk(tmp_path / "disk", megabytes))
        # what still runs has its folder open: the lazy unmount waits for it


def fill_disk(folder):
    """Somebody else takes all that is left."""
    for size in 1 << 20, 1 << 12:
        with contextlib.suppress(OSError), open(folder / "others", "ab", buffering=0) as rest:
            while rest.write(bytes(size)) == size:
                pass


@pytest.mark.parametrize("keep_free", ["0", "5%"])
def test_on_a_small_disk_every_pull_succeeds_and_some_are_not_stored(fake, start, disk, keep_free):
    shelf = Shelf(fake, families=8, versions=4)
    large = fake.add("large/one", images.image([images.random_bytes(30 * MB * SCALE, "large")]), "v1")
    pulls = shelf.trace(200 * MB * SCALE)
    pulls[::20] = [("large/one", "v1", large)] * len(pulls[::20])  # larger than the disk
    mirror = start(data=disk(20 * SCALE), keep_free=keep_free)
    found = pull_all(mirror, pulls)
    assert found.count("tranship; fwd=uri-miss") > 0
    assert found.count("tranship; hit") > 0
    assert mirror.metric("passed_through_total") > 0
    told = [e for e in mirror.log() if e["message"] == "content passes through without being stored"]
    assert 1 <= len(told) < 4  # once a minute, not once a request


@pytest.mark.parametrize("lanes", [1, 4])
def test_a_disk_that_fills_up_meanwhile_does_not_break_a_pull(fake, start, disk, lanes):
    folder = disk(20)
    data = images.random_bytes(12 * MB, "half way")
    digest = fake.add_blob("a/b", data)
    mirror = start(data=folder, keep_free=0, stall_timeout="60s", connections_per_source=lanes)
    fault = fake.fault("registry GET .*/blobs/", stall_at=6 * MB)
    with mirror.wire(timeout=60) as one, mirror.wire(timeout=60) as other:
        for wire in one, other:
            wire.ask(f"/v2/a/b/blobs/{digest}")
            assert wire.head().status == 200
        assert one.drain(5 * MB, data, 0) == 5 * MB
        fill_disk(folder)
        fault.release()
        threads = [threading.Thread(target=lambda w=w, at=at: results.append(w.drain(12 * MB - at, data, at)))
                   for w, at in ((one, 5 * MB), (other, 0))]
        results = []
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(results) == [7 * MB, 12 * MB]
    assert not mirror.holds(digest) and fake.sent(digest) < 16 * MB  # what was on its way then comes twice
    wait_until(lambda: mirror.metric("flows") == 0, what="the end of the flow, whose room others then take")
    fill_disk(folder)
    image = fake.add("a/full", images.image([images.random_bytes(3 * MB, "full")]), "v1")
    for _ in range(3):  # neither its files nor its rows can be written
        mirror.pull("a/full", "v1", image)
    assert not mirror.holds(image.layer)
    (folder / "others").unlink()
    wait_until(lambda: mirror.get(f"/v2/a/b/blobs/{digest}").body == data and mirror.holds(digest), 70, "stored again")


def test_what_is_larger_than_the_budget_passes_to_each_who_asks(fake, start):
    data = images.random_bytes(8 * MB, "large")
    digest = fake.add_blob("a/b", data)
    mirror = start(budget="4MB", keep_free=0)
    path = f"/v2/a/b/blobs/{digest}"
    mirror.head(path)
    found = []
    harness.at_once(lambda _: found.append(mirror.get(path)), range(CLIENTS))
    assert all(one.status == 200 and one.is_whole and one.body == data for one in found)
    assert {one.header("cache-status") for one in found} <= {"tranship; fwd=uri-miss", "tranship; fwd=uri-miss; collapsed",
                                                             "tranship; fwd=uri-miss; stored"}
    assert not mirror.held() and not mirror.ingest()
    assert taken(mirror.data) < 4 * MB


def test_a_pull_of_a_range_of_what_passes_is_right(fake, start):
    data = images.random_bytes(8 * MB, "large")
    digest = fake.add_blob("a/b", data)
    mirror = start(budget="4MB", keep_free=0)
    found = mirror.get(f"/v2/a/b/blobs/{digest}", {"Range": f"bytes={7 * MB}-"})
    assert found.status == 206 and found.body == data[7 * MB:]


def test_what_a_mirror_sends_of_which_nothing_was_proven_passes_too(fake, start):
    """Such a mirror's bytes are held back at first; where nothing is stored they would wait for ever."""
    data = images.random_bytes(20 * MB, "unproven")
    other = FakeRegistry()
    try:
        digest = fake.add_blob("a/b", data)
        other.add_blob("a/b", data)
        mirror = start(budget="4MB", keep_free=0, mirror=[other.url])
        found = mirror.get(f"/v2/a/b/blobs/{digest}", timeout=30)
        assert found.status == 200 and found.body == data
        assert other.sent(digest) > 4 * MB
    finally:
        other.stop()


def test_wrong_bytes_that_pass_are_never_completed(fake, start):
    data = images.random_bytes(8 * MB, "large")
    digest = fake.add_blob("a/b", data)
    mirror = start(budget="4MB", keep_free=0)
    fake.fault("registry GET .*/blobs/", corrupt_at=5 * MB)
    found = mirror.get(f"/v2/a/b/blobs/{digest}")
    assert not found.is_whole or found.status >= 500


def test_a_slow_reader_of_what_passes_holds_up_nobody_for_long(fake, start):
    data = images.random_bytes(40 * MB, "large")
    digest = fake.add_blob("a/b", data)
    mirror = start(budget="4MB", keep_free=0)
    fault = fake.fault("registry GET .*/blobs/", stall_at=1 << 18)
    with mirror.wire(timeout=60, receive_buffer=4096) as slow, mirror.wire(timeout=60) as fast:
        for wire in slow, fast:
            wire.ask(f"/v2/a/b/blobs/{digest}")
            assert wire.head().status == 200
        fault.release()
        assert fast.drain(40 * MB, data, 0) == 40 * MB


def test_a_smaller_budget_holds_at_sighup_and_what_is_being_read_stays(fake, start, tmp_path):
    read = fake.add("a/read", images.image([images.random_bytes(24 * MB, "read")]), "v1")
    others = [fake.add(f"a/{i}", images.image([images.random_bytes(MB, f"image {i}")]), "v1") for i in range(10)]
    config = tmp_path / "tranship.json"
    config.write_text('{"budget": "1GiB", "keep_free": "0"}')
    mirror = start(config=config)
    mirror.pull("a/read", "v1", read)
    mirror.wait_held(read.layer)
    mirror.wait_hit(f"/v2/a/read/blobs/{read.layer}")
    for i, image in enumerate(others):
        mirror.pull(f"a/{i}", "v1", image)
        mirror.wait_held(image.layer)
    data = read.blobs[read.layer]
    with mirror.wire(receive_buffer=4096) as slow:
        slow.ask(f"/v2/a/read/blobs/{read.layer}")
        assert slow.head().header("cache-status") == "tranship; hit"  # and no more is read for now
        config.write_text('{"budget": "4MB", "keep_free": "0"}')
        mirror.process.send_signal(signal.SIGHUP)
        wait_until(lambda: not any(mirror.holds(image.layer) for image in others), 20, "the rest gone")
        assert mirror.holds(read.layer)
        assert slow.drain(len(data), data) == len(data)
    wait_until(lambda: not mirror.holds(read.layer), 30, "what was read, gone")
    assert mirror.metric("budget_bytes") == 4 * MB
    told = mirror.status()["held"]
    assert told["budget_bytes"] == 4 * MB and 0 < told["disk_bytes"] < 4 * MB
    mirror.pull("a/3", "v1", others[3])


def test_what_was_used_is_known_after_a_restart(fake, start):
    made = [fake.add(f"a/{i}", images.image([images.random_bytes(MB, f"image {i}")]), "v1") for i in range(8)]
    mirror = start(budget="1GiB", keep_free=0)
    for i, image in enumerate(made):
        mirror.pull(f"a/{i}", "v1", image)
        mirror.wait_held(image.layer)
    mirror.wait_hit(f"/v2/a/0/blobs/{made[0].layer}")
    mirror.pull("a/0", "v1", made[0])
    mirror.stop()
    again = start(budget="5MB", keep_free=0)
    wait_until(lambda: taken(again.data) < 5 * MB, 10, "room")
    assert again.holds(made[0].layer) and not again.holds(made[1].layer)
    assert again.holds(made[7].layer)
