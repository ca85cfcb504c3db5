# SPDX-License-Identifier: Apache-2.0
"""A pool: mirrors that are dead, silent, slow, stale, limiting or lying, before an origin that may be gone as well.
Whatever they do, a pull is right and its client hears of no error; and nobody pays twice for the same dead source."""

import json
import threading
import time

import images
import pytest
import wire
from fake_registry import FakeRegistry
from fake_server import Deaf
from harness import at_once, code_of, message_of

NAME = "library/demo"
IMAGE = images.image([images.random_bytes(40_000, "small"), images.random_bytes(900_000, "pool")])
SMALL, LAYER = list(IMAGE.blobs)[1:]
SLOW = {"connect_timeout": "2s", "header_timeout": "2s", "stall_timeout": "1s"}


class Pool:
    def __init__(self, origin, mirrors):
        self.origin, self.mirrors, self.all = origin, mirrors, [*mirrors, origin]

    @property
    def urls(self):
        return [m.url for m in self.mirrors]

    def add(self, image, *tags, name=NAME):
        for one in self.all:
            one.add(name, image, *tags)
        return image

    def asked(self, pattern=""):
        return [len(one.asked(pattern)) for one in self.all]

    def forget(self):
        for one in self.all:
            one.forget()


@pytest.fixture
def pool_of(fake):
    made = []

    def pool_of(count):
        made.extend(FakeRegistry() for _ in range(count))
        pool = Pool(fake, list(made))
        pool.add(IMAGE, "latest")
        return pool

    yield pool_of
    for one in made:
        one.heal()
        one.stop()


@pytest.fixture
def pool(pool_of):
    return pool_of(2)


@pytest.fixture
def deaf():
    deaf = Deaf()
    yield deaf
    deaf.stop()


@pytest.fixture
def front(pool, start):
    """A mirror before that pool, with time-outs that a test can wait for."""
    return start(mirror=pool.urls, **SLOW)


def pull(mirror, image=IMAGE, reference="latest", name=NAME, tries=1):
    """What a client does: HEAD of the tag, the manifest by digest, all blobs."""
    head = mirror.head(f"/v2/{name}/manifests/{reference}")
    assert head.status == 200 and head.header("docker-content-digest") == image.digest, head
    reply = mirror.manifest(name, image.digest)
    assert reply.status == 200 and reply.body == image.manifest, reply
    for digest, data in image.blobs.items():
        for left in reversed(range(tries)):
            reply = mirror.blob(name, digest)
            if reply.is_whole or not left:
                break
        assert reply.status == 200 and reply.is_whole and reply.body == data, reply
    return head


def nth(n, size=30_000):
    return images.image([images.random_bytes(size, f"nth {n}")])


def left_out(mirror, url):
    return [e for e in mirror.log() if e.get("message") == "a source is left out" and e["upstream"] == url]


# --- broken before a healthy origin (each way of it: test_bad_sources.py) ------------------------------------------------

MID_BLOB = {
    "cut": {"cut_after": 300_000}, "reset": {"cut_after": 300_000, "reset": True}, "stalls": {"stall_at": 300_000},
    "crawls": {"rate": 2_000},
}


@pytest.mark.parametrize("how", ["silent", "refused", "500", "page"])
def test_a_mirror_whose_token_service_is_broken_is_not_noticed(pool, start, how):
    front = start(mirror=pool.urls)
    bad = pool.mirrors[0]
    bad.auth = "bearer"
    faults = {"silent": {"stall_before": True}, "500": {"status": 500}, "page": {"status": 200, "body": b"<html>"}}
    if how == "refused":
        bad.token.server.stop()
    else:
        bad.fault("token", **faults[how])
    for n in range(10):
        pull(front, pool.add(nth(n), f"v{n}"), f"v{n}")
    assert len(bad.asked("registry GET")) <= 2


def test_what_a_head_then_nothing_costs_is_paid_once(pool, start):
    front = start(mirror=pool.urls)
    pool.mirrors[0].fault("GET .*manifests", stall_at=0)
    for n in range(10):
        pull(front, pool.add(nth(n), f"v{n}"), f"v{n}")
    assert len(pool.mirrors[0].asked("GET")) <= 2


