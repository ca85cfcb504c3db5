# SPDX-License-Identifier: Apache-2.0
"""The fake registry does what the other stories rely on."""

import json
import threading
import time

import images
import pytest
import wire
from fake_server import Pattern


def blob_of(fake, size=100_000):
    data = images.random_bytes(size)
    return fake.add_blob("a/b", data), data


def get(fake, path, **more):
    return wire.fetch(fake.server.port, path, **more)


def test_manifests_are_found_by_tag_and_by_digest(fake):
    image = fake.add("a/b", images.image(), "v1")
    for reference in ("v1", image.digest):
        reply = get(fake, f"/v2/a/b/manifests/{reference}", headers={"Accept": images.OCI_MANIFEST})
        assert reply.status == 200 and reply.body == image.manifest
        assert reply.header("docker-content-digest") == image.digest
    assert get(fake, "/v2/a/b/manifests/v1").status == 404  # Accept is looked at
    assert get(fake, "/v2/a/b/manifests/v2", headers={"Accept": images.OCI_MANIFEST}).status == 404


def test_head_has_a_length_and_no_body(fake):
    digest, data = blob_of(fake)
    with wire.Wire(fake.server.port) as connection:
        reply = connection.exchange(f"/v2/a/b/blobs/{digest}", "HEAD")
        assert reply.length == len(data)
        assert connection.exchange("/v2/").body == b"{}"


def test_ranges_are_cut_out_of_blobs(fake):
    digest, data = blob_of(fake)
    reply = get(fake, f"/v2/a/b/blobs/{digest}", headers={"Range": "bytes=10-19"})
    assert reply.status == 206 and reply.body == data[10:20]
    assert reply.header("content-range") == f"bytes 10-19/{len(data)}"
    reply = get(fake, f"/v2/a/b/blobs/{digest}", headers={"Range": "bytes=99990-"})
    assert reply.body == data[99990:]
    assert get(fake, f"/v2/a/b/blobs/{digest}", headers={"Range": "bytes=100000-"}).status == 416


def test_each_fault_shows_on_the_wire(fake):
    digest, data = blob_of(fake)
    path = f"/v2/a/b/blobs/{digest}"

    def with_fault(headers=(), **fault):
        fake.fault("registry GET .*/blobs/", count=1, **fault)
        return get(fake, path, headers=headers)

    assert with_fault(status=503).status == 503
    assert with_fault(status=200, body=b"<html>").body == b"<html>"
    assert with_fault(hangup=True) is None
    assert with_fault(raw=b"HTTP/1.1 299 Odd\r\n\r\n").status == 299
    assert with_fault(headers={"Range": "bytes=5-"}, no_range=True).status == 200
    assert with_fault(headers={"Range": "bytes=5-"}, range_shift=1).header("content-range").startswith("bytes 6-")
    assert with_fault(headers={"Range": "bytes=5-"}, range_total=7).header("content-range").endswith("/7")
    cut = with_fault(cut_after=77)
    assert cut.ending == wire.CUT and cut.body == data[:77]
    wrong = with_fault(corrupt_at=5)
    assert wrong.body != data and wrong.body[6:] == data[6:]
    assert with_fault(extra=b"more").body == data + b"more"
    assert with_fault(claim=200_000).ending == wire.CUT
    chunked = with_fault(chunked=True)
    assert chunked.length is None and chunked.body == data and chunked.is_whole
    packed = with_fault(gzip=True)
    assert packed.header("content-encoding") == "gzip" and packed.body != data
    assert with_fault(close=True).header("connection") == "close"
    bare = {"Docker-Content-Digest": None, "Content-Type": "x/y; z=1"}
    fake.fault("registry GET .*/blobs/", count=1, headers=bare)
    reply = get(fake, path)
    assert reply.header("docker-content-digest") is None and reply.header("content-type") == "x/y; z=1"
    assert get(fake, path).body == data


def test_an_endless_body_lasts_until_the_client_leaves(fake):
    digest, data = blob_of(fake, 1000)
    fake.fault("blobs", endless=True)
    with wire.Wire(fake.server.port) as connection:
        connection.ask(f"/v2/a/b/blobs/{digest}")
        connection.head()
        assert len(connection.read(3_000_000)) == 3_000_000


def test_a_stall_ends_when_it_is_released(fake):
    digest, data = blob_of(fake)
    fault = fake.fault("blobs", stall_at=1000)
    with wire.Wire(fake.server.port) as connection:
        connection.ask(f"/v2/a/b/blobs/{digest}")
        reply = connection.head()
        assert connection.read(1000) == data[:1000]
        connection.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.read(1)
        fault.release()
        connection.socket.settimeout(10)
        assert connection.read(reply.length - 1000) == data[1000:]


