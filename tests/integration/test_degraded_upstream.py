# SPDX-License-Identifier: Apache-2.0
"""What clients get when the upstream errs, limits, refuses or is gone."""

import threading

import images
import pytest
import wire
from harness import code_of, message_of

HELD = images.image([images.random_bytes(50_000, "held")])
PATHS = {"tag": "manifests/latest", "manifest": f"manifests/{HELD.digest}", "blob": f"blobs/{HELD.layer}", "tags": "tags/list",
         "referrers": f"referrers/{HELD.digest}"}


@pytest.fixture
def held(fake, start):
    """library/demo:latest, pulled and then always asked again."""
    fake.add("library/demo", HELD, "latest")
    mirror = start(tag_ttl="0s", negative_ttl="0s")
    assert mirror.manifest("library/demo", "latest").body == HELD.manifest
    assert mirror.blob("library/demo", HELD.layer).status == 200
    mirror.wait_hit(f"/v2/library/demo/blobs/{HELD.layer}")
    mirror.wait_hit(f"/v2/library/demo/manifests/{HELD.digest}")
    fake.forget()
    return mirror


def test_a_head_of_a_blob_always_has_a_length(fake, tranship):
    fake.add("library/demo", HELD, "latest")
    fake.fault("registry HEAD", chunked=True)
    reply = tranship.head(f"/v2/library/demo/{PATHS['blob']}")
    assert (reply.status == 200 and reply.length == len(HELD.blobs[HELD.layer])) or reply.status == 502


@pytest.mark.parametrize("kind", PATHS)
def test_an_upstream_that_is_gone_is_502_and_comes_back(fake, tranship, kind):
    fake.add("library/demo", HELD, "latest")
    fake.stop()
    reply = tranship.get(f"/v2/library/demo/{PATHS[kind]}")
    assert reply.status in (502, 503, 504)
    assert code_of(reply) == "UNAVAILABLE" and message_of(reply)
    fake.come_back()
    assert tranship.get(f"/v2/library/demo/{PATHS[kind]}").status == 200


def test_a_cold_blob_is_asked_for_twice_of_an_upstream_that_is_gone_and_longer_of_one_that_stumbles(fake, tranship):
    """A client that is told at once goes elsewhere at once."""
    digests = [fake.add_blob("a/b", images.random_bytes(100_000, n)) for n in range(2)]
    fake.fault(digests[0], hangup=True)
    assert tranship.blob("a/b", digests[0]).status == 502
    assert len(fake.asked(digests[0])) == 2
    fake.fault(digests[1], count=2, status=503)
    assert tranship.blob("a/b", digests[1]).status == 200


@pytest.mark.parametrize("kind", PATHS)
def test_an_upstream_that_never_answers_is_504(fake, start, kind):
    fake.add("library/demo", HELD, "latest")
    mirror = start(connect_timeout="200ms", header_timeout="300ms")
    fake.fault("registry", stall_before=True)
    assert mirror.get(f"/v2/library/demo/{PATHS[kind]}").status in (502, 504)


@pytest.mark.parametrize("retry_after, seconds", [(None, None), ("7", 7), ("Fri, 31 Dec 2100 23:59:59 GMT", None), ("x", None),
                                                  ("-5", None), ("99999999999999999999", None)])
@pytest.mark.parametrize("kind", ["tag", "manifest", "blob"])
def test_a_limit_with_nothing_held_is_503_with_retry_after(fake, tranship, kind, retry_after, seconds):
    fake.add("library/demo", HELD, "latest")
    fake.fault("registry", status=429, headers={"Retry-After": retry_after})
    reply = tranship.get(f"/v2/library/demo/{PATHS[kind]}")
    assert reply.status == 503 and code_of(reply) == "TOOMANYREQUESTS", reply
    told = int(reply.header("retry-after"))
    assert told == seconds if seconds else told > 0