def test_a_dead_mirror_is_not_noticed(pool, front):
    pool.mirrors[0].stop()
    pull(front)
    assert pool.asked("blobs")[1:] == [3, 0]
    assert len(left_out(front, pool.mirrors[0].url)) == 1


@pytest.mark.parametrize("how", [{"range_shift": 7}, {"range_total": 7}, {"status": 416}, {"corrupt_at": 0, "no_range": True}])
def test_a_second_source_that_answers_another_range_is_passed_over(pool, front, how):
    pool.mirrors[0].fault(f"GET .*{LAYER}", cut_after=300_000)
    pool.mirrors[1].fault(f"GET .*{LAYER}", **how)
    pull(front)
    assert front.blob(NAME, LAYER).body == IMAGE.blobs[LAYER]


@pytest.mark.parametrize("how", MID_BLOB)
def test_a_transfer_that_breaks_goes_on_at_its_offset_from_the_next_source(pool, front, how):
    pool.mirrors[0].fault(f"GET .*{LAYER}", **MID_BLOB[how])
    pull(front)
    first, second = pool.mirrors[0].asked(f"GET .*{LAYER}"), pool.mirrors[1].asked(f"GET .*{LAYER}")
    assert len(first) == len(second) == 1 and not pool.origin.asked("blobs")
    offset = int(second[0].header("range")[6:-1])
    assert 0 < offset < 900_000 and second[0].header("if-range") is None
    assert pool.mirrors[1].sent(LAYER) == 900_000 - offset


def test_a_second_source_without_ranges_begins_anew_and_the_client_sees_no_seam(pool, front):
    pool.mirrors[0].fault(f"GET .*{LAYER}", cut_after=300_000)
    pool.mirrors[1].fault(f"GET .*{LAYER}", no_range=True)
    pull(front)
    assert pool.mirrors[1].sent(LAYER) == 900_000


def test_all_sources_break_in_turn_and_the_blob_is_whole(pool, front):
    for k, one in enumerate(pool.all):
        one.fault(f"GET .*{LAYER}", count=2, cut_after=200_000)
    pull(front)
    assert len(set(r.header("range") for one in pool.all for r in one.asked(f"GET .*{LAYER}"))) >= 4


# --- wrong bytes --------------------------------------------------------------------------------------------------------


def test_a_mirror_that_sends_wrong_bytes_is_set_aside_and_named(pool, front):
    liar = pool.mirrors[0]
    liar.fault(f"GET .*{SMALL}", corrupt_at=7)
    pull(front)
    said = front.wait_log(lambda e: e.get("message") == "a source sent wrong bytes and is set aside")
    assert said["upstream"] == liar.url and said["digest"] == SMALL and said["level"] == "error"
    liar.heal()
    pool.forget()
    for n in range(5):
        pull(front, pool.add(nth(n), "latest"), f"sha256:{nth(n).digest[7:]}")
    assert not liar.asked()


def test_a_large_blobs_wrong_bytes_from_a_mirror_that_was_never_right_reach_nobody(pool, front):
    fault = pool.mirrors[0].fault(f"GET .*{LAYER}", corrupt_at=500_000)
    reply = front.blob(NAME, LAYER)
    assert reply.status == 200 and reply.is_whole and reply.body == IMAGE.blobs[LAYER]
    front.wait_log(lambda e: e.get("upstream") == pool.mirrors[0].url and "set aside" in e["message"])
    assert fault.hits == 1


def test_wrong_bytes_of_a_large_blob_are_never_completed_and_the_second_try_is_right(pool, front):
    """From a mirror that was right until now: what it sends is passed on at once."""
    assert front.blob(NAME, SMALL).body == IMAGE.blobs[SMALL]
    fault = pool.mirrors[0].fault(f"GET .*{LAYER}", corrupt_at=500_000, stall_at=600_000)
    with front.wire() as client:
        client.ask(f"/v2/{NAME}/blobs/{LAYER}")
        reply = client.head()
        assert reply.status == 200 and client.read(550_000) != IMAGE.blobs[LAYER][:550_000]
        fault.release()
        assert len(client.rest(reply).body) < 350_000 and reply.ending == wire.CUT
    again = front.blob(NAME, LAYER)
    assert again.status == 200 and again.body == IMAGE.blobs[LAYER]
    assert len(pool.mirrors[0].asked(f"GET .*{LAYER}")) == 1


