# SPDX-License-Identifier: Apache-2.0
"""Every way an upstream may lie about content: the client gets an error or a cut connection, never a completed wrong
answer; nothing enters blobs/; the log names the upstream; the truth is served once it is told."""

import images
import pytest
import wire
from harness import at_once, wait_until

SIZE = 700_000
DATA = images.random_bytes(SIZE, "lies")
DIGEST = images.digest_of(DATA)

LIES = {
    "first_byte_wrong": {"corrupt_at": 0},
    "middle_byte_wrong": {"corrupt_at": 777},
    "one_byte_too_many": {"extra": b"!"},
    "a_mib_too_many": {"extra": b"!" * (1 << 20)},
    "too_many_unstated": {"extra": b"!" * 1000, "chunked": True},
    "too_few_again_and_again": {"cut_after": 100},
    "too_few_and_says_so": {"claim": 100, "cut_after": 100},
    "endless": {"endless": True},
    "endless_and_slow": {"endless": True, "rate": 3_000_000},
    "html_with_200": {"status": 200, "body": b"<html>Pay for your room</html>"},
    "html_of_the_right_length": {"status": 200, "body": b"<html>" + b" " * (SIZE - 6)},
    "empty_with_200": {"status": 200, "body": b""},
    "gzip_unasked": {"gzip": True},
    "claims_zstd": {"headers": {"Content-Encoding": "zstd"}, "corrupt_at": 3},
    "206_unasked": {"raw": b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-4/5\r\nContent-Length: 5\r\n\r\nwrong"},
    "no_length_and_close": {"raw": b"HTTP/1.0 200 OK\r\n\r\nsome bytes then the end"},
    "length_and_chunked": {"raw": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwrong\r\n0\r\n\r\n"},
    "a_second_answer_behind": {"raw": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrongHTTP/1.1 200 OK\r\n\r\n"},
    "redirect_to_file": {"status": 302, "headers": {"Location": "file:///etc/passwd"}},
    "redirect_to_itself": {"status": 307, "headers": {"Location": "."}},
}


def is_refused(reply, truth):
    """No answer that a client could take for a whole one, unless it is the truth."""
    if reply is None or reply.status >= 400 or reply.ending == wire.CUT:
        return True
    return reply.status == 200 and reply.body == truth  # an encoding that was undone, bytes that were ignored


@pytest.fixture
def lied_to(fake, start):
    fake.add_blob("library/demo", DATA)
    fake.strict_accept = False
    return start(stall_timeout="1s")


def check_held(mirror):
    for digest in mirror.held():
        assert images.digest_of(mirror.blob_path(digest).read_bytes()) == digest


def check(fake, mirror, lie, what):
    """One repository a lie. what: tag, index, manifest, blob, or told blob (a manifest was served before)."""
    name = f"lies/{lie}"
    image = images.image([images.random_bytes(SIZE, f"{lie} {what}")])
    index = fake.add(name, images.index([("amd64", image)]), "latest")
    path, truth = {
        "tag": ("manifests/latest", index.manifest), "index": (f"manifests/{index.digest}", index.manifest),
        "manifest": (f"manifests/{image.digest}", image.manifest)}.get(what, (f"blobs/{image.layer}", image.blobs[image.layer]))
    if what == "told blob":
        assert mirror.manifest(name, image.digest).status == 200
    fault = fake.fault(f"registry GET .*/{lie}/(manifests|blobs)/", **LIES[lie])
    for headers in ({}, {"Range": "bytes=5-"}):
        reply = mirror.get(f"/v2/{name}/{path}", headers)
        if reply.status == 206:
            assert reply.ending == wire.CUT or reply.body == truth[5:]
        else:
            assert is_refused(reply, truth), reply
        assert b"root:" not in reply.body and b"wrong" != reply.body
    if reply.status >= 400:
        mark = reply.header("x-request-id")
        line = mirror.wait_log(lambda e: mark in e.values())
        assert fake.url in str(line)
    fault.count = 0
    reply = mirror.get(f"/v2/{name}/{path}")
    assert reply.status == 200 and reply.is_whole and reply.body == truth, reply


@pytest.mark.parametrize("what", ["tag", "index", "manifest", "blob", "told blob"])
def test_a_lie_is_never_completed_nor_kept_and_the_truth_is_served_after_it(fake, lied_to, what):
    lies = [lie for lie in LIES if what != "blob" or not lie.startswith("endless")]
    at_once(lambda lie: check(fake, lied_to, lie, what), lies)
    check_held(lied_to)


def test_one_blob_under_the_name_of_another_is_refused(fake, lied_to):
    other = images.random_bytes(SIZE, "another")
    fake.repository("library/demo").blobs[DIGEST] = other
    reply = lied_to.blob("library/demo", DIGEST)
    assert is_refused(reply, DATA)
    assert lied_to.held() == set()


def test_an_endless_body_of_unknown_size_is_never_completed_and_does_not_outlive_us(fake, lied_to):
    fake.fault("registry GET .*/blobs/", endless=True, rate=30_000_000)
    with lied_to.wire() as client:
        client.ask(f"/v2/library/demo/blobs/{DIGEST}")
        reply = client.head()
        if reply.status == 200:
            assert reply.length is None
            client.drain(2 * SIZE)
        else:
            assert reply.status == 502
    assert lied_to.held() == set()
    lied_to.terminate()
    lied_to.wait_log(lambda e: e.get("message") == "stopping")  # two pending signals are one
    lied_to.terminate()
    lied_to.wait()


def test_what_a_lie_left_behind_does_not_pile_up(fake, lied_to):
    digests = [fake.add_blob("library/demo", images.random_bytes(50_000, k)) for k in range(20)]
    fake.fault("registry GET .*/blobs/", corrupt_at=40_000)
    for digest in digests:
        assert is_refused(lied_to.blob("library/demo", digest), b"")
    wait_until(lambda: len(lied_to.ingest()) <= 2, what="an empty ingest/")
    assert lied_to.held() == set()


def test_a_wrong_size_in_a_head_does_not_spoil_the_get(fake, lied_to):
    path = f"/v2/library/demo/blobs/{DIGEST}"
    fake.fault("registry HEAD", claim=SIZE + 5)
    lied_to.head(path)
    reply = lied_to.get(path)
    if reply.status != 200 or not reply.is_whole:
        reply = lied_to.get(path)
    assert reply.body == DATA


def test_a_manifest_that_lies_about_the_size_of_a_blob_does_not_yield_a_wrong_blob(fake, lied_to):
    made = images.to_json({
        "schemaVersion": 2, "mediaType": images.OCI_MANIFEST,
        "config": images.descriptor(images.OCI_CONFIG, b"{}") | {"size": 5},
        "layers": [images.descriptor(images.OCI_LAYER, DATA) | {"size": size} for size in (1, 0, 1 << 62, SIZE + 1)]})
    fake.add_manifest("a/b", made, images.OCI_MANIFEST, "v1")
    fake.repository("a/b").blobs.update({DIGEST: DATA, images.digest_of(b"{}"): b"{}"})
    assert lied_to.manifest("a/b", "v1").status in (200, 502)
    for digest, truth in ((DIGEST, DATA), (images.digest_of(b"{}"), b"{}")):
        assert is_refused(lied_to.blob("a/b", digest), truth)