def test_a_plain_text_429_is_503_too(fake, tranship):
    fake.fault("registry", status=429, body=b"Too Many Requests")
    reply = tranship.manifest("a/b", "v1")
    assert reply.status == 503 and code_of(reply) == "TOOMANYREQUESTS" and reply.header("retry-after")


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("kind", PATHS)
def test_refused_after_authentication_means_not_there(fake, tranship, status, kind):
    fake.add("library/demo", HELD, "latest")
    fake.auth = "bearer"
    fake.fault("registry", status=status, headers={"WWW-Authenticate": f'Bearer realm="{fake.token.server.url}/token",'
                                                   f'service="fake.registry",scope="repository:library/demo:pull"'})
    reply = tranship.get(f"/v2/library/demo/{PATHS[kind]}")
    assert reply.status == 404, reply
    assert len(fake.asked("registry")) <= 6


@pytest.mark.parametrize("refusal", [401, 403])
def test_an_anonymous_token_refused_means_not_there(fake, tranship, refusal):
    fake.add("library/demo", HELD, "latest")
    fake.auth, fake.token.refuses_anonymous = "bearer", refusal
    for kind in ("tag", "manifest", "blob"):
        assert tranship.get(f"/v2/library/demo/{PATHS[kind]}").status == 404


def test_hub_says_no_such_repository_by_a_token_that_grants_nothing(fake, tranship):
    fake.add("private/x", HELD, "latest")
    fake.auth = "bearer"
    fake.private.add("private/x")
    reply = tranship.manifest("private/x", "latest")
    assert reply.status == 404 and code_of(reply) in ("NAME_UNKNOWN", "MANIFEST_UNKNOWN")


@pytest.mark.parametrize("status", [500, 503, 429, 200])
def test_a_token_service_that_fails_is_an_outage(fake, tranship, status):
    fake.add("library/demo", HELD, "latest")
    fake.auth = "bearer"
    fault = fake.fault("token", status=status, body=b"<html>" if status == 200 else None)
    assert tranship.manifest("library/demo", "latest").status in (502, 503, 504)
    fault.count = 0
    assert tranship.manifest("library/demo", "latest").status == 200


# --- what is held goes on being served --------------------------------------------------------------------------------


def gone(fake):
    fake.stop()


def status(code):
    return lambda fake: fake.fault("registry", status=code)


@pytest.mark.parametrize("breaks, told", [
    (gone, None), (status(500), 500), (status(503), 503), (status(429), 429), (lambda f: f.fault("", hangup=True), None),
    (lambda f: f.fault("registry", status=200, body=b"<html>"), "any"), (status(400), 400)])
def test_a_held_tag_that_cannot_be_confirmed_is_served_with_a_warning(fake, held, breaks, told):
    breaks(fake)
    for method in ("GET", "HEAD"):
        reply = wire.fetch(held.port, "/v2/library/demo/manifests/latest", method)
        assert reply.status == 200 and reply.header("docker-content-digest") == HELD.digest
        assert reply.body == (HELD.manifest if method == "GET" else b"")
        assert reply.header("warning").startswith('299 - "')
        said = reply.header("cache-status")
        if told != "any":
            status_part = f"; fwd-status={told}" if told else ""
            assert said == f"tranship; fwd=stale{status_part}; detail=served-stale"
        assert "detail=served-stale" in said
        assert int(reply.header("age")) >= 0


def test_a_refusal_or_404_of_a_held_tag_is_believed(fake, held):
    del fake.repository("library/demo").tags["latest"]
    assert held.manifest("library/demo", "latest").status == 404


def test_a_tag_whose_upstream_never_answers_is_served_after_the_time_out(fake, start):
    fake.add("library/demo", HELD, "latest")
    mirror = start(tag_ttl="0s", connect_timeout="200ms", header_timeout="300ms")
    assert mirror.manifest("library/demo", "latest").status == 200
    fake.fault("registry", stall_before=True)
    reply = mirror.manifest("library/demo", "latest")
    assert reply.status == 200 and reply.header("warning")
    assert reply.header("cache-status") == "tranship; fwd=stale; detail=served-stale"


