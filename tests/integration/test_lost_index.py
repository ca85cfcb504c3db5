# SPDX-License-Identifier: Apache-2.0
"""The index goes away, breaks, or is of another time: pulls go on, and what was held is found again. LOST_INDEX sets how
many blobs the longest story has (100000: a minute or two, most of it for the test's own files)."""

import hashlib
import json
import os
import sqlite3
import time

import images
import pytest
from bundles import command
from harness import Asker, wait_until

COUNT = int(os.environ.get("LOST_INDEX", "3000"))
A_MANIFEST = 10  # blobs of an image
LAYER = images.random_bytes(200_000, "layer")

MADE_ANEW = "the index was made anew from the files; what tags meant, pins and listings are lost"
WRITTEN_AGAIN = "the index had been taken away, and is written again"


@pytest.fixture
def held(start, fake):
    """(mirror, image): one that is held."""
    image = fake.add("a/b", images.image([LAYER]), "v1")
    mirror = start(scrub_interval="0s")
    mirror.hold("a/b", "v1", image)
    mirror.wait_hit(f"/v2/a/b/blobs/{image.layer}", 60)
    return mirror, image


def pull(mirror, image):
    mirror.pull("a/b", "v1", image)
    assert mirror.manifest("a/b", image.digest).body == image.manifest


def index_files(mirror):
    return sorted(mirror.data.glob("tranship.db*"))


def remove_all(mirror):
    for path in index_files(mirror):
        path.unlink()


def remove_database(mirror):
    (mirror.data / "tranship.db").unlink()


def remove_log(mirror):
    (mirror.data / "tranship.db-wal").unlink()


def replace(mirror):
    (mirror.data / "new").write_text("no database at all")
    (mirror.data / "new").rename(mirror.data / "tranship.db")


def rubbish(mirror):
    """As if a disk had written something else, first page included."""
    remove_all(mirror)
    (mirror.data / "tranship.db").write_bytes(images.random_bytes(50_000, "rubbish"))


def of_later_version(mirror):
    with sqlite3.connect(mirror.data / "tranship.db") as index:
        index.execute("PRAGMA user_version = 99")


def fetched(fake):
    """Whose bytes came; a tag that nobody knows any more costs its manifest."""
    return [r.target for r in fake.asked("/v2/a/b/blobs/") if r.method == "GET" and r.sent]


def listed(mirror):
    found = json.loads(command("list", "--json", "--data", mirror.data))["images"]
    return [(one["image"], one["repository"], one["state"]) for one in found]


def test_what_list_tells_of_an_image_without_a_name_is_what_other_commands_take(held, start):
    """Its digest, after any repository for a pin, and alone for who removes it."""
    mirror, image = held
    mirror.stop()
    remove_all(mirror)
    mirror = start(data=mirror.data)
    mirror.wait_log(lambda e: e["message"] == MADE_ANEW, 60)
    ((name, _, _),) = listed(mirror)
    command("pin", f"a/b{name}", "--data", mirror.data)
    command("evict", "--budget", "0", "--data", mirror.data)
    assert mirror.holds(image.layer)
    command("unpin", f"a/b{name}", "--data", mirror.data)
    command("remove", name, "--data", mirror.data)
    assert listed(mirror) == [] and not mirror.holds(image.layer)


@pytest.mark.parametrize("damage", [remove_all, remove_database, remove_log, replace])
def test_an_index_that_is_taken_away_from_a_running_mirror_is_written_again_with_its_tags(held, start, fake, damage):
    mirror, image = held
    fake.forget()
    damage(mirror)
    pull(mirror, image)
    mirror.wait_log(lambda e: e["message"] == WRITTEN_AGAIN, 60)
    pull(mirror, image)
    data = images.random_bytes(5000, damage.__name__)
    digest = fake.add_blob("a/b", data)
    assert mirror.blob("a/b", digest).body == data
    assert [t for t in fetched(fake) if digest not in t] == []
    mirror.stop()
    assert sum(e["message"] == WRITTEN_AGAIN for e in mirror.log()) == 1
    mirror = start(data=mirror.data, mode="offline")
    pull(mirror, image)
    assert mirror.blob("a/b", digest).body == data
    assert MADE_ANEW not in mirror.stderr


@pytest.mark.parametrize("damage, kept_as", [
    (remove_all, None), (rubbish, "tranship.db.broken"), (of_later_version, "tranship.db.later")])
