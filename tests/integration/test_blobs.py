# SPDX-License-Identifier: Apache-2.0
"""Blobs: whole, in ranges, warm, cold and while they come."""

import re
import threading

import images
import pytest
import wire
from fake_server import Pattern
from harness import code_of

SIZE = 1_000_003
DATA = images.random_bytes(SIZE, "blobs")
DIGEST = images.digest_of(DATA)
PATH = f"/v2/library/demo/blobs/{DIGEST}"
HALF = 500_000

RANGES = [  # what is asked, what comes: (first, last)
    ("bytes=0-", (0, SIZE - 1)), ("bytes=10-", (10, SIZE - 1)), (f"bytes={SIZE - 1}-", (SIZE - 1, SIZE - 1)),
    ("bytes=0-0", (0, 0)), ("bytes=5-9", (5, 9)), (f"bytes=5-{SIZE}", (5, SIZE - 1)), (f"bytes=7-{SIZE - 1}", (7, SIZE - 1)),
    (f"bytes=3-{1 << 62}", (3, SIZE - 1)), ("bytes=-1", (SIZE - 1, SIZE - 1)), ("bytes=-100", (SIZE - 100, SIZE - 1)),
    (f"bytes=-{SIZE + 5}", (0, SIZE - 1)), ("bytes=600000-700000", (600_000, 700_000)), ("bytes= 5-9", (5, 9)),
]
UNSATISFIABLE = [f"bytes={SIZE}-", f"bytes={SIZE + 10}-{SIZE + 20}", f"bytes={1 << 63}-", "bytes=-0"]
IGNORED = ["bytes", "bytes=", "bytes=a-b", "bytes=5", "bytes=9-5", "octets=0-5", "bytes=-", "bytes=1-2-3", "bytes=0x1-5",
           "bytes=" + "9" * 40 + "-", "bytes=-1-5"]


@pytest.fixture
def cold(fake, tranship):
    fake.add_blob("library/demo", DATA)
    return tranship


@pytest.fixture
def warm(cold):
    assert cold.get(PATH).body == DATA
    cold.wait_held(DIGEST)
    return cold


@pytest.fixture
def coming(fake, cold):
    """Half of it is here, the rest waits: coming.fault.release()."""
    cold.fault = fake.fault("registry GET .*/blobs/", count=1, stall_at=HALF)
    cold.begun = cold.wire()
    cold.begun.ask(PATH)
    assert cold.begun.head().status == 200
    assert cold.begun.read(HALF - 1) == DATA[:HALF - 1]
    yield cold
    cold.begun.close()


def check_206(reply, first, last, size=SIZE):
    assert reply.status == 206, reply
    assert reply.header("content-range") == f"bytes {first}-{last}/{size}"
    assert reply.length == last - first + 1
    assert reply.header("content-type") == "application/octet-stream"


def test_a_blob_is_exact_cold_and_warm(fake, cold):
    for _ in range(3):
        reply = cold.get(PATH)
        assert reply.status == 200 and reply.body == DATA and reply.length == SIZE
        assert reply.header("docker-content-digest") == DIGEST
        assert reply.header("etag") == f'"{DIGEST}"'
        assert reply.header("accept-ranges") == "bytes"
        assert reply.header("content-type") == "application/octet-stream"
        assert reply.header("cache-control") == "max-age=31536000"
        assert reply.header("docker-distribution-api-version") == "registry/2.0"
        assert reply.header("content-encoding") is None and reply.header("transfer-encoding") is None
    assert [r.method for r in fake.asked()] == ["GET"]


def test_a_cold_head_has_all_headers_and_downloads_nothing(fake, cold):
    head = cold.head(PATH)
    assert (head.status, head.length, head.body) == (200, SIZE, b"")
    assert head.header("docker-content-digest") == DIGEST and head.header("accept-ranges") == "bytes"
    assert [r.method for r in fake.asked()] == ["HEAD"]
    assert not cold.holds(DIGEST)


