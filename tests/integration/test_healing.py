# SPDX-License-Identifier: Apache-2.0
"""What rots on the disk never reaches a client, and comes back by itself: in the request that finds it, or after the scrub
has found it."""

import json

import images
import pytest
from harness import code_of, wait_until

LARGE = images.random_bytes(3_000_000, "large")
SMALL = images.random_bytes(3_000, "small")


def quarantined(mirror):
    return {p.name.replace("-", ":", 1) for p in (mirror.data / "quarantine").glob("*")}


def flip(path, at=-1):
    """Another byte at that place, everything else as it was."""
    with path.open("r+b") as file:
        file.seek(at, 2 if at < 0 else 0)
        byte = file.read(1)[0]
        file.seek(at, 2 if at < 0 else 0)
        file.write(bytes([byte ^ 1]))


def empty(path):
    path.write_bytes(b"")


def cut(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def remove(path):
    path.unlink()


def make_folder(path):
    path.unlink()
    path.mkdir()
    (path / "inside").write_text("something")


def make_link(path):
    path.unlink()
    path.symlink_to("/etc/passwd")


@pytest.fixture
def held(start, fake):
    """(mirror, image): an image with a small and a large layer that is held, and known by its rows."""
    image = fake.add("a/b", images.image([LARGE, SMALL]), "v1")
    mirror = start(scrub_interval="0s")
    mirror.hold("a/b", "v1", image)
    for digest in image.blobs:
        mirror.wait_hit(f"/v2/a/b/blobs/{digest}", 60)
    return mirror, image


def pull(mirror, image):
    mirror.pull("a/b", "v1", image)
    assert mirror.manifest("a/b", image.digest).body == image.manifest


DAMAGES = [empty, cut, remove, make_folder, make_link, flip]
WHATS = ["large", "small", "manifest"]


def digest_of(image, what):
    return {"manifest": image.digest, "large": images.digest_of(LARGE), "small": images.digest_of(SMALL)}[what]


def assert_only_that_was_fetched(fake, size):
    """Its bytes once, and nobody else's."""
    assert [r.sent for r in fake.asked("/v2/a/b/") if r.method == "GET" and r.sent] == [size]


# Flipped bytes of a large one only hashing can tell: see the scrub.
@pytest.mark.parametrize("damage, what", [(d, w) for d in DAMAGES for w in WHATS if (d, w) != (flip, "large")])
def test_what_was_damaged_while_nobody_ran_is_right_in_the_first_request(held, start, fake, damage, what):
    mirror, image = held
    digest = digest_of(image, what)
    size = mirror.blob_path(digest).stat().st_size
    mirror.stop()
    damage(mirror.blob_path(digest))
    fake.forget()
    mirror = start(data=mirror.data, scrub_interval="0s")
    pull(mirror, image)
    assert_only_that_was_fetched(fake, size)
    mirror.stop()
    assert mirror.holds(digest)
    pull(start(data=mirror.data, scrub_interval="0s", mode="offline"), image)


@pytest.mark.parametrize("ask", ["GET", "HEAD", "range"])
@pytest.mark.parametrize("damage", [empty, cut, make_folder])
def test_a_large_blob_damaged_under_a_server_that_has_it_mapped_is_right_in_the_next_request(held, fake, damage, ask):
    mirror, image = held
    digest = digest_of(image, "large")
    path = f"/v2/a/b/blobs/{digest}"
    assert mirror.get(path).body == LARGE
    damage(mirror.blob_path(digest))
    fake.forget()
    if ask == "GET":
        assert mirror.get(path).body == LARGE
    elif ask == "HEAD":
        assert mirror.head(path).header("content-length") == str(len(LARGE))
    else:
        reply = mirror.get(path, {"Range": "bytes=2000000-2000999"})
        assert (reply.status, reply.body) == (206, LARGE[2_000_000:2_001_000])
    assert mirror.get(path).body == LARGE
    assert fake.sent(digest) == (0 if damage is make_folder else len(LARGE))


def test_what_is_wrong_is_set_aside_for_who_wants_to_look_at_it(held, start):
    mirror, image = held
    digest = digest_of(image, "small")
    mirror.stop()
    flip(mirror.blob_path(digest))
    mirror = start(data=mirror.data, scrub_interval="0s")
    pull(mirror, image)
    wait_until(lambda: quarantined(mirror) == {digest}, what="it in quarantine")
    aside = (mirror.data / "quarantine" / digest.replace(":", "-")).read_bytes()
    assert aside != SMALL and len(aside) == len(SMALL)
    assert mirror.metric("set_aside_blobs_total") == 1


# --- the scrub ---------------------------------------------------------------------------------------------------------


def test_the_scrub_finds_a_flipped_byte_and_the_next_pull_brings_that_blob_alone(held, start, fake):
    mirror, image = held
    digest = digest_of(image, "large")
    mirror.stop()
    flip(mirror.blob_path(digest), at=1_500_000)
    fake.forget()
    mirror = start(data=mirror.data, scrub_interval="1d")
    found = mirror.wait_log(lambda e: e.get("digest") == digest, 60)
    assert found["message"] == "a held blob is wrong, set aside; it is fetched again when it is asked for"
    assert "its bytes are those of sha256:" in found["reason"]
    ended = mirror.wait_log(lambda e: e["message"] == "all that is held was looked at", 60)
    assert (ended["blobs"], ended["wrong"]) == (4, 1)
    assert quarantined(mirror) == {digest} and not mirror.holds(digest)
    assert mirror.metric("scrubbed_blobs_total") == 4
    pull(mirror, image)
    assert_only_that_was_fetched(fake, len(LARGE))


def test_a_stop_does_not_wait_for_the_scrub_which_goes_on_afterwards(start, fake):
    digests = [fake.add_blob("a/b", images.random_bytes(2_000_000, i)) for i in range(4)]
    mirror = start(scrub_interval="0s")
    for digest in digests:
        mirror.blob("a/b", digest)
        mirror.wait_hit(f"/v2/a/b/blobs/{digest}", 60)
    mirror.stop()
    scrubbed = 0
    for i in range(6):  # 8 MB at 1 MiB/s
        mirror = start(data=mirror.data, scrub_interval="30d")
        if i < 5:
            before = scrubbed
            wait_until(lambda: mirror.metric("scrubbed_blobs_total") > 0 or before == 4, 60, "one blob")
            scrubbed += mirror.metric("scrubbed_blobs_total")
        mirror.stop(5)
    assert scrubbed == 4


# --- what verify asks of a server --------------------------------------------------------------------------------------


def recheck(mirror, digest):
    return mirror.ask_local("/control/recheck", "POST", body=digest.encode())


def test_a_server_looks_itself_before_it_sets_anything_aside(held):
    mirror, image = held
    digest = digest_of(image, "large")
    assert json.loads(recheck(mirror, digest).body) == {"verdict": "right"}
    assert mirror.get(f"/v2/a/b/blobs/{digest}").body == LARGE
    flip(mirror.blob_path(digest))
    assert json.loads(recheck(mirror, digest).body) == {"verdict": "wrong"}
    assert mirror.blob("a/b", digest).body == LARGE
    assert json.loads(recheck(mirror, images.digest_of(b"never")).body) == {"verdict": "absent"}
    refused = recheck(mirror, "sha256:123")
    assert (refused.status, code_of(refused)) == (400, "DIGEST_INVALID")
