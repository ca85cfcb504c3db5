# SPDX-License-Identifier: Apache-2.0
"""A block of a held blob that cannot be read ends one answer, not the process. A file cut short under its mapping is such
a block: who touches it dies of SIGBUS."""

import ssl

import pytest

import images

DATA = images.random_bytes(8_000_000, "bad disk")
LEFT = 3_000_000
PATH = "/v2/a/b/blobs/"


@pytest.fixture(params=["HTTP", "HTTPS"])
def scene(request, start, fake, certificate):
    """(mirror, context, path): a blob that is held and mapped, whose file is then cut short."""
    is_https = request.param == "HTTPS"
    options = {"tls_certificate": certificate[0], "tls_key": certificate[1]} if is_https else {}
    context = ssl.create_default_context(cafile=certificate[0]) if is_https else None
    # Where the kernel sent up to the hole, the socket is not full and tells of no room: the time-out then ends it.
    mirror = start(send_timeout="1s", **options)
    digest = fake.add_blob("a/b", DATA)
    with mirror.wire(context=context) as client:
        assert client.exchange(PATH + digest).body == DATA
        mirror.wait_held(digest)
        while client.exchange(PATH + digest, "HEAD").header("cache-status") != "tranship; hit":
            pass
        assert client.exchange(PATH + digest).body == DATA
    with mirror.blob_path(digest).open("r+b") as file:
        file.truncate(LEFT)
    return mirror, context, PATH + digest


@pytest.mark.parametrize("ranges, first", [
    (None, 0), (f"bytes=1000000-{len(DATA) - 1}", 1_000_000), ("bytes=5000000-5999999", 5_000_000),
    ("bytes=0-9,2000000-3999999", None), ("bytes=3500000-3500009,7000000-7000009", None)])
def test_what_cannot_be_read_cuts_its_answer_and_no_other(scene, fake, ranges, first):
    """None at all if not even the first block is there: the kernel sends it together with the head."""
    mirror, context, path = scene
    with mirror.wire(context=context) as client:
        reply = client.exchange(path, headers={"Range": ranges} if ranges else {})
        assert reply is None or reply.status == (206 if ranges else 200) and reply.ending == "cut"
        if reply and first is not None:
            assert len(reply.body) <= max(LEFT - first, 0) and DATA[first:].startswith(reply.body)
    other = fake.add_blob("a/b", DATA[1:])
    with mirror.wire(context=context) as client:
        assert client.exchange(path, headers={"Range": "bytes=2000000-2000999"}).body == DATA[2_000_000:2_001_000]
        assert client.exchange(PATH + other).body == DATA[1:]
    assert mirror.process.poll() is None