def test_faults_are_counted_and_some_spared(fake):
    fault = fake.fault("/v2/$", status=500, count=2, after=1)
    assert [get(fake, "/v2/").status for _ in range(4)] == [200, 500, 500, 200]
    assert fault.hits == 2


def test_a_rate_is_kept(fake):
    digest, data = blob_of(fake, 400_000)
    fake.fault("blobs", rate=1_000_000)
    began = time.monotonic()
    assert get(fake, f"/v2/a/b/blobs/{digest}").body == data
    assert 0.35 < time.monotonic() - began < 2


def test_tokens_are_good_for_their_scope_only(fake):
    fake.auth = "bearer"
    fake.add("a/b", images.image(), "v1")
    reply = get(fake, "/v2/a/b/tags/list")
    assert reply.status == 401
    assert reply.header("www-authenticate").startswith(f'Bearer realm="{fake.token.server.url}/token"')

    def status_with(scope, name="a/b"):
        body = wire.fetch(fake.token.server.port, f"/token?service=fake.registry&scope={scope}").body
        return get(fake, f"/v2/{name}/tags/list", headers={"Authorization": "Bearer " + json.loads(body)["token"]}).status

    assert status_with("repository:a/b:pull") == 200
    assert status_with("repository:a/c:pull") == 401
    fake.private.add("a/b")
    assert status_with("repository:a/b:pull") == 401
    assert wire.fetch(fake.token.server.port, "/token?service=other").status == 400


def test_the_cdn_refuses_authorization_and_a_second_use(fake):
    fake.use_cdn()
    digest, data = blob_of(fake)
    location = get(fake, f"/v2/a/b/blobs/{digest}").header("location")
    path = location.replace(fake.cdn.url, "")
    assert wire.fetch(fake.cdn.port, path, headers={"Authorization": "Bearer x"}).status == 400
    assert wire.fetch(fake.cdn.port, path).body == data
    assert wire.fetch(fake.cdn.port, path).status == 403
    assert fake.sent(digest) == len(data)


def test_pages_lead_to_each_other(fake):
    for tag in ("a", "b", "c"):
        fake.add("x/y", images.image(), tag)
    fake.page_size = 2
    reply = get(fake, "/v2/x/y/tags/list")
    assert json.loads(reply.body)["tags"] == ["a", "b"]
    assert reply.header("link") == '</v2/x/y/tags/list?last=b>; rel="next"'
    assert json.loads(get(fake, "/v2/x/y/tags/list?last=b").body)["tags"] == ["c"]
    fake.page_style = "cursor"
    assert "next_page=b" in get(fake, "/v2/x/y/tags/list").header("link")


def test_referrers_list_what_names_the_subject(fake):
    subject = fake.add("a/b", images.image(), "v1")
    signature = fake.add("a/b", images.artifact(subject, "application/x.sig", "signed"))
    reply = get(fake, f"/v2/a/b/referrers/{subject.digest}")
    listed = json.loads(reply.body)["manifests"]
    assert [(d["digest"], d["artifactType"]) for d in listed] == [(signature.digest, "application/x.sig")]
    fake.has_referrers = False
    assert get(fake, f"/v2/a/b/referrers/{subject.digest}").status == 404


def test_it_serves_many_at_once_and_much(fake):
    size = 32 << 20
    digest, data = blob_of(fake, size)
    faults = []

    def pull():
        with wire.Wire(fake.server.port) as connection:
            connection.ask(f"/v2/a/b/blobs/{digest}")
            connection.head()
            faults.append(connection.drain(size, data) - size)

    threads = [threading.Thread(target=pull) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == [0] * 20 and fake.sent(digest) == 20 * size


def test_it_stops_and_comes_back_on_its_port(fake):
    digest, data = blob_of(fake)
    fake.stop()
    with pytest.raises(ConnectionRefusedError):
        get(fake, "/v2/")
    fake.come_back()
    assert get(fake, f"/v2/a/b/blobs/{digest}").body == data


def test_content_larger_than_memory_is_sliced_like_bytes():
    pattern = Pattern(5 << 30, b"0123456789")
    assert len(pattern) == 5 << 30
    assert pattern[(4 << 30) + 4:(4 << 30) + 8] == (b"0123456789" * 2)[((4 << 30) + 4) % 10:][:4]
    part = pattern[7:1 << 30]
    assert len(part) == (1 << 30) - 7 and part[0:3] == b"789"