def test_a_warm_head_asks_nobody(fake, warm):
    fake.forget()
    with warm.wire() as connection:
        head = connection.exchange(PATH, "HEAD")
        assert (head.status, head.length, head.body) == (200, SIZE, b"")
        assert connection.exchange(PATH).body == DATA
    assert fake.asked() == []


def test_a_head_while_it_comes_knows_the_size(fake, coming):
    assert coming.head(PATH).length == SIZE
    coming.fault.release()


def test_a_missing_blob_is_404(fake, tranship, demo):
    path = f"/v2/library/demo/blobs/{images.digest_of(b'nowhere')}"
    reply = tranship.get(path)
    assert reply.status == 404 and code_of(reply) == "BLOB_UNKNOWN"
    head = tranship.head(path)
    assert (head.status, head.body) == (404, b"")


@pytest.mark.parametrize("asked, comes", RANGES)
def test_a_range_of_a_warm_blob(warm, asked, comes):
    reply = warm.get(PATH, {"Range": asked})
    check_206(reply, *comes)
    assert reply.body == DATA[comes[0]:comes[1] + 1]


@pytest.mark.parametrize("asked, comes", RANGES)
def test_a_range_of_a_cold_blob(fake, cold, asked, comes):
    reply = cold.get(PATH, {"Range": asked})
    check_206(reply, *comes)
    assert reply.body == DATA[comes[0]:comes[1] + 1]
    cold.wait_held(DIGEST)
    assert fake.sent(DIGEST) <= SIZE + 1


@pytest.mark.parametrize("asked, comes", RANGES)
def test_a_range_of_a_blob_still_coming(coming, asked, comes):
    first, last = comes
    with coming.wire() as other:
        other.ask(PATH, headers={"Range": asked})
        reply = other.head()  # comes at once, whether its bytes are here or not
        check_206(reply, first, last)
        ready = max(0, min(HALF - 1, last + 1) - first)
        body = other.read(ready)
        assert body == DATA[first:first + ready]
        coming.fault.release()
        assert body + other.read(reply.length - ready) == DATA[first:last + 1]


@pytest.mark.parametrize("asked", UNSATISFIABLE)
@pytest.mark.parametrize("state", ["warm", "cold", "coming"])
def test_a_range_beyond_the_end_is_416(request, state, asked):
    reply = request.getfixturevalue(state).get(PATH, {"Range": asked})
    assert reply.status == 416 and reply.header("content-range") == f"bytes */{SIZE}"
    assert code_of(reply) == "RANGE_INVALID"


@pytest.mark.parametrize("asked", IGNORED)
def test_a_malformed_range_is_ignored(warm, asked):
    reply = warm.get(PATH, {"Range": asked})
    assert (reply.status == 200 and reply.body == DATA) or (asked.endswith("9-") and reply.status == 416), reply


def test_a_range_on_head_is_ignored(warm):
    reply = warm.head(PATH, {"Range": "bytes=5-9"})
    assert (reply.status, reply.length) == (200, SIZE)


def test_if_range_keeps_the_range_only_for_this_blob(warm):
    keeps = {"Range": "bytes=5-9", "If-Range": f'"{DIGEST}"'}
    assert warm.get(PATH, keeps).status == 206
    for other in ('"other"', f'W/"{DIGEST}"', "Wed, 21 Oct 2015 07:28:00 GMT"):
        reply = warm.get(PATH, {"Range": "bytes=5-9", "If-Range": other})
        assert reply.status == 200 and reply.body == DATA


@pytest.mark.parametrize("form", ['"{}"', "{}", "*"])
def test_if_none_match_is_304(warm, form):
    with warm.wire() as connection:
        reply = connection.exchange(PATH, headers={"If-None-Match": form.format(DIGEST)})
        assert reply.status == 304
        assert connection.exchange(PATH, headers={"If-None-Match": '"x"'}).body == DATA


# --- many ranges --------------------------------------------------------------------------------------------------


