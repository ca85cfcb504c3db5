# SPDX-License-Identifier: Apache-2.0
"""Many who want the same at once: the upstream is asked once, everybody streams. HERD_MIB sets the size."""

import collections
import os
import threading

import harness
import images
import pytest

SIZE = int(os.environ.get("HERD_MIB", "64")) << 20
CLIENTS = 50


class Client(threading.Thread):
    def __init__(self, mirror, path, data, first=0):
        super().__init__()
        self.mirror, self.path, self.data, self.first = mirror, path, data, first
        self.half = threading.Event()  # half of its bytes have come
        self.trouble, self.cache = None, None

    def run(self):
        try:
            with self.mirror.wire(timeout=120) as wire:
                wire.ask(self.path, headers={"Range": f"bytes={self.first}-"} if self.first else {})
                reply = wire.head()
                self.cache = reply.header("cache-status")
                whole = len(self.data) - self.first
                assert reply.status == (206 if self.first else 200) and reply.length == whole
                some = wire.drain(max(0, len(self.data) // 2 - self.first - 1), self.data, self.first)
                self.half.set()
                assert some + wire.drain(whole - some, self.data, self.first + some) == whole
        except Exception as trouble:  # told by the main thread
            self.trouble = trouble
        finally:
            self.half.set()


def test_fifty_clients_on_one_cold_blob_cost_the_upstream_one(fake, start):
    data = images.random_bytes(SIZE, "herd")
    digest = fake.add_blob("a/b", data)
    mirror = start(stall_timeout="120s")
    fault = fake.fault("registry GET .*/blobs/", stall_at=SIZE // 2)
    clients = [Client(mirror, f"/v2/a/b/blobs/{digest}", data) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:  # all have the first half while the upstream holds the second back
        assert client.half.wait(100)
    assert fake.sent(digest) == SIZE // 2
    fault.release()
    for client in clients:
        client.join()
    assert [c.trouble for c in clients] == [None] * CLIENTS
    assert fake.sent(digest) == SIZE and len(fake.asked()) == 1
    outcomes = collections.Counter(c.cache for c in clients)
    assert outcomes == {"tranship; fwd=uri-miss; stored": 1, "tranship; fwd=uri-miss; collapsed": CLIENTS - 1}
    mirror.wait_held(digest)


def test_clients_that_begin_anywhere_share_one_transfer(fake, start):
    size = 8 << 20
    data = images.random_bytes(size, "herd")
    digest = fake.add_blob("a/b", data)
    mirror = start()
    fake.fault("registry GET .*/blobs/", rate=16 << 20)
    clients = [Client(mirror, f"/v2/a/b/blobs/{digest}", data, k * size // 20) for k in range(20)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert [c.trouble for c in clients] == [None] * 20
    mirror.wait_held(digest)
    assert fake.sent(digest) == size


@pytest.mark.parametrize("what", ["tag", "digest", "blob", "head", "missing", "tags", "referrers"])
def test_many_who_ask_the_same_question_are_one_question(fake, tranship, what):
    image = fake.add("a/b", images.image([b"x" * 1000]), "v1")
    path = {"tag": "manifests/v1", "digest": f"manifests/{image.digest}", "blob": f"blobs/{image.layer}", "head": "manifests/v1",
            "missing": "manifests/none", "tags": "tags/list", "referrers": f"referrers/{image.digest}"}[what]
    fault = fake.fault("registry", stall_before=True)
    replies, clients = [], [tranship.wire() for _ in range(30)]
    for client in clients:
        client.ask(f"/v2/a/b/{path}", "HEAD" if what == "head" else "GET")
    fake.wait_asked("registry")
    fault.release()
    for client in clients:
        replies.append(client.rest(client.head(), "HEAD" if what == "head" else "GET"))
        client.close()
    assert {r.status for r in replies} == {404 if what == "missing" else 200}
    if what == "missing":  # who came after its end is told from memory, in other words
        assert {harness.code_of(r) for r in replies} == {"MANIFEST_UNKNOWN"}
    else:
        assert len({r.body for r in replies}) == 1
    assert len(fake.asked("registry")) == 1


def test_a_herd_on_a_blob_that_is_a_lie_is_cut_as_one(fake, tranship):
    data = images.random_bytes(4 << 20, "lie")
    digest = fake.add_blob("a/b", data)
    fake.fault("registry GET .*/blobs/", corrupt_at=3 << 20, rate=20_000_000)
    replies = []
    threads = [threading.Thread(target=lambda: replies.append(tranship.blob("a/b", digest))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(r.status >= 500 or len(r.body) < len(data) for r in replies) and len(replies) == 20
    assert tranship.held() == set()
    assert tranship.get("/v2/").status == 200
