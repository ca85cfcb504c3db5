# SPDX-License-Identifier: Apache-2.0
"""The ping, and how a request finds its upstream: names, tags, digests, ?ns=, prefixes, odd targets and headers."""

import ssl

import images
import pytest
from harness import code_of, message_of

ODD_NAMES = ["Upper", "a//b", "../../etc/passwd", "a/../b", "a/./b", "a%2Fb", "a/%2e%2e/b", "a_/b", "-a", "a/.b",
             "a b", "a%20b", "a%00b", "a%0d%0ab", "x" * 256, "/".join(["abc"] * 70), "é", "%C3%A9", "a:1/b"]


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
def test_ping_answers_without_any_upstream(fake, tranship, path):
    fake.stop()
    reply = tranship.get(path)
    assert (reply.status, reply.body, reply.length) == (200, b"{}", 2)
    assert reply.header("content-type") == "application/json"
    assert reply.header("docker-distribution-api-version") == "registry/2.0"
    head = tranship.head(path)
    assert (head.status, head.length, head.body) == (200, 2, b"")
    assert fake.asked() == []


def test_no_route_ever_answers_401(fake, start, demo):
    tranship = start(negative_ttl="0s")
    paths = ["/v2/", "/v2/library/demo/manifests/latest", f"/v2/library/demo/manifests/{demo.digest}",
             f"/v2/library/demo/blobs/{demo.layer}", "/v2/library/demo/tags/list",
             f"/v2/library/demo/referrers/{demo.digest}", "/v2/_catalog"]
    fake.auth = "bearer"
    for challenge, refusal in ((None, 401), (None, 403), ("", 401), ("Negotiate", 401), ("Basic realm=x", 401)):
        fake.challenge, fake.token.refuses_anonymous = challenge, refusal
        for path in paths:
            reply = tranship.get(path)
            assert reply.status != 401, (path, challenge)
            assert reply.header("www-authenticate") is None


def test_every_alias_of_docker_hub_shares_one_entry(fake, tranship, demo):
    for ns in (None, "docker.io", "registry-1.docker.io", "index.docker.io", "Docker.IO"):
        for name in ("library/demo", "demo"):
            reply = tranship.get(f"/v2/{name}/manifests/latest" + (f"?ns={ns}" if ns else ""))
            assert reply.status == 200 and reply.body == demo.manifest, (ns, name)
            assert reply.header("oci-namespace") == ns
    assert [r.method for r in fake.asked("manifests")] == ["GET"]


def test_docker_io_as_path_prefix_reaches_the_same_entry(fake, tranship, demo):
    assert tranship.manifest("library/demo", "latest").status == 200
    for path in ("/v2/docker.io/library/demo/manifests/latest", "/v2/docker.io/library/demo/manifests/latest?ns=docker.io",
                 "/v2/docker.io/demo/manifests/latest"):
        reply = tranship.get(path)
        assert reply.status == 200 and reply.body == demo.manifest, path
    assert len(fake.asked("manifests")) == 1


def test_ns_is_decoded_once_and_never_sent_upstream(fake, tranship, demo):
    assert tranship.get("/v2/demo/manifests/latest?ns=docker%2Eio&x=1").status == 200
    assert tranship.get(f"/v2/demo/blobs/{demo.layer}?ns=docker.io").body == demo.blobs[demo.layer]
    assert tranship.get("/v2/demo/manifests/latest?ns=docker%252Eio").status in (400, 403, 404)
    assert fake.asked() and not any(r.query for r in fake.asked())


@pytest.mark.parametrize("ns", ["evil.example", "127.0.0.1:{port}", "localhost:{port}", "169.254.169.254", "127.0.0.1:22",
                                "a@b", "a/b", "docker.io/", "http://127.0.0.1:{port}", "[::1]:80", "docker.io%00", "%0d%0a"])
def test_an_ns_we_do_not_know_is_refused_and_dials_nobody(fake, tranship, demo, ns):
    ns = ns.format(port=fake.server.port)
    reply = tranship.get(f"/v2/demo/manifests/latest?ns={ns}")
    assert reply.status in (400, 403, 404), reply
    code_of(reply)
    assert fake.server.accepted == 0


def test_a_prefix_against_ns_is_refused(fake, tranship, demo):
    reply = tranship.get("/v2/docker.io/library/demo/manifests/latest?ns=nowhere.example")
    assert reply.status in (400, 403, 404)
    assert fake.asked() == []