def parts_of(reply):
    """The (content-range, bytes) of a multipart/byteranges answer, its form checked."""
    boundary = re.fullmatch(r'multipart/byteranges; *boundary="?([^"]+)"?', reply.header("content-type"))[1].encode()
    assert reply.is_whole
    pieces = (b"\r\n" + reply.body.lstrip(b"\r\n")).split(b"\r\n--" + boundary)
    assert pieces[0] == b"" and pieces[-1].strip() == b"--"
    parts = []
    for piece in pieces[1:-1]:
        head, body = piece.split(b"\r\n\r\n", 1)
        headers = dict(line.split(": ", 1) for line in head.decode().lower().strip().split("\r\n"))
        assert headers["content-type"]
        parts.append((headers["content-range"], body))
    return parts


def check_many(reply, ranges):
    if reply.status == 200:
        assert reply.body == DATA
        return
    assert reply.status == 206, reply
    assert parts_of(reply) == [(f"bytes {a}-{b}/{SIZE}", DATA[a:b + 1]) for a, b in ranges]


def ask_many(ranges):
    return {"Range": "bytes=" + ",".join(f"{a}-{b}" for a, b in ranges)}


@pytest.mark.parametrize("ranges", [
    [(0, 0), (5, 9)], [(0, 9), (10, 19), (20, 29)], [(900_000, 900_010), (5, 10)], [(5, 10), (5, 10)], [(0, 50), (25, 75)],
    [(0, SIZE - 1), (0, 0)], [(HALF - 10, HALF + 10), (SIZE - 1, SIZE - 1)]])
@pytest.mark.parametrize("state", ["warm", "cold"])
def test_each_of_several_ranges_is_a_part_of_its_own_in_order(request, state, ranges):
    check_many(request.getfixturevalue(state).get(PATH, ask_many(ranges)), ranges)


def test_1024_ranges_in_one_header(warm):
    ranges = [(i * 900, i * 900 + 7) for i in range(1024)]
    reply = warm.get(PATH, ask_many(ranges))
    assert reply.status == 206, reply
    check_many(reply, ranges)


def test_spaces_and_open_ends_among_several_ranges(warm):
    reply = warm.get(PATH, {"Range": f"bytes=0-3, 8-9 ,{SIZE - 4}-,-2"})
    check_many(reply, [(0, 3), (8, 9), (SIZE - 4, SIZE - 1), (SIZE - 2, SIZE - 1)])


def test_several_ranges_of_a_blob_still_coming(coming):
    ranges = [(10, 20), (HALF + 10, HALF + 20), (SIZE - 5, SIZE - 1)]
    with coming.wire() as other:
        other.ask(PATH, headers=ask_many(ranges))
        reply = other.head()
        coming.fault.release()
        check_many(other.rest(reply), ranges)


def test_several_ranges_all_beyond_the_end_are_416(warm):
    assert warm.get(PATH, {"Range": f"bytes={SIZE}-,{SIZE + 5}-{SIZE + 9}"}).status == 416


# --- odd blobs, odd clients --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"{}", b"x"])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_tiny_blobs_are_pullable(fake, tranship, data, algorithm):
    digest = fake.add_blob("a/b", data, algorithm)
    for _ in range(2):
        with tranship.wire() as connection:
            assert connection.exchange(f"/v2/a/b/blobs/{digest}", "HEAD").length == len(data)
            reply = connection.exchange(f"/v2/a/b/blobs/{digest}")
            assert reply.status == 200 and reply.body == data and reply.length == len(data)
            assert connection.exchange("/v2/").body == b"{}"


def test_a_range_of_an_empty_blob_is_416(fake, tranship):
    digest = fake.add_blob("a/b", b"")
    for _ in range(2):
        reply = tranship.blob("a/b", digest, {"Range": "bytes=0-"})
        assert reply.status == 416 and reply.header("content-range") == "bytes */0"


