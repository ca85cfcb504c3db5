# SPDX-License-Identifier: Apache-2.0
"""Several transfers of one blob at once, over several connections and sources: each byte once, whatever they refuse,
break or lie about. Connections here are throttled, so that the blob takes long enough to be worth it."""

import json
import re

import images
import pytest
from fake_registry import FakeRegistry
from harness import wait_until

SIZE = 32 << 20
DATA = images.random_bytes(SIZE, "lanes")
BLOB = "registry GET .*/blobs/"
RATE = 6_000_000
MANY = {"connections_per_source": 4}


@pytest.fixture
def digest(fake):
    return fake.add_blob("a/b", DATA)


def parts(fake):
    """(first, last or None) of each request, in order."""
    found = [re.match(r"bytes=(\d+)-(\d*)", r.header("range") or "bytes=0-") for r in fake.asked(BLOB)]
    return [(int(m[1]), int(m[2]) if m[2] else None) for m in found]


def pull(mirror, digest):
    reply = mirror.blob("a/b", digest)
    assert reply.status == 200 and reply.is_whole and reply.body == DATA
    mirror.wait_held(digest)


def check_once(mirror, *fakes, digest, most=1.05):
    """All came, and hardly a byte twice, of what the mirror took in. What lies unread in the sockets of a transfer that is
    cut, as others do its part, is for the machine's load to say: 3 MB, if the mirror cannot run for half a second. (By the
    benchmark, on a quiet machine, 1.002 times.)"""
    assert sum(fake.sent(digest) for fake in fakes) >= SIZE
    took = mirror.metric("upstream_bytes_total")
    assert SIZE <= took <= SIZE * most, f"{took / SIZE:.3f} of the blob"


def is_between(fake):
    """Do any bytes lie in a socket between the two?"""
    lines = [line.split() for line in open("/proc/net/tcp")][1:]
    port = f":{fake.server.port:04X}"
    return any(queues.strip("0:") for _, ours, theirs, _, queues, *_ in lines if ours.endswith(port) or theirs.endswith(port))


def test_a_source_that_limits_each_connection_gets_several(fake, start, digest):
    fake.fault(BLOB, rate=RATE)
    mirror = start(**MANY)
    pull(mirror, digest)
    asked = parts(fake)
    assert len(asked) >= 3 and asked[0] == (0, None), asked
    assert all(last is not None for _, last in asked[1:]), asked
    check_once(mirror, fake, digest=digest)


def test_with_one_a_source_there_is_one(fake, start, digest):
    fake.fault(BLOB, rate=RATE * 4)
    pull(start(connections_per_source=1), digest)
    assert parts(fake) == [(0, None)] and fake.sent(digest) == SIZE


@pytest.mark.parametrize("options", [{"connections_per_blob": 1}, {"smallest_piece": "17MiB"}])
def test_where_the_options_say_so_there_is_one_transfer(fake, start, digest, options):
    fake.fault(BLOB, rate=RATE * 4)
    pull(start(**MANY, **options), digest)
    assert parts(fake) == [(0, None)]


def test_a_registry_that_is_not_accelerated_is_asked_once(fake, start, digest, tmp_path):
    file = tmp_path / "tranship.json"
    file.write_text(json.dumps({"registries": {"docker.io": {"accelerate": "no"}}}))
    fake.fault(BLOB, rate=RATE * 4)
    pull(start(config=file, **MANY), digest)
    assert parts(fake) == [(0, None)]


