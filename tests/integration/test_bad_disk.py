# SPDX-License-Identifier: Apache-2.0
"""A block of a held blob that cannot be read ends one answer, not the process, and what is wrong comes again. A file cut
short under its mapping is such a block: who touches it dies of SIGBUS."""

import ssl

import pytest

import images

DATA = images.random_bytes(8_000_000, "bad disk")
LEFT = 732 * 4096  # whole pages: what is left of one beyond the end of a file reads as zeros, and may still be sent
PATH = "/v2/a/b/blobs/"


@pytest.fixture(params=["HTTP", "HTTPS"])
def scene(request, start, fake, certificate):
    """(mirror, context, path, break_disk): a blob that is held and mapped, and what cuts its file short."""
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

    def break_disk():
        with mirror.blob_path(digest).open("r+b") as file:
            file.truncate(LEFT)
    return mirror, context, PATH + digest, break_disk


@pytest.mark.parametrize("ranges, first", [
    (None, 0), (f"bytes=1000000-{len(DATA) - 1}", 1_000_000), (f"bytes=4000000-{len(DATA) - 1}", 4_000_000),
    (f"bytes=0-9,2000000-{len(DATA) - 1}", None)])
def test_what_cannot_be_read_cuts_its_answer_and_no_other(scene, fake, ranges, first):
    """The client reads on only once the disk is broken: what went out before is less than all by far."""
    mirror, context, path, break_disk = scene
    with mirror.wire(context=context, receive_buffer=65536) as client:
        client.ask(path, headers={"Range": ranges} if ranges else {})
        reply = client.head()
        break_disk()
        client.rest(reply)
        assert reply.status == (206 if ranges else 200) and reply.ending == "cut"
        if first is not None:
            assert DATA[first:].startswith(reply.body)
    other = fake.add_blob("a/b", DATA[1:])
    with mirror.wire(context=context) as client:
        assert client.exchange(path, headers={"Range": "bytes=2000000-2000999"}).body == DATA[2_000_000:2_001_000]
        assert client.exchange(PATH + other).body == DATA[1:]
        assert client.exchange(path).body == DATA
    assert mirror.process.poll() is None