@pytest.mark.parametrize("name", ["a/blobs/b", "manifests/x", "tags/list", "a/referrers/manifests", "blobs/blobs",
                                  "manifests/manifests/manifests", "x/tags/list/tags"])
def test_names_may_contain_the_words_of_the_routes(fake, tranship, name):
    image = fake.add(name, images.image([b"x" * 1000]), "latest")
    assert tranship.manifest(name, "latest").body == image.manifest
    assert tranship.blob(name, image.layer).body == image.blobs[image.layer]
    assert b'"latest"' in tranship.get(f"/v2/{name}/tags/list").body


@pytest.mark.parametrize("name", ODD_NAMES)
def test_bad_names_are_refused_and_touch_nothing(fake, tranship, tmp_path, name):
    before = {p for p in tmp_path.iterdir()}
    for what in (f"manifests/latest", f"blobs/{images.digest_of(b'x')}", "tags/list", f"referrers/{images.digest_of(b'x')}"):
        with tranship.wire() as wire:
            wire.ask(f"/v2/{name}/{what}".encode().decode("latin-1"))
            reply = wire.rest(wire.head())
        assert reply.status == 400, (what, reply)
        if " " not in name and "é" not in name:  # a broken request line has no name to complain of
            assert code_of(reply) == "NAME_INVALID"
    assert fake.asked() == []
    assert {p for p in tmp_path.iterdir()} == before


def test_a_name_of_255_bytes_works(fake, tranship):
    name = "a" * 127 + "/" + "b" * 127
    image = fake.add(name, images.image(), "latest")
    assert tranship.manifest(name, "latest").body == image.manifest


def test_a_tag_of_128_characters_works_and_one_of_129_does_not(fake, tranship):
    image = fake.add("a/b", images.image(), "t" * 128, "t" * 129)
    assert tranship.manifest("a/b", "t" * 128).body == image.manifest
    assert tranship.manifest("a/b", "t" * 129).status in (400, 404)
    assert len(fake.asked()) == 1


@pytest.mark.parametrize("tag", ["-x", ".x", "a+b", "a%2Bb", "a%20b", "a%2Fb", "ä", "a:b", "@", "a%00"])
def test_bad_tags_are_refused(fake, tranship, tag):
    with tranship.wire() as wire:
        reply = wire.exchange(f"/v2/a/b/manifests/{tag}".encode().decode("latin-1"))
    assert reply.status in (400, 404), reply
    assert fake.asked() == []


def test_an_encoded_colon_is_a_colon(fake, tranship, demo):
    for digest in (demo.digest, demo.digest.replace(":", "%3A"), demo.digest.replace(":", "%3a")):
        assert tranship.manifest("library/demo", digest).body == demo.manifest
        assert tranship.blob("library/demo", demo.layer.replace(":", "%3A")).body == demo.blobs[demo.layer]


def test_unknown_query_parameters_are_ignored(fake, tranship, demo):
    assert tranship.get("/v2/demo/manifests/latest?x=1&&y&z=%zz&=").body == demo.manifest


def test_absolute_form_targets_are_accepted(fake, tranship, demo):
    reply = tranship.get(f"http://127.0.0.1:{tranship.port}/v2/demo/manifests/latest")
    assert reply.status == 200 and reply.body == demo.manifest


def test_a_tls_hello_gets_a_plain_http_400_or_the_end(tranship):
    """Which of them depends on where its random bytes hold a line's end. Never silence until a time-out."""
    out = ssl.MemoryBIO()
    context = ssl.create_default_context()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost").do_handshake()
    with tranship.wire() as wire:
        wire.send(out.read())
        said = wire.read(1 << 16)
    assert said == b"" or said.startswith(b"HTTP/1.1 400 "), said
    assert tranship.get("/v2/").status == 200


def test_headers_of_64_kib_are_accepted_and_more_gets_431(fake, tranship, demo):
    many = [(f"X-Padding-{i}", "p" * 4000) for i in range(15)]
    assert tranship.manifest("demo", "latest", many).body == demo.manifest
    one = [("Authorization", "Bearer " + "t" * 60_000)]
    assert tranship.manifest("demo", "latest", one).body == demo.manifest
    with tranship.wire() as wire:
        try:
            wire.ask("/v2/", headers=[("X-Padding", "p" * 2_000_000)])
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may hang up before all of it is sent
        reply = wire.head()
    assert reply is None or reply.status == 431
    with tranship.wire() as wire:
        wire.ask("/v2/", headers=[("X-Padding", "p" * 100_000)])
        assert wire.head().status == 431
    assert tranship.get("/v2/").status == 200


