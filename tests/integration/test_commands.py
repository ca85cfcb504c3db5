# SPDX-License-Identifier: Apache-2.0
"""What people say about what is held: list, pin, unpin; each beside a running server, and with none."""

import contextlib
import json
import os
import pty
import re
import subprocess
import threading

import images
import pytest
from bundles import command, multi, pull, refused
from harness import at_once, binary, clean_environment, wait_until
from places import MB, Place, made, pull_through


# --- list -------------------------------------------------------------------------------------------------------------


def test_list_tells_what_is_held(fake, place):
    both, one = multi("both"), made("one")
    fake.add("library/multi", both, "1.0")
    fake.add("team/one", one, "a")
    server = place.serve()
    pull(server, "library/multi", "1.0", both)
    pull(server, "team/one", one.digest, one)
    found = place.listed()
    assert list(found) == ["docker.io/library/multi:1.0", f"docker.io/team/one@{one.digest}"]
    tagged, by_digest = found.values()
    assert tagged["digest"] == both.digest and tagged["platforms"] == ["linux/amd64", "linux/arm64"]
    sizes = {d: len(b) for child in both.children for d, b in [(child.digest, child.manifest), *child.blobs.items()]}
    assert tagged["size"] == len(both.manifest) + sum(sizes.values())
    assert (tagged["registry"], tagged["repository"], tagged["tag"]) == ("docker.io", "library/multi", "1.0")
    assert (by_digest["digest"], by_digest["tag"], by_digest["platforms"]) == (one.digest, None, ["linux/amd64"])
    assert {i["state"] for i in found.values()} == {"complete"} and not any(i["is_pinned"] for i in found.values())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", tagged["last_pulled"])


def test_an_image_of_which_one_platform_was_pulled_is_complete_for_that_platform(fake, place):
    both = multi("both")
    fake.add("library/multi", both, "1.0")
    server = place.serve()
    arm = both.children[1]
    assert server.manifest("library/multi", "1.0").body == both.manifest
    pull(server, "library/multi", arm.digest, arm)
    (found,) = place.listed().values()
    assert (found["platforms"], found["state"]) == (["linux/arm64"], "complete")


def test_an_image_that_was_begun_is_partial(fake, place):
    both = multi("both")
    fake.add("library/multi", both, "1.0")
    server = place.serve()
    amd, arm = both.children
    assert server.manifest("library/multi", "1.0").body == both.manifest
    pull(server, "library/multi", amd.digest, amd)
    assert server.manifest("library/multi", arm.digest).body == arm.manifest
    server.wait_held(arm.digest)
    server.settle()
    (found,) = place.listed().values()
    assert (found["platforms"], found["state"]) == (["linux/amd64"], "partial")


def test_list_of_a_repository_and_of_one_name(fake, place):
    first, second = made("first"), made("second")
    fake.add("library/alpine", first, "3.19")
    fake.add("library/alpine", second, "3.20")
    fake.add("team/other", second, "x")
    server = place.serve()
    for name, tag, image in (("library/alpine", "3.19", first), ("library/alpine", "3.20", second),
                             ("team/other", "x", second)):
        pull(server, name, tag, image)
    assert list(place.listed("alpine")) == ["docker.io/library/alpine:3.19", "docker.io/library/alpine:3.20"]
    assert list(place.listed("alpine:3.20")) == ["docker.io/library/alpine:3.20"]
    assert list(place.listed(f"docker.io/library/alpine@{first.digest}")) == ["docker.io/library/alpine:3.19"]
    assert list(place.listed("team/other", "alpine:3.19")) == ["docker.io/team/other:x", "docker.io/library/alpine:3.19"]
    assert "nothing is held of docker.io/library/alpine, 3.21" in place.refused("list", "alpine:3.21")
    assert "nothing is held of ghcr.io/library/alpine" in place.refused("list", "ghcr.io/library/alpine")
    place.refused("list", "Not A Name", status=2)


def test_hits_count_what_was_served_from_here(fake, start, tmp_path):
    one = made("one")
    fake.add("library/one", one, "a")
    server = start()
    pull(server, "library/one", "a", one)
    for _ in range(3):
        assert server.manifest("library/one", one.digest).status == 200
        assert server.head(f"/v2/library/one/manifests/{one.digest}").status == 200  # that is no pull
    server.stop()
    found = json.loads(command("list", "--json", "--data", tmp_path / "data", "one"))["images"]
    assert [i["hits"] for i in found] == [3]
    again = start()
    assert again.manifest("library/one", one.digest).status == 200
    again.stop()
    (found,) = json.loads(command("list", "--json", "--data", tmp_path / "data", "one"))["images"]
    assert found["hits"] == 4


def on_a_terminal(*words):
    """What a command shows there."""
    main, other = pty.openpty()
    process = subprocess.Popen([str(w) for w in (binary(), *words)], stdin=other, stdout=other, stderr=other,
                               env=clean_environment())
    os.close(other)
    shown = b""
    with contextlib.suppress(OSError):  # the other end closed
        while part := os.read(main, 65536):
            shown += part
    os.close(main)
    assert process.wait(30) == 0, shown
    return shown.decode().replace("\r\n", "\n")


