# SPDX-License-Identifier: Apache-2.0
"""Every call on the data folder may fail: the n-th sync, write, rename, open … is made to, once or from then on, for every n
until no more are reached. What was asked is answered right all the same, and once the cause is gone all is as before.
FAULTS=all walks every n for every reason, which takes minutes; without, there is one reason a kind, and n grows in steps."""

import contextlib
import itertools
import os
import pathlib
import shutil

import images
import pytest
import wire
from failing import FOR_EVER, Failing
from fake_registry import FakeRegistry
from harness import Tranship, at_once, wait_until

IS_WHOLE_WALK = os.environ.get("FAULTS") == "all"
# The first one stands for all in the short walk. No call is left out: there is none of the kind link.
REASONS = {"sync": "EIO ENOSPC EDQUOT", "write": "EIO ENOSPC EDQUOT EROFS", "rename": "EIO ENOSPC EDQUOT EROFS",
           "create": "EMFILE ENOSPC EDQUOT EROFS EIO", "open": "EMFILE EIO", "map": "ENOMEM EIO", "unlink": "EROFS EIO",
           "truncate": "EIO ENOSPC EDQUOT EROFS", "reserve": "EIO ENOSPC EDQUOT", "read": "EIO", "stat": "EIO", "list": "EIO",
           "sync write rename create unlink truncate reserve": "EROFS ENOSPC EIO",
           "sync write rename create open unlink truncate reserve read stat list": "EIO"}
WALKS = [(kinds, reason) for kinds, reasons in REASONS.items() for reason in reasons.split()[:None if IS_WHOLE_WALK else 1]]
MANY = {"once": 1, "for ever": FOR_EVER}
LARGE = images.random_bytes(4_400_000, "failing calls")  # so that it is gathered, mapped, and hashed beside


def steps():
    """1, 2, 3, 4 … or 1, 2, 3, 5, 8 …"""
    n, after = 1, 2
    while True:
        yield n
        n, after = after, after + (1 if IS_WHOLE_WALK else n)


class World:
    """A registry with an image for each case, and a data folder that has some already."""

    def __init__(self, folder):
        self.folder, self.fake, self.serial, self.started = folder, FakeRegistry(), itertools.count(), []
        self.held = [self.image() for _ in range(3)]
        self.old = self.held[0]
        mirror = Tranship(folder / "seed", self.fake.url).ready()
        for one in self.held:
            assert pull(mirror, *one) == []
            settle(mirror)
        self.leave_partial(mirror, self.image())
        mirror.kill()  # so that the index has its log, too

    def leave_partial(self, mirror, one):
        name, image = one
        stall = self.fake.fault("registry GET .*/blobs/", count=1, stall_at=4_200_000)
        with mirror.wire() as client:
            client.ask(f"/v2/{name}/blobs/{list(image.blobs)[1]}")
            assert client.head().status == 200 and client.drain(4_100_000) == 4_100_000
        wait_until(lambda: len(mirror.ingest()) == 2, what="data and map")
        stall.release()

    def image(self):
        """(name, image) that nobody has seen yet."""
        serial = b"%08d" % next(self.serial)
        name = f"failing/{int(serial)}"
        return name, self.fake.add(name, images.image([serial + LARGE, serial + LARGE[:100_000]]), "latest")

    def copy(self):
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        shutil.copytree(self.folder / "seed", self.folder / "data", ignore=shutil.ignore_patterns("*.sock"))

    def start(self, failing):
        """On a fresh copy of the folder, which is where it fails."""
        self.copy()
        return self.start_again(failing).ready()

    def start_again(self, failing, **more):
        mirror = Tranship(self.folder / "data", self.fake.url, {"keep-free": "0", **more}, failing.environment)
        self.started.append(mirror)
        return mirror

    def end(self):
        """Of a case that failed, whatever still runs."""
        for mirror in self.started:
            mirror.kill()
        self.started.clear()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("failing"))
    yield world
    world.fake.stop()


@pytest.fixture
def failing(world):
    yield Failing(world.folder / "switches", world.folder / "data")
    world.end()


def open_files(mirror):
    """What its descriptors on the data folder are open on: (the index, all else). SQLite keeps one that it opened again for
    the next time, as long as there are others."""
    folder = pathlib.Path(f"/proc/{mirror.process.pid}/fd")
    found = []
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(folder / name))
    here = sorted(path for path in found if path.startswith(str(mirror.data)))
    return [path for path in here if "tranship.db" in path], [path for path in here if "tranship.db" not in path]