def test_offsets_and_sizes_beyond_4_gib_are_right(fake, tranship):
    size = (5 << 30) + 7
    digest = images.digest_of(b"stands for something large")
    fake.repository("a/b").blobs[digest] = Pattern(size, b"0123456789abcdef")
    fake.fault("registry GET .*/blobs/", stall_at=1 << 20)
    path = f"/v2/a/b/blobs/{digest}"
    assert tranship.head(path).length == size
    with tranship.wire() as whole, tranship.wire() as late:
        whole.ask(path)
        assert whole.head().length == size
        assert whole.read(1000) == (b"0123456789abcdef" * 63)[:1000]
        late.ask(path, headers={"Range": f"bytes={(4 << 30) + 5}-"})
        check_206(late.head(), (4 << 30) + 5, size - 1, size)
        tranship.terminate()
        tranship.wait_log(lambda e: e.get("message") == "stopping")  # two pending signals are one
        tranship.terminate()  # before the rest of it comes
        tranship.wait()


def test_four_open_ended_ranges_that_hang_up_leave_the_fill_alone(fake, coming):
    for k in range(4):
        with coming.wire() as chunk:
            chunk.ask(PATH, headers={"Range": f"bytes={k * 100_000}-"})
            assert chunk.head().status == 206
            assert chunk.read(100_000 - 1) == DATA[k * 100_000:(k + 1) * 100_000 - 1]
    coming.fault.release()
    assert coming.begun.read(SIZE - HALF + 1) == DATA[HALF - 1:]
    coming.wait_held(DIGEST)
    assert fake.sent(DIGEST) == SIZE


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_client_never_sees_a_redirect(fake, tranship, status):
    fake.use_cdn(status)
    digest = fake.add_blob("a/b", DATA)
    for method in ("HEAD", "GET"):
        reply = wire.fetch(tranship.port, f"/v2/a/b/blobs/{digest}", method)
        assert reply.status == 200 and reply.length == SIZE and reply.header("location") is None
    assert reply.body == DATA
    assert tranship.manifest("a/b", "none").status == 404


def test_ranges_and_compression_asked_by_clients_are_not_passed_on(fake, cold):
    asked = {"Range": "bytes=5-9", "Accept-Encoding": "zstd;q=1.0, gzip;q=0.8"}
    assert cold.get(PATH, asked).body == DATA[5:10]
    cold.wait_held(DIGEST)
    for request in fake.asked("blobs"):
        assert request.header("accept-encoding") in (None, "identity")
        assert request.header("range") != "bytes=5-9"


# --- whose blob it is ---------------------------------------------------------------------------------------------------


def test_a_blob_that_a_manifest_here_names_is_served_whichever_repository_brought_it(fake, tranship):
    one = fake.add("one/x", images.image([DATA]), "v1")
    fake.add("two/y", one, "v1")
    assert tranship.blob("one/x", one.layer).body == DATA
    assert tranship.manifest("two/y", "v1").status == 200
    tranship.wait_held(one.layer)
    fake.forget()
    assert tranship.blob("two/y", one.layer).body == DATA
    assert fake.asked() == []


def test_a_blob_that_this_repository_was_never_seen_to_hold_is_asked_for_first(fake, tranship):
    digest = fake.add_blob("private/x", DATA)
    fake.add("two/y", images.image(), "v1")
    assert tranship.blob("private/x", digest).body == DATA
    tranship.wait_held(digest)
    assert tranship.blob("two/y", digest).status == 404
    assert tranship.head(f"/v2/two/y/blobs/{digest}").status == 404
    fake.add_blob("three/z", DATA)
    assert tranship.blob("three/z", digest).body == DATA
    assert [r.method for r in fake.asked("three/z")] == ["HEAD"]
    assert fake.sent(digest) == SIZE


def test_many_clients_with_ranges_of_one_warm_blob_all_get_the_right_bytes(warm):
    wrong = []

    def pull(k):
        with warm.wire() as connection:
            for first in range(k, SIZE, 97_001):
                reply = connection.exchange(PATH, headers={"Range": f"bytes={first}-{first + 50_000}"})
                if reply.body != DATA[first:first + 50_001]:
                    wrong.append((first, reply))

    threads = [threading.Thread(target=pull, args=(k,)) for k in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