def test_the_table_is_the_same_on_a_terminal_and_in_a_pipe(fake, place):
    one = made("one")
    fake.add("library/one", one, "latest")
    server = place.serve()
    pull(server, "library/one", "latest", one)
    said = place.do("list")
    head, line = said.splitlines()
    assert head.split("  ")[0] == "IMAGE" and line.startswith("docker.io/library/one:latest  ")
    assert one.digest[:19] in line and "linux/amd64" in line and line.endswith("complete")
    assert on_a_terminal("list", "--data", place.data) == said
    assert on_a_terminal("pin", "--data", place.data, "one") == "pinned   docker.io/library/one:latest\n"


@pytest.mark.parametrize("words", [["list"], ["pin", "a"], ["unpin", "a"]], ids=lambda w: w[0])
def test_where_there_is_no_data_folder_nothing_is_made(tmp_path, words):
    assert "no-such" in refused(words[0], "--data", tmp_path / "no-such", *words[1:])
    assert not (tmp_path / "no-such").exists()


# --- pin --------------------------------------------------------------------------------------------------------------


def test_a_pin_is_on_a_name_and_is_seen_in_the_list(fake, place):
    one = made("one")
    fake.add("library/one", one, "a")
    server = place.serve()
    pull(server, "library/one", "a", one)
    assert place.do("pin", "one:a") == "pinned   docker.io/library/one:a\n"
    assert place.do("pin", "docker.io/library/one:a") == "pinned   docker.io/library/one:a, as before\n"
    assert place.listed()["docker.io/library/one:a"]["is_pinned"]
    assert place.json("pin", f"one@{one.digest}") == {"images": [
        {"image": f"docker.io/library/one@{one.digest}", "is_changed": True, "is_held": True}]}
    assert place.listed()[f"docker.io/library/one@{one.digest}"]["is_pinned"]
    assert place.do("unpin", "one:a", f"one@{one.digest}").count("unpinned") == 2
    assert [i["is_pinned"] for i in place.listed().values()] == [False]


def test_what_is_not_held_may_be_pinned_ahead(fake, place):
    place.serve()
    assert place.do("pin", "ghcr.io/team/later:1") == "pinned   ghcr.io/team/later:1; not held yet\n"
    (found,) = place.listed().values()
    assert (found["state"], found["is_pinned"], found["digest"], found["size"]) == ("absent", True, None, 0)
    place.do("unpin", "ghcr.io/team/later:1")
    assert not place.listed()


def test_unpinning_what_is_not_pinned_changes_nothing(fake, place):
    place.serve()
    place.do("pin", "one:a")
    assert "docker.io/library/two:latest is not pinned" in place.refused("unpin", "one:a", "two")
    assert place.listed()["docker.io/library/one:a"]["is_pinned"]


def test_names_are_looked_at_before_anything_is_done(fake, place):
    place.serve()
    assert "no image name" in place.refused("pin", "good", "Not Good", status=2)
    place.refused("pin", status=2)
    place.refused("unpin", "a@sha256:12", status=2)
    assert "a digest without the name of an image" in place.refused("pin", made("one").digest, status=2)
    assert not place.listed()


def test_a_pinned_image_stays_however_small_the_budget(fake, place):
    pinned, others = made("pinned", MB), [made(f"other {i}", MB) for i in range(6)]
    fake.add("a/pinned", pinned, "v1")
    server = place.serve(keep_free="0")
    pull(server, "a/pinned", "v1", pinned)
    place.do("pin", "a/pinned:v1")
    place.settle()
    if place.server.process.returncode is None:
        place.server.stop()
    server = place.start(data=place.data, keep_free="0", budget="4MB")
    for i, image in enumerate(others):
        fake.add(f"a/{i}", image, "v1")
        pull_through(server, f"a/{i}", image)
    wait_until(lambda: not server.holds(others[0].layer), what="eviction")
    assert {pinned.digest, *pinned.blobs} <= server.held()


@pytest.mark.parametrize("is_by_digest", [True, False])
def test_a_pinned_image_whose_manifest_rots_keeps_its_layers_until_it_is_unpinned(fake, place, is_by_digest):
    pinned = made("pinned", MB)
    fake.add("a/pinned", pinned, "v1")
    server = place.serve()
    pull(server, "a/pinned", "v1", pinned)
    name = f"a/pinned@{pinned.digest}" if is_by_digest else "a/pinned:v1"
    place.do("pin", name)
    place.settle()
    manifest = server.blob_path(pinned.digest)
    manifest.write_bytes(bytes(len(pinned.manifest)))
    place.do("verify", "--repair")
    place.do("evict", "--budget", "0B")
    assert server.held() == set(pinned.blobs)
    place.do("unpin", name)
    place.do("evict", "--budget", "0B")
    assert server.held() == set()


