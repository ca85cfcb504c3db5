# SPDX-License-Identifier: Apache-2.0
"""A data folder in which somebody has been: whatever stands where a file of ours should, the start ends within seconds, and
either serves what is right or says in one line what is in the way. Damaged blobs are test_healing.py's."""

import contextlib
import os
import shutil
import socket
import sqlite3
import stat

import images
import pytest
from failing import Failing
from fake_registry import FakeRegistry
from harness import Tranship, wait_until

LARGE, SMALL = images.random_bytes(3_000_000, "large"), images.random_bytes(3_000, "small")


class World:
    """A registry, and a data folder that holds an image of it, from which each case has a copy."""

    def __init__(self, path):
        self.path, self.data, self.fake, self.started = path, path / "data", FakeRegistry(), []
        self.image = self.fake.add("a/b", images.image([LARGE, SMALL]), "v1")
        mirror = Tranship(path / "seed", self.fake.url).ready()
        mirror.pull("a/b", "v1", self.image)
        for digest in self.image.blobs:
            mirror.wait_hit(f"/v2/a/b/blobs/{digest}")
        mirror.stop()

    def copy(self):
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.copytree(self.path / "seed", self.data)
        return self

    def start(self, **more):
        self.started.append(Tranship(self.data, self.fake.url, **more))
        return self.started[-1]

    def end(self):
        """Of a case that failed, whatever still runs."""
        for mirror in self.started:
            mirror.kill()
        self.started.clear()


@pytest.fixture(scope="module")
def one_world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("edited"))
    yield world
    world.fake.stop()


@pytest.fixture
def world(one_world):
    yield one_world.copy()
    one_world.end()


# --- what may stand under a name: path to nothing ---------------------------------------------------------------------------
def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def empty(path):
    path.write_bytes(b"")


def rubbish(path):
    path.write_bytes(b"\xff\x00rubbish\n" * 50_000)


def folder(path):
    path.mkdir()


def filled_folder(path):
    path.mkdir()
    (path / "inside").write_text("something")


def link(path):
    path.symlink_to("/etc/passwd")


def loop(path):
    path.symlink_to(path.name)


def dangling(path):
    path.symlink_to("nowhere")


def fifo(path):
    os.mkfifo(path)


def listener(path):
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.open(path.parent, os.O_PATH)
        bound.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)


def device(path):
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero: it can be read for ever


THINGS = [empty, rubbish, folder, filled_folder, link, loop, dangling, fifo, listener, device]


def put(thing, path):
    remove(path)
    try:
        thing(path)
    except PermissionError:
        pytest.skip("only root makes devices")


def starts(mirror):
    """True: it serves. False: it ended with one line that names the folder."""
    wait_until(lambda: mirror.is_read or any(e["message"] == "serving" for e in mirror.log()), 20, "a start or an end")
    if not mirror.is_read:
        mirror.ready()
        return True
    assert mirror.wait() > 0, mirror.tail()
    said = [line for line in mirror.stderr.split("\n") if not line.startswith("{")]
    assert len(said) == 1 and str(mirror.data) in said[0], mirror.tail()
    return False


# --- at the start -----------------------------------------------------------------------------------------------------------
BESIDE = ["oci-layout", "tranship.sock", "import", "quarantine", "blobs/sha256/" + "0" * 64, "ingest/sha256-" + "0" * 64]


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("names", [["tranship.db"], ["tranship.db-wal"], ["tranship.db-shm"], BESIDE],
                         ids=["index", "its log", "its shared memory", "all beside"])
def test_whatever_stands_there_it_serves_what_is_right(world, names, thing):
    for name in names:
        put(thing, world.data / name)
    mirror = world.start()
    assert starts(mirror), mirror.tail()
    mirror.pull("a/b", "v1", world.image)
    assert mirror.blob("a/b", "sha256:" + "0" * 64).status == 404
    mirror.stop()


@pytest.mark.parametrize("thing", THINGS)
@pytest.mark.parametrize("name", ["blobs", "blobs/sha256", "blobs/sha512", "ingest"])
def test_what_is_no_folder_stops_the_start_and_another_folder_is_used(world, name, thing):
    put(thing, world.data / name)
    mirror = world.start()
    assert starts(mirror) == (thing in (folder, filled_folder))
    if mirror.port:
        mirror.pull("a/b", "v1", world.image)
        mirror.stop()


@pytest.mark.parametrize("name", ["blobs", "blobs/sha256", "ingest"])
def test_a_link_to_a_folder_is_not_followed_and_told_as_such(world, name):
    there = world.data.with_name("elsewhere")
    shutil.rmtree(there, ignore_errors=True)
    (world.data / name).rename(there)
    (world.data / name).symlink_to(there)
    mirror = world.start()
    assert not starts(mirror) and "a link" in mirror.stderr


