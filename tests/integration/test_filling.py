# SPDX-License-Identifier: Apache-2.0
"""A blob on its way in: streamed while it is stored, resumed when the upstream breaks, proven before it is finished."""

import contextlib
import os

import images
import pytest
import wire
from harness import at_once, wait_until

SIZE = 6_000_000
DATA = images.random_bytes(SIZE, "filling")
DIGEST = images.digest_of(DATA)
PATH = f"/v2/library/demo/blobs/{DIGEST}"
BLOB = "registry GET .*/blobs/"


@pytest.fixture
def mirror(fake, tranship):
    fake.add_blob("library/demo", DATA)
    return tranship


def ranges_asked(fake):
    return [r.header("range") for r in fake.asked(BLOB)]


def test_head_and_first_bytes_reach_the_client_while_the_blob_comes(fake, mirror):
    fault = fake.fault(BLOB, stall_at=100_000)
    with mirror.wire() as client:
        client.ask(PATH)
        assert client.head().length == SIZE
        assert client.read(99_999) == DATA[:99_999]
        assert not mirror.holds(DIGEST)
        fault.release()
        assert client.read(SIZE - 99_999) == DATA[99_999:]
    mirror.wait_held(DIGEST)


def test_a_single_byte_is_forwarded_before_the_second_exists(fake, mirror):
    fault = fake.fault(BLOB, stall_at=1)
    with mirror.wire() as client:
        client.ask(PATH)
        assert client.head().status == 200
        assert client.read(1) == DATA[:1]
        fault.release()
        assert client.read(SIZE - 1) == DATA[1:]


