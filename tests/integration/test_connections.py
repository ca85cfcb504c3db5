# SPDX-License-Identifier: Apache-2.0
"""Many connections, idle ones, and those that end without a word."""

import pathlib
import re
import resource
import selectors

import pytest

import harness

IDLE = 5000
IDLE_MEMORY = 60 << 20


def lift_descriptors(needed):
    """For this process and the mirrors that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard >= needed, f"this story needs {needed} descriptors"
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def is_instrumented():
    return b"__sanitizer" in harness.binary().read_bytes()


def anonymous_bytes(tranship):
    status = pathlib.Path(f"/proc/{tranship.process.pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) << 10


def metric(wire, name):
    """Asked over a connection that stays, so that asking opens none."""
    return int(re.search(rf"^tranship_{name} (\d+)$", wire.exchange("/metrics").body.decode(), re.M)[1])


def test_thousands_of_used_idle_connections_stay_open_and_cost_little(start, fake, demo):
    """Docker and containerd keep their connections open for minutes after a pull."""
    lift_descriptors(2 * IDLE + 200)
    mirror = start(max_connections=IDLE + 10)
    path = "/v2/demo/manifests/latest"
    mirror.get(path)
    before = anonymous_bytes(mirror)
    clients = [mirror.wire() for _ in range(IDLE)]
    for client in clients:
        client.ask(path)
    for client in clients:
        assert client.rest(client.head()).status == 200
    if not is_instrumented():
        harness.wait_until(lambda: anonymous_bytes(mirror) - before < IDLE_MEMORY, 30,
                           f"less than {IDLE_MEMORY} bytes for {IDLE} idle connections")
    for client in clients:
        assert client.exchange(path).body == demo.manifest
        client.close()


def test_connections_past_the_limit_are_closed_and_room_comes_back(start, demo):
    mirror = start(max_connections=4)
    kept = [mirror.wire() for _ in range(4)]
    for client in kept:
        assert client.exchange("/v2/").status == 200
    with mirror.wire() as more:
        assert more.is_closed()
    assert kept[0].exchange("/v2/demo/manifests/latest").body == demo.manifest
    kept.pop().close()
    harness.wait_until(lambda: metric(kept[0], "connections") == 3, what="the end of the fourth")
    with mirror.wire() as more:
        assert more.exchange("/v2/demo/manifests/latest").body == demo.manifest
    for client in kept:
        client.close()


def test_where_there_is_no_room_the_idle_make_some(start, demo, fake):
    """Keep-alive is a favour: who asks goes before who only stays. A pull under way is never cut."""
    digest = fake.add_blob("a/b", b"x" * 3_000_000)
    fault = fake.fault("registry GET .*/blobs/", stall_at=1 << 20)
    mirror = start(max_connections=3)
    kept = [mirror.wire() for _ in range(2)]
    for client in kept:
        assert client.exchange("/v2/").status == 200
    with mirror.wire() as busy:
        busy.ask(f"/v2/a/b/blobs/{digest}")
        reply = busy.head()

        def is_served():
            with mirror.wire() as more:
                try:
                    answer = more.exchange("/v2/demo/manifests/latest")
                except OSError:  # closed at once
                    return False
                return answer is not None and answer.body == demo.manifest
        harness.wait_until(is_served, 20, "room for one who asks")  # where all three places were taken
        fault.release()
        assert busy.rest(reply).body == b"x" * 3_000_000
    for client in kept:
        client.close()


@pytest.mark.parametrize("last", [b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /v2/ HT", b""])
def test_a_client_that_leaves_with_its_last_bytes_is_noticed(start, last):
    """The end of the stream comes with the request, or before there is one: its descriptor must not stay."""
    mirror = start()
    with mirror.wire() as watcher:
        before = metric(watcher, "connections_total")
        clients = [mirror.wire() for _ in range(20)]
        for client in clients:
            client.send(last)
            client.close()
        harness.wait_until(lambda: metric(watcher, "connections_total") == before + 20, what="all of them")
        harness.wait_until(lambda: metric(watcher, "connections") == 1, 20, "the end of all of them")


def test_out_of_descriptors_connections_wait_and_are_served_in_the_end(tmp_path, fake, demo):
    """With hardly any descriptors to spare, a crowd is slowed down; nobody is refused, nothing spins."""
    few = 64
    mirror = harness.Tranship(tmp_path / "data", fake.url, wrapper=["prlimit", f"--nofile={few}:{few}"])
    try:
        mirror.ready()
        clients = [mirror.wire() for _ in range(few + 20)]
        for client in clients:
            client.ask("/v2/")
        mirror.wait_log(lambda e: e.get("message") == "connections have to wait")
        waiting = selectors.DefaultSelector()
        for client in clients:
            waiting.register(client.socket, selectors.EVENT_READ, client)
        while waiting.get_map():  # in whatever order they are answered; each leaves once it has its answer
            ready = waiting.select(30)
            assert ready, f"{len(waiting.get_map())} were never answered"
            for key, _ in ready:
                waiting.unregister(key.fileobj)
                assert key.data.rest(key.data.head()).status == 200
                key.data.close()
        waits = [e for e in mirror.log() if e.get("message") == "connections have to wait"]
        assert len(waits) < 100, "it asks for connections without end"
        assert mirror.manifest("demo", "latest").body == demo.manifest
        mirror.stop()
    finally:
        if mirror.process.returncode is None:
            mirror.kill()
