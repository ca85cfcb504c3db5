# SPDX-License-Identifier: Apache-2.0
"""Beginning and ending: what stops a start, how a stop drains, what a restart finds."""

import signal
import socket
import subprocess

import images
import pytest
from harness import Tranship, binary, clean_environment, wait_until

DATA = images.random_bytes(3_000_000, "stop")


def run(*words, **environment):
    return subprocess.run([binary(), *map(str, words)], capture_output=True, text=True, timeout=8,
                          env=clean_environment(**environment), check=False)


def check_refused(done, *names, statuses=(1, 2)):
    """It ended with such a status and one line on stderr that names the thing."""
    assert done.returncode in statuses, done
    lines = done.stderr.strip().split("\n")
    assert len(lines) == 1 and all(str(name) in lines[0] for name in names), done.stderr


def ready_mirror(mirror, fake, stall_at=1_000_000):
    """A download that hangs in the middle: (its client, its fault)."""
    digest = fake.add_blob("a/b", DATA)
    fault = fake.fault("registry GET .*/blobs/", stall_at=stall_at)
    client = mirror.wire()
    client.ask(f"/v2/a/b/blobs/{digest}")
    client.head()
    assert client.drain(stall_at - 1, DATA) == stall_at - 1
    return client, fault


# --- starts that must not be -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "below_a_file", "below_proc"])
def test_a_data_folder_that_cannot_be_written_stops_the_start(tmp_path, kind):
    file = tmp_path / "file"
    file.write_text("in the way")
    path = {"file": file, "below_a_file": file / "data", "below_proc": "/proc/tranship"}[kind]
    check_refused(run("serve", "--listen", "127.0.0.1:0", "--data", path), path)