def test_a_late_joiner_streams_from_what_is_here_and_says_collapsed(fake, mirror):
    fault = fake.fault(BLOB, stall_at=SIZE // 2)
    with mirror.wire() as first, mirror.wire() as second:
        first.ask(PATH)
        assert first.head().header("cache-status") == "tranship; fwd=uri-miss; stored"
        first.read(SIZE // 2 - 1)
        second.ask(PATH)
        assert second.head().header("cache-status") == "tranship; fwd=uri-miss; collapsed"
        assert second.read(SIZE // 2 - 1) == DATA[:SIZE // 2 - 1]
        fault.release()
        assert second.read(SIZE // 2 + 1) == DATA[SIZE // 2 - 1:]
        assert first.read(SIZE // 2 + 1) == DATA[SIZE // 2 - 1:]
    mirror.wait_hit(PATH)
    assert fake.sent(DIGEST) == SIZE and len(fake.asked()) == 1


def test_the_fill_goes_on_when_all_its_clients_have_left(fake, mirror):
    fault = fake.fault(BLOB, stall_at=SIZE // 2)
    for _ in range(3):
        with mirror.wire() as client:
            client.ask(PATH)
            client.head()
            client.read(1000)
    fault.release()
    mirror.wait_held(DIGEST)
    assert fake.sent(DIGEST) == SIZE
    assert mirror.get(PATH).body == DATA and len(fake.asked()) == 1


def test_a_blob_enters_the_cache_only_once_it_is_whole(fake, mirror):
    fault = fake.fault(BLOB, stall_at=SIZE - 1)
    with mirror.wire() as client:
        client.ask(PATH)
        client.head()
        client.read(SIZE - 2)
        assert mirror.held() == set()
        fault.release()
    mirror.wait_held(DIGEST)
    assert mirror.blob_path(DIGEST).read_bytes() == DATA
    wait_until(lambda: mirror.ingest() == [], what="an empty ingest/")


@pytest.mark.parametrize("at", [0, SIZE // 2, SIZE - 1])
def test_wrong_bytes_are_never_completed(fake, mirror, at):
    fault = fake.fault(BLOB, corrupt_at=at)
    reply = mirror.get(PATH)
    assert reply.status >= 500 or (reply.ending == wire.CUT and len(reply.body) < SIZE)
    assert mirror.held() == set()
    fault.count = 0
    assert mirror.get(PATH).body == DATA
    mirror.wait_held(DIGEST)


def test_a_range_up_to_the_last_byte_of_wrong_bytes_is_never_completed(fake, mirror):
    fake.fault(BLOB, corrupt_at=SIZE // 2)
    reply = mirror.get(PATH, {"Range": f"bytes={SIZE - 10}-"})
    assert reply.status >= 500 or reply.ending == wire.CUT


@pytest.mark.parametrize("reset", [False, True])
def test_an_upstream_that_hangs_up_is_asked_for_the_rest_and_the_client_never_notices(fake, mirror, reset):
    fake.fault(BLOB, count=3, cut_after=1_000_000, reset=reset)
    reply = mirror.get(PATH)
    assert reply.status == 200 and reply.body == DATA
    asked = ranges_asked(fake)
    assert asked[0] is None and len(asked) == 4
    starts = [int(r.removeprefix("bytes=").split("-")[0]) for r in asked[1:]]
    assert starts == sorted(starts) and starts[0] > 0
    if not reset:  # a reset may throw away what was on its way
        assert starts == [1_000_000, 2_000_000, 3_000_000] and fake.sent(DIGEST) == SIZE


def test_a_resume_that_is_answered_with_200_is_used_from_its_offset_on(fake, mirror):
    fake.fault(BLOB, count=1, cut_after=1_000_000)
    fake.fault(BLOB, no_range=True)
    assert mirror.get(PATH).body == DATA
    mirror.wait_held(DIGEST)
    assert mirror.blob_path(DIGEST).read_bytes() == DATA


RESUME_LIES = [{"range_shift": 1}, {"range_shift": -1}, {"range_total": SIZE + 1}, {"range_total": 5},
               {"headers": {"Content-Range": None}}, {"headers": {"Content-Range": "bytes x"}}]


def test_a_resume_with_a_wrong_content_range_never_corrupts(fake, mirror):
    def check(k):
        data = images.random_bytes(SIZE, f"resume {k}")
        digest = fake.add_blob("library/demo", data)
        fake.fault(digest, count=1, cut_after=1_000_000)
        fault = fake.fault(digest, count=2, **RESUME_LIES[k])
        reply = mirror.blob("library/demo", digest)
        assert fault.hits >= 1
        assert reply.body == data or (reply.ending == wire.CUT and data.startswith(reply.body) and len(reply.body) < SIZE)
        fault.count = 0
        assert mirror.blob("library/demo", digest).body == data

    at_once(check, range(len(RESUME_LIES)))


def test_a_stalled_body_is_dropped_and_resumed(fake, start):
    fake.add_blob("library/demo", DATA)
    mirror = start(stall_timeout="500ms")
    fake.fault(BLOB, count=1, stall_at=1_000_000)
    assert mirror.get(PATH).body == DATA
    assert ranges_asked(fake) == [None, "bytes=1000000-"]


def test_an_upstream_that_always_stalls_ends_with_a_cut_not_with_a_hang(fake, start):
    fake.add_blob("library/demo", DATA)
    mirror = start(stall_timeout="300ms")
    fake.fault(BLOB, stall_at=0)
    reply = mirror.get(PATH)
    assert reply.status in (502, 503, 504) or reply.ending == wire.CUT


def test_an_upstream_that_sends_nothing_but_heads_is_given_up(fake, mirror):
    fake.fault(BLOB, cut_after=0)
    reply = mirror.get(PATH)
    assert reply.status in (502, 503, 504) or reply.ending == wire.CUT
    assert len(fake.asked(BLOB)) < 20


def test_an_error_in_mid_blob_is_tried_again(fake, mirror):
    fake.fault(BLOB, count=1, cut_after=1_000_000)
    fake.fault(BLOB, count=1, status=503)
    assert mirror.get(PATH).body == DATA


def test_a_slow_drip_is_not_a_stall(fake, start):
    data = images.random_bytes(3000, "drip")
    digest = fake.add_blob("library/demo", data)
    mirror = start(stall_timeout="500ms")
    fake.fault(BLOB, rate=2000)
    assert mirror.blob("library/demo", digest).body == data
    assert len(fake.asked(BLOB)) == 1


def test_a_connection_closed_after_each_answer_is_no_error(fake, mirror):
    fake.fault("", close=True)
    image = fake.add("library/demo", images.image([b"1" * 5000, b"2" * 5000]), "latest")
    assert mirror.manifest("demo", "latest").body == image.manifest
    for digest, data in image.blobs.items():
        assert mirror.blob("demo", digest).body == data


def test_a_kept_connection_that_died_in_between_is_no_error(fake, mirror):
    for k in range(5):
        digest = fake.add_blob("library/demo", b"%d" % k * 1000)
        assert mirror.blob("library/demo", digest).status == 200
        for connection in list(fake.server.open):
            with contextlib.suppress(OSError):  # its client may have been quicker
                connection.shutdown(2)


@pytest.mark.parametrize("how", [{"chunked": True}, {"chunked": True, "rate": 20_000_000}])
def test_a_blob_without_a_stated_length_is_pullable(fake, mirror, how):
    fake.fault(BLOB, **how)
    reply = mirror.get(PATH)
    assert reply.status == 200 and reply.is_whole and reply.body == DATA
    mirror.wait_held(DIGEST)
    assert mirror.get(PATH).length == SIZE


@pytest.mark.parametrize("bent", [{"extra": b"x"}, {"extra": b"x" * 100_000}, {"claim": SIZE - 1, "cut_after": SIZE - 1}])
def test_a_length_against_the_manifest_is_refused_before_the_first_byte(fake, mirror, bent):
    image = fake.add("library/demo", images.image([DATA]), "latest")
    assert mirror.manifest("library/demo", "latest").body == image.manifest
    fault = fake.fault(BLOB, **bent)
    reply = mirror.get(PATH)
    assert reply.status in (502, 503, 504), reply
    assert not mirror.holds(DIGEST)
    fault.count = 0
    assert mirror.get(PATH).body == DATA


@pytest.mark.parametrize("harm", ["gone", "shorter", "empty"])
def test_a_held_file_that_was_harmed_while_stopped_is_fetched_again(fake, start, harm):
    fake.add_blob("library/demo", DATA)
    mirror = start()
    assert mirror.get(PATH).body == DATA
    mirror.wait_held(DIGEST)
    mirror.stop()
    path = mirror.blob_path(DIGEST)
    if harm == "gone":
        path.unlink()
    else:
        path.chmod(0o644)
        os.truncate(path, 0 if harm == "empty" else SIZE - 5)
    mirror = start()
    reply = mirror.get(PATH)
    if reply.status != 200 or not reply.is_whole:  # noticing it may cost one answer, never a wrong one
        reply = mirror.get(PATH)
    assert reply.status == 200 and reply.body == DATA


def test_four_blobs_come_at_once_each_unharmed(fake, mirror):
    blobs = [images.random_bytes(700_000, f"four {k}") for k in range(4)]
    digests = [fake.add_blob("a/b", data) for data in blobs]
    fault = fake.fault(BLOB, stall_at=300_000)
    clients = [mirror.wire() for _ in blobs]
    for client, digest in zip(clients, digests):
        client.ask(f"/v2/a/b/blobs/{digest}")
    for client, data in zip(clients, blobs):
        client.head()
        assert client.read(299_999) == data[:299_999]
    fault.release()
    for client, data in zip(clients, blobs):
        assert client.read(400_001) == data[299_999:]
        client.close()