def test_wrong_bytes_that_nobody_has_read_are_fetched_again_behind_the_scenes(pool, front):
    pool.mirrors[0].fault(f"GET .*{SMALL}", corrupt_at=30_000)
    pool.mirrors[1].fault(f"GET .*{SMALL}", corrupt_at=30_000)
    assert front.blob(NAME, SMALL).body == IMAGE.blobs[SMALL]
    assert pool.asked(f"GET .*{SMALL}") == [1, 1, 1]


def test_a_wrong_manifest_is_asked_of_the_next_source(pool, front):
    pool.mirrors[0].fault("GET .*manifests", corrupt_at=5)
    assert front.manifest(NAME, IMAGE.digest).body == IMAGE.manifest
    assert front.manifest(NAME, IMAGE.digest).header("cache-status") == "tranship; hit"
    pool.mirrors[1].fault("manifests", headers={"Docker-Content-Digest": images.digest_of(b"another")})
    other = pool.add(nth(1))
    assert front.manifest(NAME, other.digest).body == other.manifest
    assert front.metric("sources_out") == 2


# --- who is asked, and how often ----------------------------------------------------------------------------------------


def test_a_pull_by_digest_asks_the_first_mirror_only(pool, front):
    pull(front, reference=IMAGE.digest)
    assert pool.asked("manifests") == [2, 0, 0] and pool.asked("blobs") == [3, 0, 0]


def test_a_tag_is_the_origins_to_tell_and_its_bytes_are_anybodys(pool, front):
    assert front.manifest(NAME, "latest").body == IMAGE.manifest
    assert [r.method for r in pool.origin.asked()] == ["HEAD"]
    assert pool.asked("GET .*manifests/sha256") == [1, 0, 0]


def test_where_tags_may_be_asked_anywhere_the_first_mirror_tells_them(pool, start, tmp_path):
    file = tmp_path / "tranship.json"
    file.write_text(json.dumps({"registries": {"docker.io": {
        "origin": pool.origin.url, "mirrors": [{"url": url} for url in pool.urls], "resolve": "any"}}}))
    front = start(config=file)
    assert pull(front).header("warning") is None
    assert pool.asked("manifests/latest") == [1, 0, 0] and not pool.origin.asked()
    pool.mirrors[0].stop()
    pull(front, pool.mirrors[1].add(NAME, nth("tag"), "new"), "new")
    assert not pool.origin.asked()


def test_a_stale_mirror_does_not_decide_what_a_tag_means(pool, front):
    newer = pool.origin.add(NAME, nth("newer"), "latest")
    assert front.manifest(NAME, "latest").body == newer.manifest
    pull(front, newer)
    assert len(pool.origin.asked("GET .*manifests")) == 1  # the mirrors do not have it yet


@pytest.mark.parametrize("how", ["refused", "silent", "500"])
def test_twenty_pulls_pay_once_for_a_dead_mirror(pool, start, how):
    front = start(mirror=pool.urls)
    bad = pool.mirrors[0]
    if how == "refused":
        bad.stop()
    else:
        bad.fault("registry", **({"stall_before": True} if how == "silent" else {"status": 500}))
    pool.add(IMAGE, "latest")
    began = time.monotonic()
    pull(front)
    paid = time.monotonic() - began
    pool.forget()
    began = time.monotonic()
    for n in range(20):
        pull(front, pool.add(nth(n), f"v{n}"), f"v{n}")
    assert len(bad.asked("registry GET")) == 0  # probes are HEADs
    assert len(bad.asked()) <= 4
    assert paid < 4 and time.monotonic() - began < 20
    assert len(left_out(front, bad.url)) <= 2
    assert not [e for e in front.log() if (e.get("status") or 0) >= 400]