def test_a_taken_port_stops_the_start(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        check_refused(run("serve", "--listen", f"127.0.0.1:{port}", "--data", tmp_path / "d"), port)


def test_a_second_server_on_the_same_data_folder_is_refused(tranship):
    check_refused(run("serve", "--listen", "127.0.0.1:0", "--data", tranship.data), tranship.data)
    assert tranship.get("/v2/").status == 200
    assert tranship.ask_local("/v2/").status == 200


def test_a_folder_left_by_a_killed_server_is_free_again(tranship, start):
    tranship.kill()
    assert start().get("/v2/").status == 200


@pytest.mark.parametrize("words, name", [
    (["--listem", "127.0.0.1:0"], "listen"), (["--listen", "nowhere"], "nowhere"), (["--listen", "127.0.0.1:99999"], "99999"),
    (["--upstream", "ftp://x"], "ftp"), (["--upstream", "http://"], "http"), (["--upstream", "http://u:p@x/"], "upstream"),
    (["--tag-ttl", "soon"], "soon"), (["--log-level", "loud"], "loud"), (["--log-format", "xml"], "xml"), (["--tag-ttl"], "tag-ttl"),
    (["stray"], "stray")])
def test_a_wrong_command_line_is_exit_2_and_one_line(tmp_path, words, name):
    check_refused(run("serve", "--data", tmp_path / "d", *words), name, statuses=(2,))


@pytest.mark.parametrize("variable, value", [("TRANSHIP_TAG_TTL", "soon"), ("TRANSHIP_UPSTREAM", "ftp://x")])
def test_a_wrong_environment_variable_is_exit_2_and_names_itself(tmp_path, variable, value):
    done = run("serve", "--listen", "127.0.0.1:0", "--data", tmp_path / "d", **{variable: value})
    check_refused(done, value, statuses=(2,))


@pytest.mark.parametrize("words", [["serv"], ["--verison"], []])
def test_a_mistyped_command_is_exit_2(words):
    done = run(*words)
    assert done.returncode == 2 and done.stderr


@pytest.mark.parametrize("words", [["--help"], ["serve", "--help"], ["--version"]])
def test_help_and_version_go_to_stdout(words):
    done = run(*words)
    assert done.returncode == 0 and done.stdout and not done.stderr
    if words == ["serve", "--help"]:
        for option in ("--listen", "--data", "--upstream", "--log-format", "--tag-ttl"):
            assert option in done.stdout


def test_options_come_from_the_environment_and_the_command_line_wins(fake, start, demo):
    mirror = start(environment={"TRANSHIP_TAG_TTL": "0s", "TRANSHIP_UPSTREAM": "http://127.0.0.1:1"})
    for _ in range(3):
        assert mirror.manifest("demo", "latest").status == 200
    assert len(fake.asked()) == 3


def test_text_logs_are_lines_and_never_forged(fake, tmp_path, demo):
    mirror = Tranship(tmp_path / "data", fake.url, {"log-format": "text"})
    with mirror.news:
        assert mirror.news.wait_for(lambda: any("serving" in line for line in mirror.lines), 20)
    line = next(line for line in mirror.lines if "serving" in line)
    mirror.port = int(line.split("address=")[1].split()[0].strip('"').rsplit(":", 1)[1])
    mirror.get("/v2/demo/manifests/a%0aforged=yes%0d%0aERROR")
    mirror.get("/v2/demo/manifests/latest?ns=%0aforged")
    mirror.manifest("demo", "latest")
    mirror.stop()
    assert not any(line.startswith(("forged", "ERROR")) for line in mirror.lines)
    assert any("library/demo" in line and "latest" in line for line in mirror.lines)


# --- stops ------------------------------------------------------------------------------------------------------------------


def test_an_idle_server_ends_at_once(tranship):
    idle = [tranship.wire() for _ in range(5)]
    idle[0].exchange("/v2/")
    tranship.stop(seconds=5)
    for client in idle:
        client.close()


def test_sigterm_lets_downloads_finish_and_refuses_new_ones(fake, tranship):
    client, fault = ready_mirror(tranship, fake)
    tranship.terminate()

    def refused():
        try:
            with tranship.wire(timeout=5) as late:
                reply = late.exchange("/v2/")
                return reply is None or reply.status == 503
        except OSError:
            return True
    wait_until(refused, what="the refusal of a new connection")
    assert tranship.process.poll() is None
    fault.release()
    assert client.drain(len(DATA), DATA, 999_999) == len(DATA) - 999_999
    assert tranship.wait() == 0
    client.close()


def test_sigint_is_as_good_as_sigterm(fake, tranship):
    client, fault = ready_mirror(tranship, fake)
    tranship.process.send_signal(signal.SIGINT)
    fault.release()
    assert client.drain(len(DATA), DATA, 999_999) == len(DATA) - 999_999
    assert tranship.wait() == 0
    client.close()


def test_a_second_sigterm_ends_at_once_and_cuts_what_was_coming(fake, tranship):
    client, _ = ready_mirror(tranship, fake)
    waiting = tranship.wire()
    waiting.ask("/v2/a/b/blobs/" + images.digest_of(DATA), headers={"Range": "bytes=2000000-"})
    waiting.head()
    tranship.terminate()
    wait_until(lambda: not accepts(tranship), what="the end of listening")
    tranship.terminate()
    tranship.wait(seconds=5)
    assert client.drain(len(DATA)) < len(DATA) - 999_999
    assert waiting.drain(len(DATA)) < len(DATA) - 2_000_000
    client.close()
    waiting.close()


def accepts(mirror):
    try:
        with mirror.wire(timeout=5) as late:
            reply = late.exchange("/v2/")
            return reply is not None and reply.status == 200
    except OSError:
        return False


def test_a_stop_with_questions_waiting_for_a_silent_upstream_ends(fake, start):
    mirror = start(connect_timeout="500ms", header_timeout="500ms")
    fake.fault("registry", stall_before=True)
    clients = [mirror.wire() for _ in range(10)]
    for k, client in enumerate(clients):
        client.ask(f"/v2/a/b/manifests/v{k}")
    fake.wait_asked("registry")
    mirror.stop()
    for client in clients:
        reply = client.head()
        assert reply is None or reply.status >= 500
        client.close()


def test_a_fill_that_nobody_waits_for_does_not_hold_the_stop_and_is_resumed(fake, start):
    mirror = start()
    client, fault = ready_mirror(mirror, fake)
    client.close()
    mirror.terminate()
    fault.release()
    assert mirror.wait() == 0
    fake.heal()
    mirror = start()
    digest = images.digest_of(DATA)
    assert mirror.blob("a/b", digest).body == DATA
    mirror.wait_held(digest)


# --- restarts --------------------------------------------------------------------------------------------------------------


def test_it_starts_and_pings_without_any_upstream(fake, start):
    fake.stop()
    assert start().get("/v2/").status == 200


def test_the_data_folder_is_an_oci_layout(fake, tranship, demo):
    tranship.manifest("demo", "latest")
    tranship.wait_held(demo.digest)
    assert b'"imageLayoutVersion"' in (tranship.data / "oci-layout").read_bytes()
    assert {p.name for p in tranship.data.iterdir()} >= {"blobs", "ingest", "oci-layout", "tranship.db"}
    assert images.digest_of(tranship.blob_path(demo.digest).read_bytes()) == demo.digest


@pytest.mark.parametrize("harm", ["gone", "garbage", "empty"])
def test_a_lost_or_broken_index_does_not_stop_the_start(fake, start, demo, harm):
    mirror = start()
    assert mirror.manifest("demo", "latest").status == 200
    assert mirror.blob("demo", demo.layer).status == 200
    mirror.wait_held(demo.layer)
    mirror.stop()
    for path in mirror.data.glob("tranship.db*"):
        if harm == "gone" or path.name != "tranship.db":
            path.unlink()
        else:
            path.write_bytes(b"" if harm == "empty" else b"garbage" * 5000)
    mirror = start()
    assert mirror.manifest("demo", "latest").body == demo.manifest
    assert mirror.blob("demo", demo.layer).body == demo.blobs[demo.layer]


def test_strange_files_in_the_data_folder_harm_nothing(fake, start, demo):
    mirror = start()
    assert mirror.manifest("demo", "latest").status == 200
    mirror.stop()
    (mirror.data / "blobs/sha256/README").write_text("not a digest")
    (mirror.data / "blobs/sha256" / ("0" * 64)).mkdir()
    (mirror.data / "blobs/sha256" / ("1" * 64)).symlink_to("/etc/passwd")
    (mirror.data / "blobs/md5").mkdir()
    (mirror.data / "ingest/junk").write_bytes(b"x" * 1000)
    (mirror.data / "ingest/folder").mkdir()
    mirror = start()
    assert mirror.manifest("demo", "latest").body == demo.manifest
    for fill in "01":
        reply = mirror.blob("demo", "sha256:" + fill * 64)
        assert reply.status in (404, 500, 502) and b"root:" not in reply.body
