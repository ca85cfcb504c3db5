# SPDX-License-Identifier: Apache-2.0
"""/healthz and /readyz, as a load balancer asks them."""

import pytest
from harness import code_of, message_of, wait_until


def test_a_dead_upstream_does_not_make_it_unready(tranship, fake):
    fake.stop()
    assert tranship.manifest("library/demo", "latest").status == 502
    assert tranship.get("/readyz").body == b"ready\n" and tranship.get("/healthz").body == b"ok\n"


@pytest.fixture
def broken_index(tranship, demo):
    """Every page of the index overwritten while the mirror runs; healed by what is returned."""
    assert tranship.blob("library/demo", demo.layer).status == 200
    tranship.wait_hit(f"/v2/library/demo/blobs/{demo.layer}")
    files = {path: path.read_bytes() for path in tranship.data.glob("tranship.db*") if not path.name.endswith("-shm")}

    def write(how):
        for path, was in files.items():
            with open(path, "r+b") as file:
                file.write(how(was))
    write(lambda was: b"\xa5" * len(was))
    yield lambda: write(lambda was: was)
    write(lambda was: was)


def test_an_index_that_cannot_be_read_is_unready_until_it_can(tranship, demo, broken_index):
    for _ in range(4):  # whichever thread answers
        reply = tranship.get("/readyz")
        assert reply.status == 503 and code_of(reply) == "UNAVAILABLE" and reply.header("retry-after")
        assert "index" in message_of(reply) and str(tranship.data) not in message_of(reply)
    assert tranship.get("/healthz").status == 200
    line = tranship.wait_log(lambda e: e["message"] == "the index cannot be read")
    assert "tranship.db" in line["error"]
    assert tranship.blob("library/demo", demo.layer).body == demo.blobs[demo.layer]
    broken_index()
    assert tranship.get("/readyz").status == 200


def test_who_is_told_to_stop_is_unready_at_once(tranship, fake, demo):
    fault = fake.fault(f"blobs/{demo.layer}", stall_at=100_000)
    with tranship.wire() as kept, tranship.wire() as busy:
        assert kept.exchange("/readyz").status == 200
        busy.send(f"GET /v2/library/demo/blobs/{demo.layer} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert busy.head().status == 200
        tranship.terminate()
        wait_until(lambda: any(e["message"] == "stopping" for e in tranship.log()))
        reply = kept.exchange("/readyz")
        assert reply.status == 503 and "stopping" in message_of(reply)
        fault.release()
    tranship.wait()