def check_open_files(mirror, before):
    """None that were not before; of the index twice as many at most, when each of its readers opened it again."""
    wait_until(lambda: open_files(mirror)[1] == before[1], what=f"no more open files than {before[1]}")
    assert len(open_files(mirror)[0]) <= 2 * len(before[0]), open_files(mirror)[0]


def fetch(mirror, path, attempts):
    """Tries again after an answer that was cut or says that it could not be, as a client does."""
    for _ in range(attempts):
        reply = wire.fetch(mirror.port, path, timeout=60)
        if reply and reply.is_whole and reply.status < 500:
            break
    return reply


def pull(mirror, name, image, attempts=1):
    """All of an image as a client takes it. What was not answered as it should have been."""
    wanted = {f"/v2/{name}/manifests/latest": image.manifest}
    wanted |= {f"/v2/{name}/blobs/{d}": b for d, b in image.blobs.items()}
    troubles = []
    for path, data in wanted.items():
        reply = fetch(mirror, path, attempts)
        if reply is None or reply.status != 200 or not reply.is_whole:
            troubles.append((path, reply))
        else:
            assert reply.body == data, f"wrong bytes: {reply}"
    return troubles


def settle(mirror):
    wait_until(lambda: mirror.metric("flows") == 0 and mirror.metric("ledger_queue") == 0, 20, "the end of what was under way")


def check_blobs(mirror, image):
    """A name under blobs/ is a proof."""
    for digest in filter(mirror.holds, [image.digest, *image.blobs]):
        assert images.digest_of(mirror.blob_path(digest).read_bytes()) == digest


def check_case(mirror, world, failing, kinds, reason, first, many):
    """Two clients pull what nobody has, then one again. Whether that came as far as the first call that was to fail."""
    new = world.image()
    troubles = []
    # What is on its way is read from where it was written. If that fails, who reads is cut, and tries again.
    attempts = 2 if "read" in kinds else 1
    failing.fail(kinds, reason, first, many)
    at_once(lambda _: troubles.extend(pull(mirror, *new, attempts)), range(2))
    troubles += pull(mirror, *new, attempts)
    settle(mirror)
    was_reached = failing.seen >= first
    failing.heal()
    check_blobs(mirror, new[1])
    troubles += pull(mirror, *new)
    settle(mirror)
    assert not troubles
    del world.fake.repositories[new[0]]  # there are many
    return was_reached


def leaves_a_mark(kinds, reason):
    """For a minute after that the mirror keeps away from the disk: the next case needs another mirror."""
    return reason in ("ENOSPC", "EDQUOT") or "read" in kinds


@pytest.mark.parametrize("many", MANY)
@pytest.mark.parametrize("kinds, reason", WALKS)
def test_pulls_go_on_whichever_call_fails(world, failing, kinds, reason, many):
    mirror = None
    for n in steps():
        if mirror is None:
            mirror = world.start(failing)
            assert pull(mirror, *world.old) == []
            files = open_files(mirror)
        was_reached = check_case(mirror, world, failing, kinds, reason, n, MANY[many])
        check_open_files(mirror, files)
        assert not list(mirror.data.glob("tranship.db.*")), "an index that could not be read or written is not a broken one"
        if not was_reached or leaves_a_mark(kinds, reason):
            mirror.stop()
            mirror = None
        if not was_reached:
            break


@pytest.mark.parametrize("reason", ["EIO", "EROFS"])
def test_what_could_not_be_stored_is_stored_once_the_cause_is_gone(world, failing, reason):
    mirror = world.start(failing)
    name, image = world.image()
    failing.fail("sync", reason)
    for _ in range(2):  # again, of which a part is in memory
        assert pull(mirror, name, image) == []
        settle(mirror)
    assert not any(map(mirror.holds, [image.digest, *image.blobs]))
    failing.heal()
    failing.set_clock(61)  # what memory has is tried once a minute
    for _ in range(2):
        assert pull(mirror, name, image) == []
    for digest in image.digest, *image.blobs:
        mirror.wait_held(digest)
    settle(mirror)
    mirror.stop()
    mirror = world.start_again(failing, mode="offline").ready()
    assert pull(mirror, name, image) == []
    mirror.stop()


