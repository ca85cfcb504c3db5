# SPDX-License-Identifier: Apache-2.0
"""tranship remove: a name, an image, a blob; what goes with it, what stays, and that it comes again when it is asked for.
Beside a running server, and with none."""

import threading

import images
import pytest
from bundles import all_of, content, multi, pull
from harness import at_once
from places import MB, made, pull_through


def sizes(*parts):
    return sum(map(len, parts))


@pytest.fixture
def pulled(fake, place):
    """pulled(name, tag, image): in the registry, and held here."""
    def begin(name, tag, image, **options):
        fake.add(name, image, tag)
        server = place.serve(**options)
        pull(server, name, tag, image)
        return image
    return begin


def test_an_image_with_one_name_goes_whole_and_comes_again(fake, place, pulled):
    both = pulled("library/multi", "1.0", multi("both"))
    found = place.json("remove", "multi:1.0")
    assert found == {"images": [{"image": "docker.io/library/multi:1.0", "digest": both.digest, "blobs": len(all_of(both)),
                                 "freed": sizes(*all_of(both).values()), "kept_by": None}]}
    assert not content(place.data) and not place.listed()
    fake.forget()
    server = place.serve()
    pull(server, "library/multi", "1.0", both)
    assert len([r for r in fake.asked("GET .*/blobs/") if r.status == 200]) == 4
    assert content(place.data) == set(all_of(both))
    assert place.listed()["docker.io/library/multi:1.0"]["state"] == "complete"


def test_what_another_image_names_stays(place, pulled):
    base = images.random_bytes(200_000, "base")
    one = pulled("a/one", "x", images.image([base, images.random_bytes(10_000, "one")]))
    two = pulled("a/two", "x", images.image([base, images.random_bytes(20_000, "two")], architecture="arm64"))
    said = place.do("remove", "a/one:x")
    own = {d: b for d, b in all_of(one).items() if d not in all_of(two)}
    assert said == f"removed  docker.io/a/one:x; freed {sizes(*own.values()) / 1024:.1f} KiB in {len(own)} blobs\n"
    assert content(place.data) == set(all_of(two))
    assert list(place.listed()) == ["docker.io/a/two:x"]


def test_an_image_with_another_tag_stays_under_that(fake, place, pulled):
    one = pulled("a/one", "x", made("one"))
    pulled("a/one", "y", one)
    assert place.do("remove", "a/one:x") == ("removed  docker.io/a/one:x; what it meant stays, as docker.io/a/one:y "
                                             "has it too\n")
    assert list(place.listed()) == ["docker.io/a/one:y"]
    server = place.serve()
    fake.forget()
    assert server.manifest("a/one", one.digest).body == one.manifest and not fake.asked("GET")
    assert place.json("remove", f"a/one@{one.digest}")["images"][0]["kept_by"] is None  # with all of its tags
    assert not content(place.data)


def test_what_another_repository_has_stays_there_alone(place, pulled):
    one = pulled("a/one", "x", made("one"))
    pulled("b/two", "y", one)
    (found,) = place.json("remove", "a/one:x")["images"]
    assert (found["kept_by"], found["blobs"], found["freed"]) == ("docker.io/b/two:y", 0, 0)
    assert list(place.listed()) == ["docker.io/b/two:y"] and content(place.data) == set(all_of(one))


def test_one_platform_of_an_index_stays_while_that_names_it(place, pulled):
    both = pulled("library/multi", "1.0", multi("both"))
    arm = both.children[1]
    (found,) = place.json("remove", f"multi@{arm.digest}")["images"]
    assert found["kept_by"] == "docker.io/library/multi:1.0" and content(place.data) == set(all_of(both))
    (found,) = place.json("remove", arm.digest)["images"]  # a bare digest goes all the same
    assert (found["image"], found["blobs"], found["kept_by"]) == (arm.digest, len(all_of(arm)), None)
    (listed,) = place.listed().values()
    assert (listed["platforms"], listed["state"]) == (["linux/amd64"], "complete")


def test_a_blob_that_was_removed_is_fetched_again(fake, place, pulled):
    one = pulled("a/one", "x", made("one"))
    assert "in 1 blobs" in place.do("remove", one.layer)
    assert place.listed()["docker.io/a/one:x"]["state"] == "partial" and one.layer not in content(place.data)
    server = place.serve()
    fake.forget()
    pull(server, "a/one", "x", one)
    assert [r.target for r in fake.asked("GET .*/blobs/")] == [f"/v2/a/one/blobs/{one.layer}"]
    assert place.listed()["docker.io/a/one:x"]["state"] == "complete"