def test_two_requests_sent_at_once_are_answered_in_order(fake, tranship, demo):
    with tranship.wire() as wire:
        wire.ask("/v2/")
        wire.ask("/v2/demo/manifests/latest")
        assert wire.rest(wire.head()).body == b"{}"
        assert wire.rest(wire.head()).body == demo.manifest


@pytest.mark.parametrize("path", ["/v2/x", "/v2/a/b", "/v2/_oci/ext/discover", "/extensions/v2/a/signatures/x", "/v2/a/b/tags",
                                  "/v2/a/b/tags/other", "/v3/", "/v2/manifests/latest", "/v2/a/uploads/x", "/nothing"])
def test_paths_that_are_no_route_are_404_in_json(fake, tranship, path):
    reply = tranship.get(path)
    assert reply.status in (400, 404), reply
    code_of(reply)
    assert fake.asked() == []


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/v2/", "/v2/a/b/manifests/latest", "/v2/a/b/blobs/" + images.digest_of(b""),
                                  "/v2/a/blobs/uploads/", "/v2/a/b/tags/list", "/v2/_catalog"])
def test_writes_are_405(fake, tranship, method, path):
    reply = tranship_exchange(tranship, path, method)
    assert reply.status == 405 and code_of(reply) == "UNSUPPORTED"
    assert {word.strip() for word in reply.header("allow").split(",")} == {"GET", "HEAD"}
    assert fake.asked() == []


def test_a_push_with_a_body_is_405_and_leaves_the_server_well(fake, tranship):
    reply = tranship_exchange(tranship, "/v2/a/b/manifests/latest", "PUT", b"x" * 200_000)
    assert reply is None or reply.status == 405
    assert tranship.get("/v2/").status == 200


def tranship_exchange(tranship, path, method, body=b""):
    with tranship.wire() as wire:
        try:
            wire.ask(path, method, body=body)
        except (BrokenPipeError, ConnectionResetError):
            pass
        reply = wire.head()
        return reply and wire.rest(reply, method)


@pytest.mark.parametrize("raw", [
    b"GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdeGET /v2/evil/tags/list HTTP/1.1\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET  HTTP/1.1\r\n\r\n", b"\x00\x01\x02\r\n\r\n", b"GET /v2/ HTTP/9.9\r\n\r\n", b"GET /v2/\r\n\r\n", b"\r\n\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nBad Header\r\n\r\n", b"GET * HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_broken_requests_never_reach_the_upstream_and_leave_the_server_well(fake, tranship, raw):
    with tranship.wire(timeout=0.5) as wire:
        wire.send(raw)
        try:
            wire.read(1 << 16)
        except TimeoutError:
            pass  # still waiting for the rest of it, which is fine
    assert fake.asked() == []
    assert tranship.get("/v2/").status == 200


def test_every_answer_has_its_own_request_id_which_the_log_repeats(fake, tranship, demo):
    replies = [tranship.get("/v2/"), tranship.manifest("demo", "latest"), tranship.manifest("demo", "nothing"),
               tranship.blob("demo", demo.layer), tranship.get("/v2/BAD/tags/list")]
    marks = [r.header("x-request-id") for r in replies]
    assert all(marks) and len(set(marks)) == len(marks)
    for mark in marks:
        tranship.wait_log(lambda e, mark=mark: mark in e.values())


def test_each_request_is_one_log_line_that_says_what_came_from_where(fake, tranship, demo):
    mark = tranship.blob("demo", demo.layer).header("x-request-id")
    tranship.wait_log(lambda e: mark in e.values())
    lines = [e for e in tranship.log() if mark in e.values() and str(len(demo.blobs[demo.layer])) in map(str, e.values())]
    assert len(lines) == 1, tranship.stderr
    words = " ".join(map(str, lines[0].values()))
    assert "library/demo" in words and "blob" in words, lines


@pytest.mark.parametrize("other", ["mirror.lan", "127.0.0.1"])
def test_two_hosts_in_one_request_are_refused_and_the_connection_ends(tranship, other):
    with tranship.wire() as wire:
        reply = wire.exchange("/v2/", headers=[("Host", other)])
        assert reply.status == 400 and "two hosts" in message_of(reply)
        assert wire.is_closed()