def test_two_commands_at_once_both_do_what_they_say(fake, place):
    place.serve()
    place.settle()
    names = [f"team/one{i}:x" for i in range(8)]
    at_once(lambda name: command("pin", "--data", place.data, name), names)
    assert {i.removeprefix("docker.io/") for i in place.listed()} == set(names)


def test_commands_beside_pulls(fake, start, tmp_path):
    one = made("one")
    fake.add("library/one", one, "a")
    server = start()
    pull(server, "library/one", "a", one)
    is_over = threading.Event()

    def pulls():
        while not is_over.is_set():
            pull(server, "library/one", "a", one)

    def commands():
        for _ in range(10):
            for verb in "pin", "unpin":
                assert server.ask_local(f"/control/{verb}", "POST", body=b'{"images": ["one:a"]}').status == 200
        is_over.set()

    at_once(lambda f: f(), [pulls, pulls, commands])


@pytest.mark.parametrize("verb", ["pin", "unpin", "remove"])
@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"images": [1]}', b'{"images": ["A"]}', b'{"images": [""]}',
                                  b'{"images": "a"}'])
def test_what_is_no_request_is_refused(tranship, verb, body):
    assert tranship.ask_local(f"/control/{verb}", "POST", body=body).status == 400
    tranship.drain_log()
    assert not [e for e in tranship.log() if e["level"] == "error"]


# --- evict ------------------------------------------------------------------------------------------------------------


def shelf_of(fake, place, count, size=MB, **options):
    """So many images of that size, pulled in their order."""
    server = place.serve(keep_free="0", **options)
    found = []
    for i in range(count):
        image = fake.add(f"a/{i}", made(f"shelf {i}", size), "v1")
        pull(server, f"a/{i}", "v1", image)
        found.append(image)
    return found


def test_evict_frees_down_to_a_budget_and_tells_what_went(fake, place):
    shelf = shelf_of(fake, place, 6)
    would = place.json("evict", "--budget", "3500kB", "--dry-run")
    assert would["is_dry_run"] and len(place.listed()) == 6
    went = place.json("evict", "--budget", "3500kB")
    assert [i["image"] for i in went["images"]] == [f"docker.io/a/{i}:v1" for i in range(len(went["images"]))]
    assert 3 <= len(went["images"]) <= 4 and not went["is_dry_run"]
    assert went["images"] == would["images"] and went["freed"] == would["freed"]
    for i, one in enumerate(went["images"]):
        assert one["digest"] == shelf[i].digest
        assert one["size"] == len(shelf[i].manifest) + sum(map(len, shelf[i].blobs.values()))
    assert went["blobs"] == 3 * len(went["images"])
    assert list(place.listed()) == [f"docker.io/a/{i}:v1" for i in range(len(went["images"]), 6)]
    server = place.serve(keep_free="0")
    pull(server, "a/0", "v1", shelf[0])  # what went comes again


def test_evict_without_a_size_does_what_the_configuration_says(fake, place, tmp_path):
    shelf_of(fake, place, 4)
    assert place.do("evict") == "freed 0 B in 0 blobs\n"
    if place.is_running:
        return
    assert place.do("evict", "--config", written(tmp_path, budget="2500kB", keep_free="0")).startswith("IMAGE")
    assert len(place.listed()) == 2


def written(folder, **keys):
    path = folder / "tranship.json"
    path.write_text(json.dumps(keys))
    return path


def test_the_eviction_of_all_leaves_what_is_pinned(fake, place):
    shelf = shelf_of(fake, place, 3)
    place.do("pin", "a/1:v1", f"a/2@{shelf[2].digest}")
    said = place.do("evict", "--budget", "0")
    assert said.splitlines()[1].split() [:2] == ["docker.io/a/0:v1", shelf[0].digest]
    assert said.splitlines()[-1] == "freed 977.2 KiB in 3 blobs", said
    assert {i["digest"] for i in place.listed().values()} == {shelf[1].digest, shelf[2].digest}


def test_evict_takes_sizes_and_nothing_else(place):
    place.serve()
    assert "not a size" in place.refused("evict", "--budget", "much", status=2)
    assert "tranship remove" in place.refused("evict", "alpine", status=2)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"budget": -1}', b'{"budget": "1GB"}'])
def test_what_is_no_order_to_evict_is_refused(tranship, body):
    assert tranship.ask_local("/control/evict", "POST", body=body).status == 400


def test_pulls_are_right_while_all_is_evicted_over_and_over(fake, start, tmp_path):
    place = Place(start, tmp_path / "data", True)
    shelf = shelf_of(fake, place, 4, 200_000)
    server, is_over = place.serve(), threading.Event()

    def pulls(i):
        while not is_over.is_set():
            pull_through(server, f"a/{i}", shelf[i])

    def evictions(_):
        for _ in range(20):
            assert server.ask_local("/control/evict", "POST", body=b'{"budget": 0}').status == 200
        is_over.set()

    at_once(lambda i: evictions(i) if i == 4 else pulls(i), range(5))
    assert server.metric("evicted_blobs_total") > 0
