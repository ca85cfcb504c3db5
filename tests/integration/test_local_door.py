# SPDX-License-Identifier: Apache-2.0
"""The local door: a socket in the data folder, for who runs the mirror. All that is served elsewhere, and commands."""

import json
import stat

import images
import pytest
from harness import code_of, message_of
from wire import Wire, connect_local


@pytest.fixture
def long_folder(tmp_path):
    """A data folder whose socket's path is longer than an address may be."""
    folder = tmp_path / ("n" * 60) / ("m" * 60)
    assert len(str(folder / "tranship.sock")) > 107
    return folder


def command(mirror, verb, body=b"{}", method="POST"):
    return mirror.ask_local(f"/control/{verb}", method, body=body)


# --- the socket ------------------------------------------------------------------------------------------------------


def test_only_its_owner_may_open_the_door(tranship):
    found = tranship.door.stat()
    assert stat.S_ISSOCK(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o600


def test_a_path_of_any_length_has_a_door(start, long_folder):
    assert start(data=long_folder).ask_local("/v2/").status == 200


def test_an_orderly_stop_leaves_no_socket(tranship):
    assert tranship.door.exists()
    tranship.stop()
    assert not tranship.door.exists()


def test_the_socket_of_a_killed_server_is_replaced(tranship, start):
    tranship.kill()
    with pytest.raises(ConnectionRefusedError):
        connect_local(tranship.door, 5)
    assert start(data=tranship.data).ask_local("/v2/").status == 200


def test_where_no_socket_can_be_made_there_is_a_warning_and_a_mirror(start, tmp_path, demo):
    """A folder of that name stands in its place."""
    (tmp_path / "data" / "tranship.sock").mkdir(parents=True)
    mirror = start()
    mirror.wait_log(lambda e: e.get("message") == "commands cannot reach this server")
    assert mirror.manifest("library/demo", "latest").body == demo.manifest


def test_the_door_is_shut_after_what_is_under_way_there_is_answered(start, fake):
    data = images.random_bytes(3_000_000, "door")
    digest = fake.add_blob("a/b", data)
    fault = fake.fault("registry GET .*/blobs/", stall_at=1_000_000)
    mirror = start()
    with Wire(mirror.door) as client:
        client.ask(f"/v2/a/b/blobs/{digest}")
        answer = client.head()
        assert client.drain(900_000, data) == 900_000
        mirror.terminate()
        mirror.wait_log(lambda e: e.get("message") == "stopping")
        fault.release()
        assert client.drain(answer.length - 900_000, data, 900_000) == answer.length - 900_000
    assert mirror.wait() == 0
    assert not mirror.door.exists()


# --- what is served there --------------------------------------------------------------------------------------------


def test_everything_is_served_there_too(tranship, demo, fake):
    assert tranship.ask_local("/v2/library/demo/manifests/latest").body == demo.manifest
    for digest, data in demo.blobs.items():
        assert tranship.ask_local(f"/v2/library/demo/blobs/{digest}").body == data
    assert tranship.ask_local("/readyz").status == 200
    tranship.drain_log()
    fake.forget()
    assert tranship.manifest("library/demo", "latest").body == demo.manifest
    assert not fake.asked()


def test_it_is_plain_http_without_access_rules(start, certificate, demo):
    mirror = start(tls_certificate=certificate[0], tls_key=certificate[1], access_networks="10.0.0.0/8",
                   max_request_rate=1)
    with Wire(mirror.door) as client:
        for _ in range(5):
            assert client.exchange("/v2/library/demo/manifests/latest").body == demo.manifest


# --- commands --------------------------------------------------------------------------------------------------------


def test_a_command_is_taken_at_the_door(tranship):
    answer = command(tranship, "reload")
    assert (answer.status, answer.body) == (202, b'{"accepted":true}')
    tranship.wait_log(lambda e: e.get("message") == "the configuration was read again")


def test_a_connection_goes_on_after_a_command(tranship):
    with Wire(tranship.door) as client:
        for _ in range(3):
            assert client.exchange("/control/reload", "POST", body=b"{}").status == 202
        assert client.exchange("/v2/").status == 200


@pytest.mark.parametrize("method", ["POST", "GET", "HEAD"])
def test_elsewhere_there_are_no_commands(tranship, method):
    with tranship.wire() as client:
        answer = client.exchange("/control/reload", method, body=b"{}" if method == "POST" else b"")
    assert answer.status == 404
    tranship.drain_log()
    assert not [e for e in tranship.log() if e.get("message") == "the configuration was read again"]


@pytest.mark.parametrize("verb", ["nothing", "", "reload/", "reload%2F", "x" * 200])
def test_an_unknown_command_is_not_found(tranship, verb):
    assert command(tranship, verb).status in (400, 404)


def test_a_command_is_posted(tranship):
    answer = command(tranship, "reload", b"", "GET")
    assert (answer.status, answer.header("allow"), code_of(answer)) == (405, "POST", "UNSUPPORTED")


def test_other_writes_are_refused_at_the_door_as_elsewhere(tranship):
    assert tranship.ask_local("/v2/a/b/blobs/uploads/", "POST", body=b"x").status == 405
    assert tranship.ask_local("/control/reload", "PUT", body=b"x").status == 405


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1])
def test_a_command_of_more_than_a_mebibyte_is_refused(tranship, size):
    answer = command(tranship, "reload", b"x" * size)
    assert answer.status == (202 if size == 1 << 20 else 400), answer
    if size > 1 << 20:
        assert "1 MiB" in message_of(answer)


def test_a_command_in_chunks_is_bounded_too(tranship):
    with Wire(tranship.door) as client:
        client.send(b"POST /control/reload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(40):
            client.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        client.send(b"0\r\n\r\n")
        assert client.rest(client.head()).status == 400


@pytest.mark.parametrize("body, status, code", [
    ("", 400, "NAME_INVALID"), ("UPPER/case", 400, "NAME_INVALID"), ("library/demo:latest", 400, "DIGEST_INVALID"),
    (f"nobody.example/some/thing@sha256:{'0' * 64}", 404, "NAME_UNKNOWN"),
    (f"library/demo@sha256:{'0' * 64}", 404, "BLOB_UNKNOWN")])
def test_a_blob_that_cannot_be_fetched_is_a_refusal_that_names_the_reason(tranship, demo, body, status, code):
    reply = command(tranship, "fetch", body.encode())
    assert (reply.status, code_of(reply)) == (status, code)
    assert tranship.held() == set()


def test_a_fetched_blob_came_once_and_is_held_from_then_on(tranship, demo, fake):
    for outcome in "came", "held":
        reply = command(tranship, "fetch", f"library/demo@{demo.layer}".encode())
        assert reply.status == 200
        assert json.loads(reply.body) == {"outcome": outcome, "size": len(demo.blobs[demo.layer])}
        assert command(tranship, "settle", b"").status == 200
    assert len(fake.asked("registry GET .*/blobs/")) == 1


def test_settling_refuses_to_pin_what_is_no_name(tranship):
    reply = command(tranship, "settle", b"UPPER/case")
    assert (reply.status, code_of(reply)) == (400, "NAME_INVALID")


def test_a_body_of_a_question_means_nothing_there(tranship):
    assert tranship.ask_local("/v2/", "GET", body=b"x" * 100).status == 200
