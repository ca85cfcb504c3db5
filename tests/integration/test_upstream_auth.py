# SPDX-License-Identifier: Apache-2.0
"""Tokens, passwords and redirects on the upstream's side: enough of them, no more, and only to whom they belong."""

import base64
import json
import threading

import images
import pytest
from harness import at_once, message_of

DATA = images.random_bytes(400_000, "auth")
IMAGE = images.image([b"one" * 1000, DATA])
USER, PASSWORD = "me", "p:ä ss"
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.fixture
def bearer(fake):
    fake.add("library/demo", IMAGE, "latest")
    fake.auth = "bearer"
    return fake


def pull(tranship, name="library/demo"):
    assert tranship.manifest(name, "latest").body == IMAGE.manifest
    for digest, data in IMAGE.blobs.items():
        reply = tranship.blob(name, digest)
        assert reply.status == 200 and reply.body == data, reply


# --- tokens ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [("token",), ("access_token",), ("token", "access_token")])
@pytest.mark.parametrize("tells_lifetime", [True, False])
def test_a_whole_pull_costs_one_anonymous_token(bearer, tranship, fields, tells_lifetime):
    bearer.token.fields, bearer.token.tells_lifetime = fields, tells_lifetime
    pull(tranship)
    asked = bearer.asked("token")
    assert len(asked) == 1 and asked[0].header("authorization") is None
    assert asked[0].query["service"] == ["fake.registry"] and asked[0].query["scope"] == ["repository:library/demo:pull"]
    refusals = [r for r in bearer.asked("registry") if r.status == 401]
    assert len(refusals) == 1  # the challenge is known from then on


def test_each_repository_has_a_token_of_its_own(bearer, tranship):
    bearer.add("other/x", IMAGE, "latest")
    pull(tranship)
    pull(tranship, "other/x")
    assert [r.query["scope"][0] for r in bearer.asked("token")] == ["repository:library/demo:pull", "repository:other/x:pull"]


def test_many_who_wait_for_a_token_cause_one_request(bearer, tranship):
    digests = [bearer.add_blob("library/demo", b"%d" % k * 2000) for k in range(20)]
    fault = bearer.fault("token", stall_before=True)
    replies = []
    threads = [threading.Thread(target=lambda d=d: replies.append(tranship.blob("library/demo", d))) for d in digests]
    for thread in threads:
        thread.start()
    bearer.wait_asked("token")
    bearer.wait_asked("registry", 2)
    fault.release()
    for thread in threads:
        thread.join()
    assert [r.status for r in replies] == [200] * 20
    assert len(bearer.asked("token")) == 1


def test_a_token_that_expired_is_renewed_once_unseen(bearer, tranship):
    assert tranship.manifest("library/demo", "latest").status == 200
    bearer.token.revoke()
    bearer.forget()
    for digest, data in IMAGE.blobs.items():
        assert tranship.blob("library/demo", digest).body == data
    assert len(bearer.asked("token")) == 1
    assert len([r for r in bearer.asked("registry") if r.status == 401]) == 1


def test_a_token_near_its_end_is_renewed_before_it_is_refused(bearer, tranship):
    bearer.token.lifetime = 10  # of which ten seconds are too near the end to be used again
    pull(tranship)
    assert len([r for r in bearer.asked("registry") if r.status == 401]) <= 1


def test_a_token_that_expires_in_mid_blob_is_renewed_for_the_rest(bearer, tranship):
    fault = bearer.fault("registry GET .*/blobs/", count=1, after=1, stall_at=100_000, cut_after=200_000)
    with tranship.wire() as client:
        client.ask(f"/v2/library/demo/blobs/{IMAGE.layer}")
        client.head()
        assert client.read(99_999) == DATA[:99_999]
        bearer.token.revoke()
        fault.release()
        assert client.read(len(DATA) - 99_999) == DATA[99_999:]
    assert len(bearer.asked("token")) == 2


def test_a_loop_of_401_stops(bearer, tranship):
    bearer.fault("registry", status=401, headers={
        "WWW-Authenticate": f'Bearer realm="{bearer.token.server.url}/token",service="fake.registry",error="invalid_token"'})
    assert tranship.manifest("library/demo", "latest").status == 404
    assert len(bearer.asked("token")) <= 3 and len(bearer.asked("registry")) <= 5


@pytest.mark.parametrize("challenge", [
    'Bearer realm="{realm}",service="fake.registry",scope="repository:user/image:pull"',
    'Bearer realm="{realm}",service="fake.registry"', 'bearer Realm={realm} , SERVICE=fake.registry',
    'Bearer realm="{realm}", service="fake.registry", scope="repository:library/demo:pull,push"',
    'Negotiate, Bearer service="fake.registry",realm="{realm}",error="x, \\"y\\""',
    'Basic realm="x", Bearer realm="{realm}",service="fake.registry"', 'Bearer realm="{realm}?a=b",service="fake.registry"'])