def test_a_mirror_starts_without_its_index_and_fetches_nothing_again(held, start, fake, damage, kept_as):
    mirror, image = held
    mirror.stop()
    damage(mirror)
    fake.forget()
    mirror = start(data=mirror.data)
    told = mirror.wait_log(lambda e: e["message"] == MADE_ANEW, 60)
    assert (told["blobs"], told["manifests"]) == (3, 1)
    assert listed(mirror) == [(f"@{image.digest}", None, "complete")]
    pull(mirror, image)
    assert fetched(fake) == []
    if kept_as:
        assert (mirror.data / kept_as).exists()
        set_aside = mirror.wait_log(lambda e: e.get("kept-as") == kept_as)
        assert set_aside["reason"]
    mirror.wait_tag("a/b", "v1", image.digest)
    mirror.settle()
    assert [(name[-7:], repository) for name, repository, _ in listed(mirror)] == [("/a/b:v1", "a/b")]
    mirror.stop()
    pull(start(data=mirror.data, mode="offline"), image)


def test_an_index_that_breaks_under_a_running_mirror_is_made_anew(held, start, fake):
    mirror, image = held
    path = mirror.data / "tranship.db"
    mirror.stop()
    mirror = start(data=mirror.data, scrub_interval="0s")  # all of it is in the file now
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    fake.forget()
    data = images.random_bytes(5000, "new")
    digest = fake.add_blob("a/b", data)
    assert mirror.blob("a/b", digest).body == data
    mirror.wait_log(lambda e: e["message"] == MADE_ANEW, 60)
    pull(mirror, image)
    assert mirror.blob("a/b", digest).body == data
    assert [t for t in fetched(fake) if digest not in t] == []
    assert (mirror.data / "tranship.db.broken").exists()


# --- very many ---------------------------------------------------------------------------------------------------------


def fill(data):
    """Blobs and manifests of images that only the files tell of; returns how many of each."""
    folder = os.open(data / "blobs" / "sha256", os.O_RDONLY)

    def write(content):
        digest = hashlib.sha256(content).hexdigest()
        file = os.open(digest, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=folder)
        os.write(file, content)
        os.close(file)
        return {"mediaType": images.OCI_LAYER, "digest": f"sha256:{digest}", "size": len(content)}

    for first in range(0, COUNT, A_MANIFEST):
        layers = [write(b"%d/%d " % (first, i) * 100) for i in range(A_MANIFEST - 1)]
        write(json.dumps({"schemaVersion": 2, "mediaType": images.OCI_MANIFEST, "config": layers[0],
                          "layers": layers[1:]}).encode())
    os.close(folder)


@pytest.mark.parametrize("damage", [remove_all, rubbish])
def test_very_many_blobs_are_found_again_while_pulls_go_on(held, start, fake, damage):
    mirror, image = held
    mirror.stop()
    fill(mirror.data)
    damage(mirror)
    fake.forget()
    began = time.perf_counter()
    mirror = start(data=mirror.data, scrub_interval="0s")
    pull(mirror, image)
    first_s = time.perf_counter() - began
    was_behind = MADE_ANEW not in mirror.stderr
    asker = Asker(mirror, {f"/v2/a/b/blobs/{digest}": data for digest, data in image.blobs.items()})
    asker.start()
    told = mirror.wait_log(lambda e: e["message"] == MADE_ANEW, 300)
    took_s = time.perf_counter() - began
    took_ms = asker.end()
    print(f"{COUNT} blobs: first pull after {first_s:.2f} s, all found after {took_s:.1f} s, meanwhile {len(took_ms)} "
          f"answers: p50 {took_ms[len(took_ms) // 2]:.2f} ms, p99 {took_ms[len(took_ms) * 99 // 100]:.2f} ms")
    assert told["blobs"] == COUNT + 3 and told["manifests"] == COUNT // A_MANIFEST + 1
    assert fetched(fake) == []
    assert was_behind or COUNT < 50_000
    index = sqlite3.connect(f"file:{mirror.data}/tranship.db?mode=ro", uri=True)
    assert index.execute("SELECT count(*) FROM blob").fetchone() == (COUNT + 3,)
    index.close()
    wait_until(lambda: mirror.metric("blob_bytes") >= 4096 * (COUNT + 3), what="all counted")
