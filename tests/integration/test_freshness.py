# SPDX-License-Identifier: Apache-2.0
"""When a tag is asked again, what is asked then, and how an answer says where it came from."""

import images
import pytest
from fake_registry import FakeRegistry
from harness import at_once, wait_until

FIRST = images.image([b"first"])
SECOND = images.image([b"second"])
PATH = "/v2/library/demo/manifests/latest"


@pytest.fixture
def asking(fake, start):
    """A mirror that asks for a tag each time."""
    fake.add("library/demo", FIRST, "latest")
    return start(tag_ttl="0s", negative_ttl="0s")


def test_the_first_pull_is_stored_and_the_next_a_hit(fake, tranship):
    image = fake.add("library/demo", images.image([b"x" * 3000]), "latest")
    for path in (PATH, f"/v2/library/demo/blobs/{image.layer}"):
        assert tranship.get(path).header("cache-status") == "tranship; fwd=uri-miss; stored"
        tranship.wait_hit(path)
        for method in (tranship.get, tranship.head):
            assert method(path).header("cache-status") == "tranship; hit"
    assert tranship.manifest("library/demo", image.digest).header("cache-status") == "tranship; hit"


def test_a_fresh_tag_is_not_asked_again_and_has_an_age(fake, tranship):
    fake.add("library/demo", FIRST, "latest")
    for _ in range(5):
        reply = tranship.get(PATH)
        assert reply.body == FIRST.manifest and 0 <= int(reply.header("age")) < 60
        assert reply.header("warning") is None
    assert len(fake.asked()) == 1


def test_an_old_tag_costs_one_head_and_no_get_while_it_stands(fake, asking):
    assert asking.get(PATH).status == 200
    fake.forget()
    for _ in range(3):
        reply = asking.get(PATH)
        assert reply.body == FIRST.manifest
        assert reply.header("cache-status") == "tranship; fwd=stale; fwd-status=200"
    assert [r.method for r in fake.asked()] == ["HEAD"] * 3


def test_a_tag_that_moved_is_fetched_by_digest(fake, asking):
    assert asking.get(PATH).body == FIRST.manifest
    fake.add("library/demo", SECOND, "latest")
    fake.forget()
    reply = asking.get(PATH)
    assert reply.body == SECOND.manifest and reply.header("docker-content-digest") == SECOND.digest
    asked = fake.asked()
    assert [r.method for r in asked] == ["HEAD", "GET"]
    assert asked[1].path.endswith(SECOND.digest)
    assert asking.get(PATH).body == SECOND.manifest
    assert asking.manifest("library/demo", FIRST.digest).body == FIRST.manifest


def test_a_tag_that_moved_back_needs_no_get(fake, asking):
    assert asking.get(PATH).body == FIRST.manifest
    fake.add("library/demo", SECOND, "latest")
    assert asking.get(PATH).body == SECOND.manifest
    fake.add("library/demo", FIRST, "latest")
    fake.forget()
    assert asking.get(PATH).body == FIRST.manifest
    assert [r.method for r in fake.asked()] == ["HEAD"]


def test_a_head_of_a_moved_tag_tells_the_new_digest(fake, asking):
    assert asking.get(PATH).body == FIRST.manifest
    fake.add("library/demo", SECOND, "latest")
    reply = asking.head(PATH)
    assert reply.header("docker-content-digest") == SECOND.digest and reply.length == len(SECOND.manifest)
    assert asking.get(PATH).body == SECOND.manifest


def test_a_moved_tag_whose_new_manifest_cannot_be_had_is_served_stale(fake, asking):
    assert asking.get(PATH).body == FIRST.manifest
    fake.add("library/demo", SECOND, "latest")
    fake.fault("registry GET", status=503)
    reply = asking.get(PATH)
    assert reply.status == 200 and reply.body == FIRST.manifest
    assert reply.header("warning") and "served-stale" in reply.header("cache-status")


def test_a_moved_tag_whose_new_manifest_is_a_lie_is_served_stale_or_refused(fake, asking):
    assert asking.get(PATH).body == FIRST.manifest
    fake.add("library/demo", SECOND, "latest")
    fake.fault("registry GET", corrupt_at=10)
    reply = asking.get(PATH)
    assert (reply.status == 200 and reply.body == FIRST.manifest and reply.header("warning")) or reply.status == 502
    assert not asking.holds(SECOND.digest)


def test_an_upstream_without_digest_headers_is_asked_with_get_when_old(fake, asking):
    fake.sends_digest = False
    assert asking.get(PATH).body == FIRST.manifest
    fake.add("library/demo", SECOND, "latest")
    assert asking.get(PATH).body == SECOND.manifest


def test_an_upstream_without_head_is_asked_with_get(fake, asking):
    fake.fault("registry HEAD", status=405)
    for image in (FIRST, SECOND):
        fake.add("library/demo", image, "latest")
        head = asking.head(PATH)
        assert head.status == 200 and head.header("docker-content-digest") == image.digest
        assert asking.get(PATH).body == image.manifest
    blob = asking.head(f"/v2/library/demo/blobs/{FIRST.layer}")
    assert blob.status == 200 and blob.length == len(FIRST.blobs[FIRST.layer])