def test_challenges_of_every_form_lead_to_the_right_scope(bearer, tranship, challenge):
    bearer.challenge = challenge.format(realm=f"{bearer.token.server.url}/token")
    pull(tranship)
    assert {s for r in bearer.asked("token") for s in r.query["scope"]} == {"repository:library/demo:pull"}


def test_a_401_without_a_challenge_uses_the_one_of_the_ping(bearer, tranship):
    bearer.fault("registry (GET|HEAD) /v2/.+", count=1, status=401)
    pull(tranship)
    assert bearer.asked("registry GET /v2/$")


@pytest.mark.parametrize("answer", [b"", b"null", b"{}", b'{"token":""}', b'{"token":7}', b"<html>", b'{"token":"a\\nb: c"}',
                                    b'{"token":"' + b"t" * 2_000_000 + b'"}'])
def test_a_token_answer_that_is_none_is_an_outage(bearer, tranship, answer):
    bearer.fault("token", status=200, body=answer)
    assert tranship.manifest("library/demo", "latest").status in (404, 502, 503)
    assert not any("b: c" in str(r.headers) for r in bearer.asked("registry"))
    bearer.heal()
    tranship.get("/v2/")


def test_a_token_of_several_kib_is_passed_on(bearer, tranship):
    long = "t" * 7000
    bearer.token.issued[long] = ("repository:library/demo:pull", float("inf"))
    bearer.fault("token", status=200, body=json.dumps({"token": long, "expires_in": 300}).encode())
    pull(tranship)


# --- passwords ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def secret(fake):
    fake.add("library/demo", IMAGE, "latest")
    fake.users[USER] = PASSWORD
    fake.private.add("library/demo")
    return fake


def test_user_and_password_buy_a_token(secret, known_to_upstream):
    secret.auth = "bearer"
    mirror = known_to_upstream(USER, PASSWORD)
    pull(mirror)
    asked = secret.asked("token")
    assert len(asked) == 1 and asked[0].header("authorization") == BASIC
    assert all(r.header("authorization") != BASIC for r in secret.asked("^registry "))


def test_user_and_password_by_post_where_get_is_refused(secret, known_to_upstream):
    secret.auth, secret.token.methods = "bearer", ("POST",)
    pull(known_to_upstream(USER, PASSWORD))


def test_basic_authentication(secret, known_to_upstream):
    secret.auth = "basic"
    pull(known_to_upstream(USER, PASSWORD))
    assert secret.asked("token") == []
    assert len([r for r in secret.asked("registry") if r.status == 401]) == 1


def test_basic_authentication_without_a_password_is_not_there_or_an_outage(secret, tranship):
    secret.auth = "basic"
    reply = tranship.manifest("library/demo", "latest")
    assert reply.status in (404, 502)


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_wrong_password_is_502_and_names_the_credential(secret, known_to_upstream, auth):
    secret.auth = auth
    mirror = known_to_upstream(USER, "wrong")
    for what in ("manifests/latest", f"blobs/{IMAGE.layer}"):
        reply = mirror.get(f"/v2/library/demo/{what}")
        assert reply.status == 502, reply
        assert "credential" in message_of(reply) or "password" in message_of(reply) or "user" in message_of(reply)
    assert len(secret.asked()) < 20


@pytest.mark.parametrize("realm", ["http://localhost:{port}/token", "http://127.0.0.2:{port}/token", "http://127.0.0.1.evil.example/token",
                                   "http://127.0.0.1@localhost:{port}/token", "//localhost:{port}/token", "file:///etc/passwd",
                                   "ftp://127.0.0.1:{port}/token"])
@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
def test_a_password_never_goes_to_a_foreign_realm(secret, known_to_upstream, scheme, realm):
    secret.auth = "bearer"
    secret.challenge = f'{scheme} realm="{realm.format(port=secret.token.server.port)}",service="fake.registry"'
    mirror = known_to_upstream(USER, PASSWORD)
    reply = mirror.manifest("library/demo", "latest")
    assert reply.status in (404, 502, 503), reply
    for request in secret.asked("token"):
        assert request.header("authorization") != BASIC and PASSWORD.encode() not in request.body
        assert "password" not in request.body.decode()


def test_secrets_appear_neither_in_the_log_nor_in_answers(secret, known_to_upstream):
    secret.auth = "bearer"
    secret.use_cdn()
    mirror = known_to_upstream(USER, PASSWORD)
    secret.fault("cdn", count=1, status=500)
    replies = [mirror.blob("library/demo", IMAGE.layer), mirror.manifest("library/demo", "latest"),
               mirror.blob("library/demo", IMAGE.layer)]
    mirror.stop()
    said = mirror.stderr + "".join(str(r.headers) + repr(r.body[:5000]) for r in replies)
    tokens = {r.header("authorization").split()[1] for r in secret.asked("registry") if r.header("authorization")}
    signatures = {r.query["X-Signature"][0] for r in secret.asked("cdn")}
    assert tokens and signatures
    for word in tokens | signatures | {PASSWORD, BASIC.split()[1]}:
        assert word not in said


