# SPDX-License-Identifier: Apache-2.0
"""tranship verify: names what is wrong and nothing else, repairs it, with a server on the same folder and without one."""

import json
import os
import pty
import random
import re
import sqlite3
import subprocess

import images
import pytest
from harness import binary, clean_environment

MANY = 100


def verify(data, *words):
    """Its exit status, what it printed and what it complained of."""
    done = subprocess.run([binary(), "verify", "--data", str(data), *words], env=clean_environment(), timeout=120,
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


def flip(path, at):
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def fill(start, fake, count):
    """(mirror, image): all of an image of so many layers is held."""
    layers = [images.random_bytes(1000 + 700 * i, i) for i in range(count)]
    image = fake.add("a/b", images.image(layers), "v1")
    mirror = start(scrub_interval="0s")
    mirror.hold("a/b", "v1", image)
    mirror.wait_hit(f"/v2/a/b/blobs/{image.layer}", 60)
    return mirror, image


@pytest.fixture(params=["server", "alone"])
def held(request, start, fake):
    """(mirror, image, again): an image that is held, by a server or by none; again() is a server there."""
    mirror, image = fill(start, fake, 5)
    is_alone = request.param == "alone"
    if is_alone:
        mirror.stop()
    return mirror, image, lambda: start(data=mirror.data, scrub_interval="0s") if is_alone else mirror


def in_quarantine(mirror):
    return {p.name.replace("-", ":", 1) for p in mirror.data.glob("quarantine/*")}


def test_where_all_is_right_it_says_so(held):
    mirror, image, _ = held
    status, out, err = verify(mirror.data)
    assert (status, err) == (0, "")
    assert re.fullmatch(r"7 blobs are right \([\d.]+ KiB\), 0 wrong\n", out)
    assert json.loads(verify(mirror.data, "--json")[1]) == {
        "right": 7, "right_bytes": sum(map(len, [*image.blobs.values(), image.manifest])), "wrong": [], "adopted": 0,
        "lost": 0, "index": None}


@pytest.mark.parametrize("is_alone", [False, True])
def test_one_byte_flipped_in_each_of_a_hundred_blobs_is_found_and_fetched_again(start, fake, is_alone):
    mirror, image = fill(start, fake, 2 * MANY)
    chance = random.Random(7)
    bad = dict(chance.sample(list(image.blobs.items()), MANY))
    if is_alone:
        mirror.stop()
    for digest, data in bad.items():
        flip(mirror.blob_path(digest), chance.randrange(len(data)))
    fake.forget()
    for words, is_aside, expected in (((), False, 1), (("--repair",), True, 0)):
        status, out, err = verify(mirror.data, "--json", *words)
        found = json.loads(out)
        assert (status, err) == (expected, "")
        assert {w["digest"]: (w["size"], w["images"], w["set_aside"]) for w in found["wrong"]} == {
            digest: (len(data), ["docker.io/a/b:v1"], is_aside) for digest, data in bad.items()}
        assert all(w["reason"].startswith("its bytes are those of sha256:") for w in found["wrong"])
        assert found["right"] == 2 * MANY + 2 - MANY and found["index"] is None
    assert in_quarantine(mirror) == set(bad)
    if is_alone:
        mirror = start(data=mirror.data, scrub_interval="0s")
    mirror.pull("a/b", "v1", image)
    sent = {r.target.split("/")[-1]: r.sent for r in fake.asked("/v2/a/b/blobs/") if r.method == "GET" and r.sent}
    assert sent == {digest: len(data) for digest, data in bad.items()}
    assert sum(r.sent for r in fake.asked("/v2/a/b/")) == sum(map(len, bad.values()))


def test_it_prints_a_line_for_people(held):
    mirror, image, again = held
    flip(mirror.blob_path(image.layer), 10)
    status, out, err = verify(mirror.data)
    assert (status, err) == (1, "")
    first, second, summary, hint = out.splitlines()
    assert re.fullmatch(rf"{image.layer}  3\.7 KiB  docker\.io/a/b:v1", first)
    assert re.fullmatch(r"    its bytes are those of sha256:[0-9a-f]{64}", second)
    assert summary.startswith("6 blobs are right") and summary.endswith(", 1 wrong")
    assert hint == "tranship verify --repair sets the wrong aside; the next pull fetches them again"
    status, out, _ = verify(mirror.data, "--repair")
    assert status == 0 and "; set aside\n" in out and "1 wrong, of which 1 were set aside" in out
    again().pull("a/b", "v1", image)


def test_what_is_cut_short_emptied_or_no_file_is_found_too(held):
    mirror, image, again = held
    cut, emptied, folder, link = list(image.blobs)[:4]
    mirror.blob_path(cut).write_bytes(image.blobs[cut][:-1])
    mirror.blob_path(emptied).write_bytes(b"")
    for digest in (folder, link):
        mirror.blob_path(digest).unlink()
    mirror.blob_path(folder).mkdir()
    mirror.blob_path(link).symlink_to("/dev/zero")
    status, out, _ = verify(mirror.data, "--json", "--repair")
    assert status == 0
    assert {w["digest"]: w["set_aside"] for w in json.loads(out)["wrong"]} == dict.fromkeys(
        [cut, emptied, folder, link], True)
    again().pull("a/b", "v1", image)
    assert verify(mirror.data)[0] == 0


def test_files_and_index_agree_afterwards(held):
    mirror, image, again = held
    gone, stranger = image.layer, images.random_bytes(500, "stranger")
    mirror.blob_path(gone).unlink()
    mirror.blob_path(images.digest_of(stranger)).write_bytes(stranger)
    status, out, _ = verify(mirror.data)
    assert status == 0
    assert "index: 1 files added, 1 without a file dropped" in out
    with sqlite3.connect(f"file:{mirror.data}/tranship.db?mode=ro", uri=True) as index:
        held = {f"sha256:{row[0][1:].hex()}" for row in index.execute("SELECT digest FROM blob")}
    index.close()
    assert held == mirror.held()
    again().pull("a/b", "v1", image)


@pytest.mark.parametrize("content", [None, b"no database at all, and longer than that"])
def test_an_index_that_is_lost_or_broken_is_told_and_made_anew_by_repair(start, fake, content):
    mirror, image = fill(start, fake, 3)
    mirror.stop()
    for path in mirror.data.glob("tranship.db*"):
        path.unlink()
    if content:
        (mirror.data / "tranship.db").write_bytes(content)
    status, out, err = verify(mirror.data)
    assert status == 1 and out.startswith("5 blobs are right")
    assert len(err.splitlines()) == 1 and err.endswith("tranship verify --repair makes it anew from the files\n")
    assert (mirror.data / "tranship.db").exists() == (content is not None)
    status, out, _ = verify(mirror.data, "--repair")
    assert status == 0 and "index: 5 files added" in out
    assert (mirror.data / "tranship.db.broken").exists() == (content is not None)
    fake.forget()
    start(data=mirror.data).pull("a/b", "v1", image)
    assert [r for r in fake.asked("/v2/a/b/blobs/") if r.method == "GET"] == []


def test_on_a_terminal_it_shows_how_far_it_is_and_leaves_nothing_of_it(start, fake):
    """More than it hashes in the time between two looks."""
    mirror = start(scrub_interval="0s")
    for i in range(4):
        path = mirror.blob_path("sha256:" + f"{i}" * 64)
        with path.open("wb") as file:
            file.truncate(300_000_000)  # sparse: read and hashed like any other
    master, slave = pty.openpty()
    process = subprocess.Popen([binary(), "verify", "--data", str(mirror.data)], env=clean_environment(),
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    seen = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(master)
    assert process.wait() == 1
    assert re.search(rb"MiB of 1\.1 GiB, [\d.]+ \w+/s, \w+ left", seen)
    assert seen.endswith(b"\r\x1b[K")


def test_without_a_folder_and_with_words_that_mean_nothing_there_is_one_line(tmp_path):
    status, out, err = verify(tmp_path / "nowhere")
    assert (status, out) == (1, "") and len(err.splitlines()) == 1 and "is not there" in err
    assert not (tmp_path / "nowhere").exists()
    status, out, err = verify(tmp_path, "alpine")
    assert (status, out) == (2, "") and "verify takes options only" in err