def test_a_tag_comes_fresh_again_when_the_upstream_does(fake, asking):
    assert asking.get(PATH).status == 200
    fake.stop()
    assert asking.get(PATH).header("warning")
    fake.come_back()
    reply = asking.get(PATH)
    assert reply.status == 200 and reply.body == FIRST.manifest  # perhaps still marked stale for a moment


# --- prefer-cache: what is held first, and the upstream behind the client's back -------------------------------------------


@pytest.fixture
def preferring(fake, start):
    """One that holds FIRST as latest, and asks for it each time, but behind."""
    fake.add("library/demo", FIRST, "latest")
    mirror = start(mode="prefer-cache", tag_ttl="0s", negative_ttl="0s")
    assert mirror.get(PATH).body == FIRST.manifest
    assert mirror.get("/v2/library/demo/tags/list").body == b'{"name":"library/demo","tags":["latest"]}'
    mirror.wait_hit(PATH)
    fake.forget()
    return mirror


def test_what_is_held_is_served_while_the_upstream_has_not_answered_yet(fake, preferring):
    fault = fake.fault("registry", stall_before=True)
    for ask in (preferring.get, preferring.head):
        for path in (PATH, "/v2/library/demo/tags/list"):
            reply = ask(path)
            assert reply.status == 200 and reply.header("cache-status") == "tranship; hit"
            assert int(reply.header("age")) >= 0 and reply.header("warning") is None
    fake.wait_asked("registry HEAD .*manifests/latest")
    fake.wait_asked("registry GET .*tags/list")
    fault.release()
    assert len(fake.asked()) <= 4  # not once for each


def test_a_tag_that_moved_is_told_once_the_upstream_was_asked_behind(fake, preferring):
    fault = fake.fault("registry", stall_before=True)  # what was asked behind before may still be under way
    fake.add("library/demo", SECOND, "latest", "new")
    assert preferring.get(PATH).body == FIRST.manifest
    fault.release()
    preferring.wait_tag("library/demo", "latest", SECOND.digest)
    assert preferring.get(PATH).body == SECOND.manifest
    wait_until(lambda: b'"new"' in preferring.get("/v2/library/demo/tags/list").body, what="the new tag")


def test_a_tag_that_is_gone_is_forgotten_and_one_that_nobody_could_tell_about_is_kept_and_said_to_be_stale(fake, preferring):
    fault = fake.fault("registry", status=500)
    wait_until(lambda: preferring.get(PATH).header("warning"), what="a warning")
    for _ in range(3):
        reply = preferring.get(PATH)
        assert reply.body == FIRST.manifest and reply.header("warning") and "served-stale" in reply.header("cache-status")
    fault.count = 0
    del fake.repository("library/demo").tags["latest"]
    wait_until(lambda: preferring.get(PATH).status == 404, what="the end of that tag")
    assert preferring.manifest("library/demo", FIRST.digest).body == FIRST.manifest


def test_what_is_not_held_is_asked_for_as_ever(fake, preferring):
    fake.add("library/demo", SECOND, "other")
    assert preferring.manifest("library/demo", "other").body == SECOND.manifest
    assert preferring.blob("library/demo", SECOND.layer).body == b"second"
    assert preferring.manifest("library/demo", "nothing").status == 404


def test_freshness_survives_a_restart(fake, start):
    fake.add("library/demo", FIRST, "latest")
    mirror = start()
    assert mirror.get(PATH).status == 200
    mirror.wait_held(FIRST.digest)
    mirror.stop()
    fake.forget()
    assert start().get(PATH).header("cache-status") == "tranship; hit"
    assert fake.asked() == []


def test_two_tags_of_one_digest_are_one_manifest(fake, tranship):
    fake.add("library/demo", FIRST, "latest", "v1")
    assert tranship.get(PATH).body == FIRST.manifest
    assert tranship.manifest("library/demo", "v1").body == FIRST.manifest
    tranship.wait_held(FIRST.digest)
    assert tranship.held() == {FIRST.digest}


def test_another_upstream_on_the_same_data_does_not_confuse_digests(fake, start):
    fake.add("library/demo", FIRST, "latest")
    mirror = start()
    assert mirror.get(PATH).body == FIRST.manifest
    mirror.wait_held(FIRST.digest)
    mirror.stop()
    other = FakeRegistry()
    try:
        other.add("library/demo", SECOND, "latest")
        mirror = start(upstream=other.url, tag_ttl="0s")
        assert mirror.get(PATH).body == SECOND.manifest
        assert mirror.manifest("library/demo", FIRST.digest).body == FIRST.manifest
        mirror.stop()
    finally:
        other.stop()


def test_clients_that_ask_for_tags_while_their_origin_fails_get_what_is_held(fake, start):
    """Each question that fails replaces what is known of its tag, while others look at it."""
    tags = [f"v{i}" for i in range(60)]
    for tag in tags:
        fake.add("library/demo", FIRST, tag)
    mirror = start(tag_ttl="0s")
    for tag in tags:
        assert mirror.manifest("library/demo", tag).body == FIRST.manifest
    fake.fault("registry ", status=500)

    def ask(_):
        with mirror.wire() as client:
            for tag in tags:
                reply = client.exchange(f"/v2/library/demo/manifests/{tag}")
                assert (reply.status, reply.body) == (200, FIRST.manifest)

    at_once(ask, range(8))