@pytest.mark.parametrize("how", ["connect hangs", "silent", "silent once the manifest is there"])
def test_an_image_of_forty_layers_pays_for_a_dead_mirror_at_most_once(pool, start, deaf, how):
    """By a client that asks for six at a time. Any time-out is longer than the test: who waited for one is still there."""
    dead, patience = pool.mirrors[0], "300s"
    front = start(mirror=[deaf.url if how == "connect hangs" else dead.url, pool.urls[1]], connect_timeout=patience,
                  header_timeout=patience, stall_timeout=patience)
    image = pool.add(images.image([images.random_bytes(20_000, n) for n in range(40)]), "many")
    if how != "connect hangs":
        dead.fault("registry .*blobs" if "once" in how else "registry", stall_before=True)
    assert front.manifest(NAME, image.digest).body == image.manifest
    digests = list(image.blobs)

    def ask(share):
        with front.wire() as client:
            for digest in digests[share::6]:
                assert client.exchange(f"/v2/{NAME}/blobs/{digest}").body == image.blobs[digest]

    at_once(ask, range(6))
    paid = front.metric("source_failures_total")
    if "once" in how:
        assert 1 <= paid <= 6 and len(dead.asked("GET .*blobs")) <= 6  # it was trusted, by all six at the same time
    else:
        assert paid == 1 and len(dead.asked("registry GET")) == (how == "silent")
    assert len(left_out(front, deaf.url if how == "connect hangs" else dead.url)) == 1


def test_a_mirror_that_lacks_a_repository_is_not_asked_for_all_of_it(pool, front):
    image = images.image([images.random_bytes(20_000, n) for n in range(10)])
    for one in (pool.mirrors[1], pool.origin):
        one.add("library/rare", image, "latest")
    pull(front, image, name="library/rare")
    assert 1 <= len(pool.mirrors[0].asked("rare")) <= 3
    assert front.metric("sources_out") == 0


def test_only_the_origins_404_is_a_404(pool, front):
    missing = images.digest_of(b"nowhere")
    assert front.blob(NAME, missing).status == 404
    assert front.manifest(NAME, images.digest_of(b"nowhere either")).status == 404
    assert front.manifest(NAME, "v404").status == 404
    assert pool.asked(missing) == [1, 1, 1] and pool.asked("v404") == [0, 0, 1]
    pool.origin.stop()
    for path in (f"blobs/{images.digest_of(b'1')}", f"manifests/{images.digest_of(b'2')}", "manifests/v405"):
        reply = front.get(f"/v2/{NAME}/{path}")
        assert reply.status in (502, 504) and code_of(reply) == "UNAVAILABLE", reply


def test_a_limited_mirror_is_left_alone_as_long_as_it_said(pool, front):
    pool.mirrors[0].fault("registry", status=429, headers={"Retry-After": "600"})
    for n in range(5):
        pull(front, pool.add(nth(n), f"v{n}"), f"v{n}")
    assert len(pool.mirrors[0].asked()) == 1


def test_a_limit_of_all_is_told_only_with_nothing_held(pool, start):
    front = start(mirror=pool.urls, tag_ttl="0s", **SLOW)
    pull(front)
    for one in pool.all:
        one.fault("registry", status=429, headers={"Retry-After": "7"})
    reply = front.manifest(NAME, "latest")
    assert reply.status == 200 and reply.header("warning")
    reply = front.blob(NAME, images.digest_of(b"not held"))
    assert reply.status == 503 and code_of(reply) == "TOOMANYREQUESTS" and reply.header("retry-after") == "7"