# --- redirects -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("auth", [None, "bearer"])
def test_a_cdn_is_followed_without_authorization(bearer, tranship, status, auth):
    bearer.auth = auth
    bearer.use_cdn(status)
    pull(tranship)
    assert bearer.asked("cdn") and all(r.header("authorization") is None for r in bearer.asked("cdn"))


def test_a_basic_password_does_not_reach_the_cdn(secret, known_to_upstream):
    secret.auth = "basic"
    secret.use_cdn()
    pull(known_to_upstream(USER, PASSWORD))
    assert all(r.header("authorization") is None for r in secret.asked("cdn"))


def test_a_relative_location_is_followed(bearer, tranship):
    bearer.redirect = lambda digest: (302, f"/moved/{digest}")
    pull(tranship)
    assert bearer.asked("registry GET /moved/")


def test_every_resume_starts_again_at_the_registry(bearer, tranship):
    bearer.use_cdn()
    bearer.fault("cdn", count=2, cut_after=100_000)
    assert tranship.blob("library/demo", IMAGE.layer).body == DATA
    asked = [r for r in bearer.asked("registry GET .*/blobs/") if r.status == 307]
    assert len(asked) == 3 and len(bearer.asked("cdn")) == 3
    assert [r.header("range") for r in bearer.asked("cdn")] == [None, "bytes=100000-", "bytes=200000-"]


def test_a_redirect_is_not_remembered(bearer, tranship):
    bearer.use_cdn(301)
    pull(tranship)
    assert len(bearer.asked("cdn GET")) == len(IMAGE.blobs)


def test_a_head_of_a_blob_follows_to_the_cdn(bearer, tranship):
    bearer.use_cdn()
    assert tranship.head(f"/v2/library/demo/blobs/{IMAGE.layer}").length == len(DATA)
    assert all(r.method == "HEAD" or r.header("range") == "bytes=0-0" for r in bearer.asked("cdn"))


NOWHERE = [
    "{registry}/v2/library/demo/blobs/{digest}", None, "", "file:///etc/passwd", "ftp://127.0.0.1:{port}/x", "gopher://127.0.0.1:{port}/x",
    "http://", "http://[::1", "http://127.0.0.1:1/refused", "javascript:1", "scp://x", "dict://127.0.0.1:{port}/",
    "http://user:pass@127.0.0.1:1/x", "x" * 100_000, "unix:///tmp/x"]


def test_a_redirect_that_leads_nowhere_is_an_outage(bearer, tranship):
    digests = [bearer.add_blob("library/demo", b"%d" % k * 100) for k in range(len(NOWHERE))]

    def redirect(digest):
        location = NOWHERE[digests.index(digest)]
        return 307, location and location.format(registry=bearer.url, digest=digest, port=bearer.cdn.port)

    def check(digest):
        reply = tranship.blob("library/demo", digest)
        assert reply.status in (502, 503, 504), reply
        assert b"root:" not in reply.body

    bearer.redirect = redirect
    at_once(check, digests)
    assert len(bearer.asked("registry")) <= 80 * len(NOWHERE)
    assert tranship.held() == set()


def test_manifests_may_be_redirected_too(bearer, tranship):
    bearer.auth = None
    bearer.add("elsewhere/x", IMAGE, "latest")
    bearer.fault("/v2/library/demo/manifests", status=302, headers={"Location": "/v2/elsewhere/x/manifests/latest"})
    assert tranship.manifest("library/demo", "latest").body == IMAGE.manifest


# --- what is said to upstreams ---------------------------------------------------------------------------------------------


def test_nothing_of_the_client_reaches_the_upstream(bearer, tranship):
    bearer.use_cdn()
    client = {"Authorization": "Bearer clients-own", "Cookie": "session=clients-own", "X-Forwarded-For": "10.9.8.7",
              "Forwarded": "for=10.9.8.7", "User-Agent": "clients-own", "X-Custom": "clients-own", "Referer": "http://clients-own/",
              "Accept-Language": "clients-own", "Via": "clients-own", "Proxy-Authorization": "Basic clients-own"}
    assert tranship.manifest("demo", "latest", client).status == 200
    assert tranship.blob("demo", IMAGE.layer, client).body == DATA
    tranship.get("/v2/demo/tags/list?secret=clients-own", client)
    for request in bearer.asked():
        assert "clients-own" not in str(request.headers) + request.target
        assert "10.9.8.7" not in str(request.headers)


def test_connections_to_an_upstream_are_kept_and_reused(bearer, tranship):
    bearer.auth = None
    for k in range(20):
        digest = bearer.add_blob("library/demo", b"%d" % k * 500)
        assert tranship.blob("library/demo", digest).status == 200
    assert bearer.server.accepted <= 3