def test_what_speaks_of_an_image_goes_with_it(place, pulled):
    one = pulled("a/one", "x", made("one"))
    signature = images.artifact(one, "application/vnd.example.signature", "signed")
    pulled("a/one", signature.digest, signature)
    assert set(all_of(signature)) <= content(place.data)
    place.do("remove", "a/one:x")
    assert not content(place.data)


def test_a_pin_keeps_no_image_from_being_removed_and_stays(place, pulled):
    pulled("a/one", "x", made("one"))
    place.do("pin", "a/one:x")
    place.do("remove", "a/one:x")
    (found,) = place.listed().values()
    assert (found["state"], found["is_pinned"]) == ("absent", True) and not content(place.data)


def test_a_part_that_is_pinned_itself_stays(place, pulled):
    both = pulled("library/multi", "1.0", multi("both"))
    arm = both.children[1]
    place.do("pin", f"multi@{arm.digest}")
    place.do("remove", "multi:1.0")
    assert content(place.data) == set(all_of(arm))
    assert list(place.listed()) == [f"docker.io/library/multi@{arm.digest}"]


def test_if_one_name_is_unknown_nothing_is_removed(place, pulled):
    one = pulled("a/one", "x", made("one"))
    other = images.digest_of(b"other")
    for name in "a/one:y", "ghcr.io/a/one:x", f"a/one@{other}", f"b/two@{one.digest}", other:
        assert f"nothing is held of {name}" in place.refused("remove", "a/one:x", name)
    assert content(place.data) == set(all_of(one)) and list(place.listed()) == ["docker.io/a/one:x"]
    place.refused("remove", status=2)
    place.refused("remove", "Not A Name", status=2)


def test_the_same_name_twice_goes_once(place, pulled):
    one = pulled("a/one", "x", made("one"))
    first, second = place.json("remove", "a/one:x", "docker.io/a/one:x")["images"]
    assert (first["blobs"], second["blobs"]) == (len(all_of(one)), 0)


def test_offline_a_removed_image_is_not_found(fake, start, tmp_path):
    one = made("one")
    fake.add("a/one", one, "x")
    server = start()
    pull(server, "a/one", "x", one)
    server.stop()
    server = start(mode="offline")
    assert server.manifest("a/one", "x").status == 200
    assert server.ask_local("/control/remove", "POST", body=b'{"images": ["a/one:x"]}').status == 200
    for path in "manifests/x", f"manifests/{one.digest}", f"blobs/{one.layer}":
        assert server.get(f"/v2/a/one/{path}").status == 404


def test_who_reads_what_is_removed_in_that_moment_gets_the_right_bytes(fake, start):
    data = images.random_bytes(24 * MB, "read")
    one = fake.add("a/one", images.image([data]), "x")
    server = start()
    pull(server, "a/one", "x", one)
    with server.wire(receive_buffer=4096) as slow:
        slow.ask(f"/v2/a/one/blobs/{one.layer}")
        assert slow.head().header("cache-status") == "tranship; hit"  # and no more is read for now
        assert server.ask_local("/control/remove", "POST", body=b'{"images": ["a/one:x"]}').status == 200
        assert not server.held()
        assert slow.drain(len(data), data) == len(data)
    fake.forget()
    assert server.blob("a/one", one.layer).body == data and fake.sent(one.layer) == len(data)


def test_pulls_are_right_while_all_is_removed_over_and_over(fake, start):
    shelf = [fake.add(f"a/{i}", made(f"shelf {i}", 200_000), "v1") for i in range(3)]
    server, is_over = start(), threading.Event()
    for i, image in enumerate(shelf):
        pull(server, f"a/{i}", "v1", image)

    def pulls(i):
        while not is_over.is_set():
            pull_through(server, f"a/{i}", shelf[i])

    def removals():
        went = 0
        while went < 20:
            for i, image in enumerate(shelf):
                for name in f"a/{i}:v1", image.layer:
                    body = b'{"images": ["%s"]}' % name.encode()
                    went += server.ask_local("/control/remove", "POST", body=body).status == 200
        is_over.set()

    at_once(lambda i: removals() if i == 3 else pulls(i), range(4))
    server.settle()
    assert not [e for e in server.log() if e["message"] == "index not written"]