@pytest.mark.parametrize("reason", ["ENOSPC", "EDQUOT"])
def test_a_disk_or_quota_that_is_used_up_lets_pulls_pass(world, failing, reason):
    mirror = world.start(failing)
    pulls = [world.image() for _ in range(8)]
    failing.fail("write create reserve", reason, 60)
    at_once(lambda k: [pull(mirror, *one) == [] or pytest.fail(one[0]) for one in pulls[k::2]], range(2))
    assert mirror.metric("passed_through_total") > 0
    assert sum(e["message"] == "content passes through without being stored" for e in mirror.log()) == 1
    for one in pulls:
        check_blobs(mirror, one[1])
    mirror.stop()


@pytest.mark.parametrize("kind, reason", [("open", "EMFILE"), ("map", "ENOMEM")])
def test_a_held_blob_stays_held_when_the_mirror_is_short_of_something(world, failing, kind, reason):
    mirror = world.start(failing)
    name, image = world.old
    failing.fail(kind, reason)
    assert pull(mirror, name, image) == []
    settle(mirror)
    assert mirror.holds(image.layer)
    failing.heal()
    mirror.wait_hit(f"/v2/{name}/blobs/{image.layer}")
    mirror.stop()


def test_a_disk_that_cannot_be_read_back_costs_one_attempt(world, failing):
    mirror = world.start(failing)
    name, image = world.image()
    failing.fail("read", "EIO")
    path = f"/v2/{name}/blobs/{image.layer}"
    fault = world.fake.fault("registry GET .*/blobs/", count=1, stall_at=50_000)
    assert mirror.get(path).ending == "cut"
    assert mirror.get(path).body == image.blobs[image.layer]  # by a transfer of its own, for the first is still under way
    fault.release()
    for one in (name, image), world.image():
        assert pull(mirror, *one) == []
    mirror.stop()


def test_a_disk_that_gives_nothing_for_a_moment_costs_no_blob_that_the_scrub_looks_at(world, failing):
    world.copy()
    failing.set_clock(2 * 24 * 3600)  # a pass has ended before there was anything
    mirror = world.start_again(failing, **{"scrub-interval": "1d"}).ready()
    wait_until(lambda: mirror.metric("scrubbed_bytes_total") > 300_000, 30, "a large blob that is looked at")
    failing.fail("read", "EIO")
    mirror.wait_log(lambda e: e["message"] == "a held blob cannot be read, and is looked at again", 30)
    failing.heal()
    ended = mirror.wait_log(lambda e: e["message"] == "all that is held was looked at", 60)
    assert ended["wrong"] == 0 and not (mirror.data / "quarantine").exists()
    mirror.stop()


def starts(mirror):
    """True: it serves. False: it ended, with one line that says why."""
    wait_until(lambda: mirror.is_read or any(e["message"] == "serving" for e in mirror.log()), 20, "a start or an end")
    if any(e["message"] == "serving" for e in mirror.log()):
        mirror.ready()
        return True
    assert mirror.wait() > 0, mirror.tail()
    said = [line for line in mirror.stderr.split("\n") if not line.startswith("{")]
    assert len(said) == 1 and str(mirror.data) in said[0], mirror.tail()
    return False


def check_start(mirror, world, failing, kinds):
    """Under the fault what it held is served, and after it all of that is still there."""
    if starts(mirror):
        assert pull(mirror, *world.old, 2 if "read" in kinds else 1) == []
        mirror.stop()
    failing.heal()
    mirror = world.start_again(failing, mode="offline").ready()
    for one in world.held:
        assert pull(mirror, *one) == []
    mirror.stop()


@pytest.mark.parametrize("many", MANY if IS_WHOLE_WALK else ["once"])
@pytest.mark.parametrize("kinds, reason", WALKS if IS_WHOLE_WALK else [walk for walk in WALKS if " " not in walk[0]])
def test_it_starts_or_says_why_whichever_call_fails(world, failing, kinds, reason, many):
    for n in steps():
        world.copy()
        failing.fail(kinds, reason, n, MANY[many])
        mirror = world.start_again(failing)
        check_start(mirror, world, failing, kinds)
        if failing.seen < n:
            break