def test_rate_limit_headers_of_the_origin_are_shown(pool, front):
    pool.origin.fault("registry HEAD", headers={"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "76;w=21600"})
    front.manifest(NAME, "latest")
    assert front.metric("source_rate_limit", role="origin") == 100
    assert front.metric("source_rate_remaining", role="origin", source=pool.origin.url) == 76


# --- the origin is gone -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["refused", "silent", "500", "429"])
def test_mirrors_stand_in_for_an_origin_that_is_out_of_reach_and_the_answer_says_so(pool, front, how):
    if how == "refused":
        pool.origin.stop()
    else:
        pool.origin.fault("registry", **({"stall_before": True} if how == "silent" else {"status": int(how)}))
    head = pull(front)
    assert head.header("warning").startswith('299 - "stale') and "detail=served-stale" in head.header("cache-status")
    reply = front.manifest(NAME, "latest")
    assert reply.body == IMAGE.manifest and reply.header("warning")
    assert front.get(f"/v2/{NAME}/tags/list").status == 200
    front.wait_log(lambda e: e.get("message") == "serving a tag by the word of a mirror")


def test_what_the_origin_once_said_is_not_undone_by_mirrors(pool, start):
    front = start(mirror=pool.urls, tag_ttl="0s", **SLOW)
    pull(front)
    for one in pool.mirrors:
        one.add(NAME, nth("frozen"), "latest")
    pool.origin.stop()
    for _ in range(3):
        reply = front.manifest(NAME, "latest")
        assert reply.body == IMAGE.manifest and reply.header("warning")
    pool.origin.come_back()
    moved = pool.origin.add(NAME, nth("moved"), "latest")
    front.wait_tag(NAME, "latest", moved.digest)


def test_an_origin_that_is_back_tells_tags_again(pool, start):
    front = start(mirror=pool.urls, tag_ttl="0s", **SLOW)
    pool.origin.stop()
    pull(front)
    pool.origin.come_back()
    newer = pool.origin.add(NAME, nth("newer"), "latest")
    front.wait_tag(NAME, "latest", newer.digest)


def test_when_all_are_dead_the_answer_says_so_and_names_the_origin(pool, front):
    for one in pool.all:
        one.stop()
    for path in ("manifests/latest", f"manifests/{IMAGE.digest}", f"blobs/{LAYER}", "tags/list", f"referrers/{IMAGE.digest}"):
        reply = front.get(f"/v2/{NAME}/{path}")
        assert reply.status in (502, 504) and code_of(reply) == "UNAVAILABLE"
        assert "docker.io" in message_of(reply) and pool.origin.url in message_of(reply), message_of(reply)
    pool.origin.come_back()
    pull(front)


def test_when_all_are_silent_the_client_waits_for_one_time_out(pool, start):
    front = start(mirror=pool.urls, **SLOW | {"header_timeout": "1s"})
    for one in pool.all:
        one.fault("registry", stall_before=True)
    began = time.monotonic()
    paths = ["manifests/latest", f"manifests/{IMAGE.digest}", f"blobs/{LAYER}", "tags/list"]
    at_once(lambda path: pytest.fail(path) if front.get(f"/v2/{NAME}/{path}").status != 504 else None, paths)
    assert time.monotonic() - began < 8


def test_a_mirror_that_says_yes_to_every_head_opens_nothing(pool, front):
    pull(front)
    front.wait_hit(f"/v2/{NAME}/blobs/{LAYER}")
    for one in pool.mirrors:
        one.fault("HEAD .*/other/", raw=b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n")
    for path in (f"blobs/{LAYER}", f"manifests/{IMAGE.digest}"):
        assert front.get(f"/v2/library/other/{path}").status == 404
        assert front.head(f"/v2/library/other/{path}").status == 404


def test_listings_come_from_the_origin_and_from_mirrors_without_it(pool, front):
    pool.origin.add(NAME, nth(1), "only-here")
    assert b"only-here" in front.get(f"/v2/{NAME}/tags/list").body
    assert pool.asked("tags/list") == [0, 0, 1]
    pool.add(IMAGE, "x", name="library/other")
    pool.mirrors[0].page_size = 1
    pool.mirrors[0].add("library/other", nth(2), "y", "z")
    pool.origin.stop()
    reply = front.get("/v2/library/other/tags/list")
    assert reply.status == 200 and b'"x","y","z"' in reply.body.replace(b" ", b"") and reply.header("warning")


# --- recovery, herds ----------------------------------------------------------------------------------------------------


def test_a_mirror_that_healed_is_used_again_after_a_probe(pool, front):
    pool.mirrors[0].stop()
    pull(front)
    pool.mirrors[0].come_back()
    pool.forget()
    for n in range(1000):
        pull(front, pool.add(nth(n, 100), f"v{n}"), f"v{n}")
        if pool.mirrors[0].asked("HEAD"):
            break
    front.wait_log(lambda e: e.get("message") == "a source is back" and e["upstream"] == pool.mirrors[0].url)
    assert len(pool.mirrors[0].asked("HEAD")) == 1
    pool.mirrors[1].stop()
    pool.origin.fault("GET", status=500)
    pull(front, pool.add(nth("last"), "last"), "last")
    assert pool.mirrors[0].asked("GET")


def test_a_herd_over_a_pool_is_one_transfer(pool, front):
    pool.mirrors[0].stop()
    front.blob(NAME, SMALL)
    fault = pool.mirrors[1].fault(f"GET .*{LAYER}", stall_at=500_000)
    right = []

    def one():
        right.append(front.blob(NAME, LAYER).body == IMAGE.blobs[LAYER])

    threads = [threading.Thread(target=one) for _ in range(30)]
    for thread in threads:
        thread.start()
    pool.mirrors[1].wait_sent(LAYER, 500_000)
    fault.release()
    for thread in threads:
        thread.join()
    assert right == [True] * 30
    assert sum(one.sent(LAYER) for one in pool.all) <= 1_000_000


def test_a_slow_first_byte_is_overtaken_and_the_loser_cancelled(pool, front):
    fault = pool.mirrors[0].fault("registry GET .*blobs", stall_before=True, count=1)
    assert front.blob(NAME, LAYER).body == IMAGE.blobs[LAYER]
    fault.release()
    assert pool.asked("GET .*blobs") == [1, 1, 0]
    assert pool.mirrors[0].sent(LAYER) < 900_000


def test_the_time_out_of_a_mirror_does_not_end_the_wait_for_a_slow_origin(fake, start, deaf):
    fake.add(NAME, IMAGE, "latest")
    front = start(mirror=[deaf.url], connect_timeout="1500ms")
    fault = fake.fault("registry GET", stall_before=True)
    with front.wire() as one, front.wire() as other:
        one.ask(f"/v2/{NAME}/blobs/{LAYER}")
        other.ask(f"/v2/{NAME}/manifests/{IMAGE.digest}")
        fake.wait_asked("registry GET", 2)
        front.wait_log(lambda e: e.get("message") == "a source is left out" and e["reason"] == "time-out")
        front.get("/v2/")  # by then nobody has been told that there is no answer
        fault.release()
        assert one.rest(one.head()).body == IMAGE.blobs[LAYER]
        assert other.rest(other.head()).body == IMAGE.manifest


def test_a_slow_origin_is_no_reason_to_ask_dead_mirrors_again(pool, start):
    front = start(mirror=pool.urls)
    for one in pool.mirrors:
        one.fault("registry", status=500)
    pull(front)
    for n in range(2):
        fault = pool.origin.fault("registry GET .*manifests", stall_before=True, count=1)
        image = pool.add(nth(n))
        pool.forget()
        with front.wire() as client:
            client.ask(f"/v2/{NAME}/manifests/{image.digest}")
            pool.origin.wait_asked("registry GET .*manifests")
            threading.Timer(1.5, fault.release).start()
            assert client.rest(client.head()).body == image.manifest
        assert not any(one.asked("GET") for one in pool.mirrors)


def test_a_hundred_pulls_from_one_good_mirror_among_four_broken_ones_and_a_slow_origin(pool_of, start, deaf):
    """None fails, none is wrong, and each of the four is paid for by one request. (How long it takes: make bench.)"""
    pool = pool_of(4)
    silent, erring, lying, good = pool.mirrors
    front = start(mirror=[deaf.url, *pool.urls])
    pool.origin.fault("registry", delay=0.03)
    silent.fault("registry", stall_before=True)
    erring.fault("registry", status=500)
    lying.fault("GET", corrupt_at=3)
    for n in range(100):
        layers = [images.random_bytes(size, f"{n} {size}") for size in (2_000, 30_000, 90_000)]
        pull(front, pool.add(images.image(layers), f"v{n}"), f"v{n}")
    assert [len(one.asked("registry GET")) for one in (silent, erring, lying)] == [1, 1, 1]
    assert max(len(one.asked("registry HEAD")) for one in (silent, erring)) <= 10  # probes, ever more rarely
    assert front.metric("source_failures_total") <= 30
    assert len(good.asked("GET")) >= 495 and len(pool.origin.asked("HEAD")) == 100
    assert not [e for e in front.log() if (e.get("status") or 0) >= 400]


def test_stopping_in_the_middle_of_everything_ends_well(pool, start):
    front = start(mirror=pool.urls)
    for one in pool.mirrors:
        one.fault("registry", stall_before=True)
    pool.origin.fault("GET .*blobs", stall_at=0)
    clients = [front.wire() for _ in range(8)]
    for k, client in enumerate(clients):
        client.ask(f"/v2/{NAME}/" + ("manifests/latest", f"blobs/{LAYER}", "tags/list", f"manifests/{IMAGE.digest}")[k % 4])
    pool.mirrors[0].wait_asked("registry")
    front.end_at_once()
    for client in clients:
        client.close()
