# SPDX-License-Identifier: Apache-2.0
"""Clients that read slowly, send slowly, or stop altogether: they harm themselves alone."""

import time

import images
import pytest

SIZE = 24 << 20
DATA = images.random_bytes(SIZE, "slow")


@pytest.mark.parametrize("is_warm", [False, True])
def test_readers_that_stand_still_slow_nobody(fake, tranship, is_warm):
    digest = fake.add_blob("a/b", DATA)
    path = f"/v2/a/b/blobs/{digest}"
    if is_warm:
        assert tranship.get(path).body == DATA
        tranship.wait_held(digest)
    still = [tranship.wire(receive_buffer=4096) for _ in range(10)]
    for client in still:
        client.ask(path)
        assert client.head().length == SIZE
    for _ in range(2):
        with tranship.wire() as client:
            client.ask(path)
            client.head()
            assert client.drain(SIZE, DATA) == SIZE
    tranship.wait_held(digest)
    assert fake.sent(digest) == SIZE
    for client in still[:2]:  # and one that wakes up gets the rest of it
        assert client.drain(SIZE, DATA) == SIZE
    for client in still:
        client.close()


def test_a_reader_that_stands_still_does_not_hold_the_upstream(fake, tranship):
    digest = fake.add_blob("a/b", DATA)
    with tranship.wire(receive_buffer=4096) as client:
        client.ask(f"/v2/a/b/blobs/{digest}")
        client.head()
        tranship.wait_held(digest)


@pytest.mark.parametrize("start_of_it", [b"", b"GET /v2/ HT", b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-", b"\x16\x03\x01"])
def test_a_sender_that_stops_is_dropped_and_the_others_never_notice(fake, start, demo, start_of_it):
    mirror = start(request_timeout="1s")
    slow = [mirror.wire(timeout=15) for _ in range(20)]
    for client in slow:
        client.send(start_of_it)
    for _ in range(20):
        assert mirror.manifest("demo", "latest").body == demo.manifest
    for client in slow:
        said = client.read(1 << 16)  # until the server closes; it may say why
        assert said == b"" or said.startswith(b"HTTP/1.1 4")
        client.close()


def test_a_sender_that_drips_is_dropped_too(start):
    mirror = start(request_timeout="1s")
    with mirror.wire(timeout=0.05) as client:
        client.send(b"GET /v2/ HTTP/1.1\r\n")
        began, closed = time.monotonic(), False
        while not closed and time.monotonic() < began + 10:
            try:
                client.send(b"X-Drip: y\r\n")
                closed = client.is_closed()
            except TimeoutError:
                pass  # nothing said yet: the next drop
            except OSError:
                closed = True
        assert closed
    assert mirror.get("/v2/").status == 200


def test_a_kept_connection_serves_many_requests_in_turn(fake, tranship, demo):
    with tranship.wire() as client:
        for _ in range(300):
            assert client.exchange("/v2/demo/manifests/latest").body == demo.manifest
            assert client.exchange(f"/v2/demo/blobs/{demo.layer}", "HEAD").status == 200


def test_http_1_0_gets_its_answer_and_the_end_of_the_connection(fake, tranship, demo):
    with tranship.wire() as client:
        client.send(b"GET /v2/demo/manifests/latest HTTP/1.0\r\n\r\n")
        said = client.read(1 << 20)
    head, body = said.split(b"\r\n\r\n", 1)
    assert b" 200 " in head.split(b"\r\n")[0] and body == demo.manifest


def test_clients_that_hang_up_at_any_point_leave_nothing_behind(fake, tranship):
    digest = fake.add_blob("a/b", DATA)
    fault = fake.fault("registry GET .*/blobs/", stall_at=1 << 20)
    path = f"/v2/a/b/blobs/{digest}"
    for taken in (0, 1, 100, 1 << 16, (1 << 20) - 1):
        for headers in ({}, {"Range": "bytes=20000000-"}, {"Range": "bytes=5-6,20000000-"}):
            client = tranship.wire()
            client.ask(path, headers=headers)
            if taken:
                client.head()
                if not headers:
                    client.read(taken)
            client.close()
    fault.release()
    tranship.wait_held(digest)
    assert tranship.get(path).body == DATA
    assert fake.sent(digest) == SIZE