def test_an_index_that_is_a_link_to_a_file_is_followed(world):
    there = world.data.with_name("index elsewhere")
    (world.data / "tranship.db").rename(there)
    (world.data / "tranship.db").symlink_to(there)
    mirror = world.start()
    assert starts(mirror)
    mirror.wait_hit(f"/v2/a/b/blobs/{world.image.layer}")
    mirror.stop()
    assert (world.data / "tranship.db").is_symlink()


def test_an_index_of_a_later_version_is_kept_as_it_is_and_the_mirror_starts_without_it(world):
    with contextlib.closing(sqlite3.connect(world.data / "tranship.db")) as index:
        index.execute("PRAGMA user_version = 1000")
    before = (world.data / "tranship.db").read_bytes()
    mirror = world.start()
    assert starts(mirror) and "version 1000" in mirror.stderr
    mirror.pull("a/b", "v1", world.image)
    mirror.stop()
    assert (world.data / "tranship.db.later").read_bytes() == before


@pytest.mark.parametrize("statement", [
    "DROP TABLE holds", "DELETE FROM blob", "UPDATE blob SET size = size + 1", "UPDATE blob SET size = -1",
    "UPDATE blob SET size = 9223372036854775807",
    "UPDATE blob SET digest = x'0101' WHERE size > 1000000", "UPDATE blob SET digest = zeroblob(100000) WHERE size > 1000000",
    "UPDATE manifest SET media_type = hex(zeroblob(10000))", "UPDATE manifest SET media_type = char(10) || 'X-A: b'",
    "UPDATE tag SET digest = x'01'", "UPDATE tag SET digest = (SELECT digest FROM blob ORDER BY size DESC LIMIT 1)",
    "UPDATE tag SET checked_at = 9223372036854775807", "UPDATE holds SET size = -9223372036854775808",
    "UPDATE child SET position = position + 1000000", "DELETE FROM repository", "PRAGMA user_version = -1",
    "PRAGMA user_version = 0", "UPDATE sqlite_sequence SET seq = 1", "CREATE TRIGGER t AFTER INSERT ON blob BEGIN DELETE FROM blob; END"])
def test_rows_that_somebody_changed_cost_a_question_at_most(world, statement):
    with contextlib.closing(sqlite3.connect(world.data / "tranship.db")) as index, contextlib.suppress(sqlite3.OperationalError):
        index.execute(statement)
        index.commit()
    mirror = world.start()
    assert starts(mirror), mirror.tail()
    mirror.pull("a/b", "v1", world.image)
    mirror.pull("a/b", "v1", world.image)
    mirror.stop()
    mirror = world.start()
    assert starts(mirror), mirror.tail()
    mirror.pull("a/b", "v1", world.image)
    mirror.stop()


def fill_with_rubbish(ingest, digests):
    for i in range(500):
        (ingest / f"rubbish {i}").write_bytes(b"x" * (i % 100))
    for name in (b"\xff\xfe", b"n" * 255, b"\n{}", b"sha256-" + b"f" * 64 + b".map.map", b"sha256-" + b"F" * 64, b"sha256-",
                 b".map", b"-.map", b"sha512-" + b"0" * 64, b".sha256-" + b"0" * 64 + b".map.1-1.tmp"):
        (ingest / os.fsdecode(name)).write_bytes(b"rubbish")
    deep = ingest
    for _ in range(200):
        deep = deep / "deep"
        deep.mkdir()
    for thing, digest in zip((folder, filled_folder, link, loop, dangling, fifo, listener, device), digests):
        for suffix in "", ".map":
            put(thing, ingest / f"{digest.replace(':', '-')}{suffix}")


def test_rubbish_in_ingest_harms_no_pull_and_most_of_it_goes(world):
    many = [world.fake.add_blob("a/b", images.random_bytes(200_000, f"rubbish {i}")) for i in range(8)]
    fill_with_rubbish(world.data / "ingest", many)
    mirror = world.start()
    assert starts(mirror)
    for i, digest in enumerate(many):
        assert mirror.blob("a/b", digest).body == images.random_bytes(200_000, f"rubbish {i}")
    mirror.pull("a/b", "v1", world.image)
    mirror.stop()
    assert len(mirror.ingest()) < 20  # folders that are not empty, devices, sockets


CLAIMS = ["{0}\n0 {0}", "200000\n0 {0}", "{0}\n0 200000", "-1\n0 {0}", "200000\n0 1\n5 {0}"]


