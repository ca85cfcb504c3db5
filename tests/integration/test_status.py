# SPDX-License-Identifier: Apache-2.0
"""What the mirror says of itself: /api/status."""

import json
import re

import images
import pytest
from fake_registry import FakeRegistry
from harness import at_once, wait_until

DATA = images.random_bytes(3_000_000, "status")


@pytest.fixture
def mirrors():
    """Three more registries with nothing of their own."""
    all_three = [FakeRegistry() for _ in range(3)]
    yield all_three
    for one in all_three:
        one.heal()
        one.stop()


def sources(status, registry="docker.io"):
    found = next(r for r in status["registries"] if r["registry"] == registry)
    return {s["url"]: s for s in found["sources"]}


def test_it_says_who_runs_where(start, tmp_path):
    mirror = start(mode="prefer-cache", listen="127.0.0.1:0")
    found = mirror.status()
    assert re.fullmatch(r"\d+\.\d+.*", found["version"])
    assert (found["mode"], found["data"]) == ("prefer-cache", str(tmp_path / "data"))
    assert found["listen"] == [f"127.0.0.1:{mirror.port}"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["started_at"]) and found["uptime_s"] >= 0
    assert found["requests"]["hit_ratio"] is None
    assert json.loads(mirror.ask_local("/api/status").body)["listen"] == found["listen"]


def test_traffic_is_counted(tranship, demo):
    blob, data = next((d, b) for d, b in demo.blobs.items() if len(b) > 100_000)
    path = f"/v2/library/demo/blobs/{blob}"
    assert tranship.blob("library/demo", blob).body == data
    tranship.wait_held(blob)
    tranship.wait_hit(path)
    tranship.drain_log()
    before = tranship.status()
    assert before["held"]["blobs"] == 1 and before["held"]["bytes"] == len(data)
    for _ in range(8):
        assert tranship.blob("library/demo", blob).body == data
    wait_until(lambda: tranship.status()["requests"]["hits"] - before["requests"]["hits"] >= 8)  # once all have ended
    after = tranship.status()
    assert after["requests"]["hits"] - before["requests"]["hits"] == 8
    assert after["bytes"]["served"] - before["bytes"]["served"] >= 8 * len(data)
    assert after["bytes"]["fetched"] == before["bytes"]["fetched"] >= len(data)
    assert after["bytes"]["saved"] - before["bytes"]["saved"] == 8 * len(data)
    assert 0.5 < after["requests"]["hit_ratio"] < 1


def test_a_blob_on_its_way_in_is_shown(tranship, fake):
    digest = fake.add_blob("a/b", DATA)
    fault = fake.fault("registry GET .*/blobs/", stall_at=1_000_000)
    with tranship.wire() as client:
        client.ask(f"/v2/a/b/blobs/{digest}")
        client.head()
        assert client.drain(900_000, DATA) == 900_000
        (flow,) = tranship.status()["flows"]
        assert (flow["repository"], flow["digest"], flow["size"]) == ("docker.io/a/b", digest, len(DATA))
        assert 900_000 <= flow["present"] <= 1_000_000 and flow["bytes_per_s"] > 0
        fault.release()
        assert client.drain(len(DATA) - 900_000, DATA, 900_000) == len(DATA) - 900_000
    wait_until(lambda: not tranship.status()["flows"], what="no flow")


def test_every_state_of_a_source_is_shown(start, fake, mirrors):
    """One refuses, one limits, one gives no sign; the origin is asked beside it and works when it may."""
    refusing, limiting, silent = mirrors
    refusing.fault("registry GET", status=500)
    limiting.fault("registry GET", status=429, headers={"Retry-After": "77"})
    silent.fault("registry GET", stall_before=True)
    fault = fake.fault("registry GET", stall_before=True, headers={"RateLimit-Limit": "100;w=21600",
                                                                   "RateLimit-Remaining": "42;w=21600"})
    digest = fake.add_blob("a/b", DATA)
    mirror = start(mirror=[one.url for one in mirrors])
    with mirror.wire() as client:
        client.ask(f"/v2/a/b/blobs/{digest}")
        fake.wait_asked("GET .*blobs")
        found = list(sources(mirror.status()).values())
        fault.release()
        assert client.rest(client.head()).body == DATA
    assert [s["role"] for s in found] == ["mirror"] * 3 + ["origin"]
    assert [s["state"] for s in found[:3]] == ["out", "limited", "suspect"]
    assert (found[0]["why"], found[0]["failures"]) == ("error", 1) and 0 <= found[0]["out_ms"] <= 1000
    assert 70_000 < found[1]["limited_ms"] <= 77_000
    assert found[2]["under_way"] == found[3]["under_way"] == 1 and found[2]["first_byte_ms"] is None
    origin = list(sources(mirror.status()).values())[3]
    assert origin["state"] == "in" and origin["first_byte_ms"] >= 1 and origin["bytes_per_s"] > 0
    assert (origin["rate_limit"], origin["rate_remaining"], found[0]["rate_limit"]) == (100, 42, None)


def test_secrets_are_not_shown(start, fake, known_to_upstream):
    fake.auth, fake.users = "bearer", {"ann": "hunter2-secret"}
    mirror = known_to_upstream("ann", "hunter2-secret")
    digest = fake.add_blob("a/b", DATA)
    assert mirror.blob("a/b", digest).body == DATA
    text = mirror.get("/api/status").body.decode()
    assert "hunter2" not in text and not [t for t in fake.token.issued if t in text]


def test_it_is_behind_the_access_rules(start):
    mirror = start(access_networks="10.0.0.0/8")
    assert mirror.get("/api/status").status == 403
    assert mirror.ask_local("/api/status").status == 200


def test_it_changes_nothing(tranship):
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        with tranship.wire() as client:
            assert client.exchange("/api/status", method).status == 405
    assert tranship.get("/api/other").status == 404


def test_it_is_told_while_others_pull_and_registries_change(tranship, demo):
    done = []

    def pull(_):
        for _ in range(20):
            assert tranship.manifest("library/demo", "latest").body == demo.manifest

    def look(_):
        for _ in range(20):
            done.append(tranship.status()["requests"]["total"])
            assert tranship.ask_local("/control/reload", "POST", body=b"{}").status == 202

    at_once(lambda case: pull(case) if case < 2 else look(case), range(4))
    assert len(done) == 40