def test_a_blob_of_less_than_two_pieces_comes_in_one(fake, start):
    small = fake.add_blob("a/b", DATA[:(2 << 20) - 1])
    fake.fault(BLOB, rate=RATE // 4)
    assert start(**MANY).blob("a/b", small).body == DATA[:(2 << 20) - 1]
    assert parts(fake) == [(0, None)]


REFUSALS = {"429": {"status": 429, "headers": {"Retry-After": "60"}}, "503": {"status": 503}, "404": {"status": 404}, "no_ranges": {"no_range": True},
            "another_range": {"range_shift": 1}, "another_total": {"range_total": SIZE + 1}, "416": {"status": 416},
            "hangup": {"hangup": True}, "multipart": {"headers": {"Content-Type": "multipart/byteranges; boundary=x",
                                                                  "Content-Range": None}}}


@pytest.mark.parametrize("how", REFUSALS)
def test_a_source_that_refuses_a_second_transfer_keeps_its_one(fake, start, how):
    """And is asked for a second one of that blob once; where it said so, for no other blob's either."""
    digests = [fake.add_blob("a/b", DATA), fake.add_blob("a/b", DATA[::-1])]
    for digest in digests:
        fake.fault(f"{BLOB}{digest}", count=1, rate=RATE * 3)
    fake.fault(BLOB, **REFUSALS[how])
    mirror = start(**MANY)
    assert mirror.blob("a/b", digests[0]).body == DATA
    assert len(fake.asked(f"{BLOB}{digests[0]}")) == 2
    assert mirror.blob("a/b", digests[1]).body == DATA[::-1]
    assert len(fake.asked(f"{BLOB}{digests[1]}")) == (2 if how in ("hangup", "404") else 1)


AWKWARD = {"closes_after_each_answer": [{"close": True}],
           "another_etag": [{"count": 1, "headers": {"ETag": '"one"'}}, {"headers": {"ETag": '"two"'}}]}


@pytest.mark.parametrize("how", AWKWARD)
def test_what_is_merely_awkward_costs_nothing(fake, start, digest, how):
    for fault in AWKWARD[how]:
        fake.fault(BLOB, rate=RATE, **fault)
    mirror = start(**MANY)
    pull(mirror, digest)
    assert len(parts(fake)) >= 3 and not any(r.header("if-range") for r in fake.asked(BLOB))
    check_once(mirror, fake, digest=digest)


def test_a_source_that_is_fast_for_a_megabyte_only_gets_several_transfers(fake, start, digest):
    fake.fault(BLOB, rate=RATE, free=1 << 20)
    mirror = start(**MANY)
    pull(mirror, digest)
    assert len(parts(fake)) >= 3
    check_once(mirror, fake, digest=digest)


def test_mirrors_and_origin_share_the_work(fake, start, digest):
    others = [FakeRegistry(), FakeRegistry()]
    try:
        for one in (*others, fake):
            one.add_blob("a/b", DATA)
            one.fault(BLOB, rate=RATE)
        mirror = start(mirror=[one.url for one in others], connections_per_source=1)
        pull(mirror, digest)
        assert all(parts(one) for one in (*others, fake))
        check_once(mirror, *others, fake, digest=digest)
    finally:
        for one in others:
            one.stop()


BREAKS = {"cut": {"cut_after": 1_000_000}, "reset": {"cut_after": 1_000_000, "reset": True}, "stall": {"stall_at": 1_000_000}}


@pytest.mark.parametrize("how", BREAKS)
def test_a_lane_that_breaks_gives_its_part_back(fake, start, digest, how):
    fake.fault(BLOB, count=1, rate=RATE)
    fake.fault(BLOB, count=1, **BREAKS[how])
    fake.fault(BLOB, rate=RATE)
    mirror = start(stall_timeout="2s", **MANY)
    pull(mirror, digest)
    check_once(mirror, fake, digest=digest, most=1.1)


def test_a_main_transfer_that_breaks_beside_lanes_goes_on(fake, start, digest):
    fake.fault(BLOB, count=1, rate=RATE, cut_after=6_000_000)
    fake.fault(BLOB, rate=RATE)
    pull(start(**MANY), digest)


def test_a_mirror_that_lies_in_its_part_is_set_aside_and_the_next_ask_is_right(fake, start, digest):
    liar = FakeRegistry()
    try:
        liar.add_blob("a/b", DATA)
        for one in (liar, fake):
            one.fault(BLOB, rate=RATE, **({"corrupt_at": 100_000} if one is liar else {}))
        mirror = start(mirror=liar.url, connections_per_source=2)
        first = mirror.blob("a/b", digest)
        assert not first.is_whole or first.body == DATA
        liar.forget()
        pull(mirror, digest)
        assert not liar.asked(BLOB)
        mirror.wait_log(lambda e: liar.url in str(e) and "wrong" in str(e))
    finally:
        liar.heal()
        liar.stop()


@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize("lie", ["one_byte", "all_its_ranges"])
def test_one_of_two_mirrors_lies_and_the_client_notices_nothing(fake, start, digest, who, lie):
    """It is found out, named and left out; nobody else is, and no more is fetched again than what it or, before it was
    its turn, the other mirror had brought."""
    mirrors = [FakeRegistry(), FakeRegistry()]
    liar, other = mirrors[who], mirrors[1 - who]
    try:
        for one in (*mirrors, fake):
            one.add_blob("a/b", DATA)
            one.fault(BLOB, rate=RATE, **({"corrupt_ranges": True} if one is liar and lie != "one_byte" else {}))
        if lie == "one_byte":  # wherever its part may be
            liar.heal()
            liar.fault(BLOB, rate=RATE, corrupt_sent=100_000)
        mirror = start(mirror=[one.url for one in mirrors], connections_per_source=1)
        pull(mirror, digest)
        brought = liar.sent(digest)
        if lie == "all_its_ranges" and not any(first for first, _ in parts(liar)):
            return  # it was asked for no range
        entry = mirror.wait_log(lambda e: "set aside" in e.get("message", ""))
        assert entry["upstream"] == liar.url
        assert not any(one.url in str(e) for e in mirror.log() if "set aside" in str(e) for one in (other, fake))
        assert mirror.metric("upstream_bytes_total") <= SIZE + brought + other.sent(digest) + SIZE // 10
        liar.forget()
        again = images.random_bytes(100_000, "after the lie")
        for one in (*mirrors, fake):
            one.heal()
            one.add_blob("a/b", again)
        assert mirror.blob("a/b", images.digest_of(again)).body == again
        assert not liar.asked(BLOB)
    finally:
        for one in mirrors:
            one.heal()
            one.stop()


def test_killed_amid_several_lanes_what_came_is_not_fetched_again(fake, start, digest):
    """What came is what the mirror had read: the source stands still before, until nothing lies in sockets."""
    slow = fake.fault(BLOB, rate=RATE)
    mirror = start(**MANY)
    with mirror.wire() as client:
        client.ask(f"/v2/a/b/blobs/{digest}")
        client.head()
        wait_until(lambda: len(parts(fake)) >= 3 and fake.sent(digest) > SIZE // 2, 20, "half of it in three parts")
        slow.rate = 1
        wait_until(lambda: not is_between(fake), 20, "what was sent being read")
        came = mirror.status()["flows"][0]["present"]
        mirror.kill()
    assert came > SIZE // 3
    slow.rate = RATE
    fake.forget()
    pull(start(**MANY), digest)
    assert SIZE - came <= fake.sent(digest) <= SIZE - came + (8 << 20)


def test_stopping_amid_several_lanes_ends_well(fake, start, digest):
    fake.fault(BLOB, rate=RATE)
    mirror = start(drain_timeout="0s", **MANY)
    with mirror.wire() as client:
        client.ask(f"/v2/a/b/blobs/{digest}")
        client.head()
        wait_until(lambda: len(parts(fake)) >= 3, 20, "three parts")
        mirror.stop()


def test_a_range_far_behind_is_not_made_to_wait_for_what_lies_before(fake, start, digest):
    """As snapshotters that pull lazily ask. The rest keeps coming, and comes once."""
    fake.fault(BLOB, rate=1_000_000)
    mirror = start(**MANY)
    with mirror.wire() as whole, mirror.wire() as far:
        whole.ask(f"/v2/a/b/blobs/{digest}")
        reply = whole.head()
        far.ask(f"/v2/a/b/blobs/{digest}", headers={"Range": "bytes=30000000-30065535"})
        there = far.rest(far.head())
        assert there.status == 206 and there.body == DATA[30_000_000:30_065_536]
        assert fake.sent(digest) < SIZE // 2  # it did not have to come past all that
        assert 30_000_000 in [first for first, _ in parts(fake)]
        fake.heal()
        assert whole.rest(reply).body == DATA
    mirror.wait_held(digest)


def test_with_one_transfer_a_source_a_range_far_behind_waits_for_its_turn(fake, start, digest):
    fake.fault(BLOB, rate=RATE * 4)
    mirror = start(connections_per_source=1)
    reply = mirror.get(f"/v2/a/b/blobs/{digest}", {"Range": "bytes=30000000-30065535"})
    assert reply.status == 206 and reply.body == DATA[30_000_000:30_065_536]
    assert parts(fake) == [(0, None)]