def leave_partial(world, size, claim):
    """(digest, data) of a blob of which there are so many wrong bytes, if that be, and a map that says so."""
    data = images.random_bytes(200_000, f"lies {size} {claim}")
    digest = world.fake.add_blob("a/b", data)
    name = world.data / "ingest" / digest.replace(":", "-")
    name.write_bytes(b"wrong" * (min(size, 200_001) // 5))
    os.truncate(name, size)  # sparse, if it is more
    name.with_name(name.name + ".map").write_text("tranship-map 1 " + claim.format(size) + "\n")
    return digest, data


def test_a_map_that_lies_costs_a_refetch_at_most(world):
    blobs = [leave_partial(world, size, claim) for size in (0, 1, 199_999, 200_000, 200_001, 10**12) for claim in CLAIMS]
    mirror = world.start()
    assert starts(mirror)
    for digest, data in blobs:
        replies = [mirror.blob("a/b", digest) for _ in range(2)]
        assert replies[-1].status == 200 and replies[-1].body == data
        assert all(one.status >= 500 or not one.is_whole or one.body == data for one in replies)
    mirror.stop()


# --- while it runs ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("thing", [link, loop, dangling, fifo, listener, device])
def test_what_takes_the_place_of_a_held_blob_is_neither_served_nor_waited_for(world, thing):
    mirror = world.start().ready()
    mirror.pull("a/b", "v1", world.image)  # of which it has a part in memory or mapped from now on
    for digest in world.image.blobs:
        put(thing, mirror.blob_path(digest))
    mirror.pull("a/b", "v1", world.image)
    mirror.stop()
    mirror = world.start().ready()
    mirror.pull("a/b", "v1", world.image)
    for digest in world.image.blobs:
        wait_until(lambda: mirror.blob_path(digest).is_file() and not mirror.blob_path(digest).is_symlink(), what="a blob again")
    mirror.stop()


def test_files_that_it_may_not_open_are_fetched_again(world):
    """Another's, or without any right: to root too, if it has no more than other users have."""
    for path in [*world.data.glob("blobs/*/*"), world.data / "oci-layout"]:
        path.chmod(0)
    left = world.data / "ingest" / images.digest_of(LARGE).replace(":", "-")
    left.write_bytes(b"x")
    left.chmod(0)
    without = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"] if os.geteuid() == 0 else []
    mirror = world.start(wrapper=without).ready()
    mirror.pull("a/b", "v1", world.image)
    mirror.stop()


def test_an_index_that_another_process_writes_to_costs_no_pull(world):
    mirror = world.start().ready()
    new = world.fake.add("a/locked", images.image([images.random_bytes(300_000, "locked")]), "v1")
    with contextlib.closing(sqlite3.connect(world.data / "tranship.db", isolation_level=None)) as index:
        index.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            assert mirror.manifest("a/locked", "v1").body == new.manifest
            for digest, data in new.blobs.items():
                assert mirror.blob("a/locked", digest).body == data
            mirror.pull("a/b", "v1", world.image)
        mirror.wait_log(lambda e: e["message"] == "index not written" and "locked" in e["reason"])
        index.execute("ROLLBACK")
    for digest in new.blobs:
        path = f"/v2/a/locked/blobs/{digest}"
        wait_until(lambda: mirror.get(path).header("cache-status") == "tranship; hit", what="a hit again")
    mirror.stop()


def test_two_servers_never_share_a_folder_whichever_way_it_is_named(world):
    first = world.start().ready()
    other = world.data.with_name("other name")
    other.unlink(missing_ok=True)
    other.symlink_to(world.data)
    for name in world.data, other, world.data / "blobs" / "..":
        second = Tranship(name, world.fake.url)
        assert not starts(second) and "in use by another tranship" in second.stderr
    first.pull("a/b", "v1", world.image)
    first.stop()


# --- a clock that jumps -----------------------------------------------------------------------------------------------------
HOUR, YEAR = 3600, 365 * 24 * 3600


@pytest.mark.parametrize("jump", [-HOUR, YEAR, -YEAR], ids=["an hour back", "a year ahead", "a year back"])
def test_a_clock_that_jumps_changes_no_answer(world, jump):
    failing = Failing(world.path / "switches", world.data)
    moves, comes = (f"{word}/{'back' if jump < 0 else 'ahead'}{abs(jump)}" for word in ("moves", "comes"))
    world.fake.add(moves, images.image([b"first"]), "v1")
    mirror = world.start(environment=failing.environment).ready()
    mirror.pull("a/b", "v1", world.image)
    mirror.manifest(moves, "v1")
    assert mirror.manifest(comes, "v1").status == 404
    failing.set_clock(jump)
    moved = world.fake.add(moves, images.image([b"second"]), "v1")
    come = world.fake.add(comes, images.image([b"third"]), "v1")
    assert mirror.manifest(moves, "v1").body == moved.manifest  # what was confirmed at another time is asked again
    assert mirror.manifest(comes, "v1").body == come.manifest
    mirror.pull("a/b", "v1", world.image)
    assert int(mirror.manifest("a/b", "v1").header("age") or 0) < 60
    assert 0 <= mirror.status()["uptime_s"] < 600
    failing.set_clock(0)
    again = world.fake.add(moves, images.image([b"fourth"]), "v1")
    assert mirror.manifest(moves, "v1").body == again.manifest
    failing.set_clock(jump)
    mirror.stop()
    mirror = world.start(environment=failing.environment).ready()
    mirror.pull("a/b", "v1", world.image)
    mirror.stop()