def test_held_digests_need_no_upstream(fake, held):
    fake.stop()
    with held.wire() as connection:
        for path in (f"/v2/library/demo/manifests/{HELD.digest}", f"/v2/library/demo/blobs/{HELD.layer}"):
            assert connection.exchange(path, "HEAD").status == 200
            reply = connection.exchange(path)
            assert reply.status == 200 and reply.header("warning") is None
            assert reply.header("cache-status") == "tranship; hit"


def test_held_content_survives_a_restart_without_any_upstream(fake, held, start):
    held.stop()
    fake.stop()
    mirror = start(tag_ttl="0s")
    reply = mirror.manifest("library/demo", "latest")
    assert reply.body == HELD.manifest and reply.header("warning")
    assert reply.header("content-type") == HELD.media_type
    assert mirror.manifest("demo", HELD.digest).body == HELD.manifest
    assert mirror.blob("library/demo", HELD.layer).body == HELD.blobs[HELD.layer]


def test_a_limit_never_touches_what_is_held(fake, held):
    fake.fault("registry", status=429)
    assert held.manifest("library/demo", "latest").status == 200
    assert held.blob("library/demo", HELD.layer).status == 200


def test_a_silent_upstream_delays_nobody_who_asks_for_what_is_held(fake, held):
    fake.add("library/demo", images.image(), "other")
    fault = fake.fault("registry", stall_before=True)
    clients = [held.wire() for _ in range(20)]
    for k, client in enumerate(clients):
        client.ask(f"/v2/library/demo/manifests/{'other' if k % 2 else images.digest_of(b'%d' % k)}")
    fake.wait_asked("registry")
    for _ in range(50):
        assert held.get(f"/v2/library/demo/blobs/{HELD.layer}", timeout=5).body == HELD.blobs[HELD.layer]
    assert held.get("/v2/", timeout=5).status == 200
    fault.release()
    for client in clients:
        assert client.rest(client.head()).status in (200, 404)
        client.close()


# --- 404s, and storms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v2/a/b/manifests/v1", "/v2/a/b/manifests/" + images.digest_of(b"?"),
                                  "/v2/a/b/blobs/" + images.digest_of(b"?")])
def test_a_404_is_believed_for_a_few_seconds(fake, tranship, path):
    fake.add("a/b", images.image())
    for _ in range(5):
        assert tranship.get(path).status == 404
        assert tranship.head(path).status == 404
    assert len(fake.asked()) <= 2  # the GET and, at most, the HEAD


def test_a_404_is_asked_again_once_it_is_old(fake, start):
    mirror = start(negative_ttl="0s")
    assert mirror.manifest("a/b", "v1").status == 404
    image = fake.add("a/b", images.image(), "v1")
    assert mirror.manifest("a/b", "v1").body == image.manifest


def test_an_error_is_not_remembered_as_an_answer(fake, tranship):
    image = fake.add("a/b", images.image(), "v1")
    for code in (500, 503, 403):
        fake.fault("registry", count=1, status=code)
        assert tranship.manifest("a/b", "v1").status != 200 or code == 403
    fake.heal()
    assert tranship.manifest("a/b", image.digest).body == image.manifest


def test_a_storm_on_a_broken_upstream_is_answered_and_does_not_multiply(fake, tranship):
    fault = fake.fault("registry", status=503, stall_before=True)
    replies = []

    def ask():
        replies.append(tranship.manifest("a/b", "v1"))

    threads = [threading.Thread(target=ask) for _ in range(30)]
    for thread in threads:
        thread.start()
    fake.wait_asked("registry")
    fault.release()
    for thread in threads:
        thread.join()
    assert [r.status for r in replies] == [502] * 30 or {r.status for r in replies} <= {502, 503, 504}
    assert len(fake.asked("registry")) <= 30
    assert tranship.get("/v2/").status == 200


def test_an_error_line_in_the_log_names_the_upstream_and_the_reason(fake, tranship):
    fake.fault("registry", status=503)
    tranship.manifest("a/b", "v1")
    tranship.wait_log(lambda e: e.get("status") == 502 and e["upstream"] == fake.url and "503" in e["error"])
