# SPDX-License-Identifier: Apache-2.0
"""The benchmark's own tools: it runs to its end with a whole table and leaves nobody behind, and its line to an origin
lets through what it should, by count."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading

import pytest
from harness import TOP, binary, wait_until

BENCH = TOP / "tests" / "bench"
sys.path.insert(0, str(BENCH))

import client  # noqa: E402
import run_bundle  # noqa: E402
import table  # noqa: E402
from forwarder import Bucket, Forwarder  # noqa: E402

MIB = 1 << 20
needs_nginx = pytest.mark.skipif(not shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin"), reason="no nginx here")


def start_bench(*words, folder):
    """Its temporary files go where the test looks for what is left."""
    return subprocess.Popen([sys.executable, BENCH / "bench.py", "--smoke", *words], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "TRANSHIP": str(binary()), "TMPDIR": str(folder)})


def left_of(folder):
    """The processes that name the folder, but those of the test itself."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            except OSError:
                continue
            if str(folder) in command:
                found.append(command)
    return found


@needs_nginx
def test_a_whole_table_of_numbers_and_nothing_left_behind(tmp_path):
    bench = start_bench(folder=tmp_path)
    out, err = bench.communicate(timeout=120)
    assert bench.returncode == 0, err
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines() if line.startswith("|")]
    assert rows[0] == list(table.HEAD)
    assert all(len(row) == len(table.HEAD) and row[0] and row[1] for row in rows[1:]), out
    ratios = [row[3] for row in rows[2:] if row[2]]
    assert ratios and all(re.fullmatch(r"\d+\.\d\dx", ratio) for ratio in ratios), ratios
    for what in ("manifest by digest", "manifest by tag", "blob 4 KiB", "64 KiB at random", "free origin", "in all", "away",
                 "a connection", "two mirrors", "four are broken", "herd", "idle", "blobs held", "start to the first", "memory after start",
                 "export --sign: time", "export --sign: most", "import --verify: time", "import --verify: most"):
        assert any(what in row[0] for row in rows[2:]), f"no row about {what}:\n{out}"
    assert "/tmp" not in out and str(TOP) not in out and socket.gethostname() not in out
    assert not left_of(tmp_path) and not list(tmp_path.iterdir())


@needs_nginx
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_ended_in_the_middle_it_ends_what_it_started(tmp_path, number):
    bench = start_bench(folder=tmp_path)
    bench.stderr.readline()  # the first row: all of its servers run
    assert left_of(tmp_path)
    bench.send_signal(number)
    assert bench.wait(20) != 0
    bench.stdout.close()
    bench.stderr.close()
    wait_until(lambda: not left_of(tmp_path), 20, "the end of all that it started")


@needs_nginx
def test_a_bundle_for_which_there_is_no_room_is_told_before_anything_runs(tmp_path):
    bench = start_bench("--only", "small", "--only", "bundle", "--bundle-gb", "1000000", folder=tmp_path)
    try:
        out, err = bench.communicate(timeout=20)
    finally:
        bench.kill()
    assert bench.returncode == 1 and out == "" and err.count("\n") == 1, err
    assert re.match(r"a bundle of 1000000 GB needs 20\d{5} GB below .*, where \d+ GB are free", err), err
    assert not list(tmp_path.iterdir())


def test_the_memory_of_a_step_is_the_most_of_its_own():
    """Neither what the bench has when it starts it, nor only what is left at its end."""
    ballast = b"x" * (300 * MIB)
    most = run_bundle.step(sys.executable, "-c", "x = b'x' * (100 << 20); del x")["most_mb"]
    assert 100 < most < 150 < len(ballast) / 1e6
    assert run_bundle.step("sleep", "0")["most_mb"] < 50


def test_a_step_that_fails_says_what_it_said():
    with pytest.raises(SystemExit, match="no/such/file"):
        run_bundle.step("cp", "no/such/file", "copy")


def test_a_step_that_is_ended_ends_its_command(tmp_path):
    (tmp_path / "file").touch()
    one = subprocess.Popen([sys.executable, BENCH / "step.py", "tail", "-f", tmp_path / "file"], stdout=subprocess.PIPE)
    wait_until(lambda: any(command.startswith("tail") for command in left_of(tmp_path)), 20, "the command")
    one.terminate()
    assert one.communicate(timeout=20)[0] == b"" and one.returncode == 1
    wait_until(lambda: not left_of(tmp_path), 20, "the end of its command")


def test_a_table_replaces_what_stands_between_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    rows = [table.Row("a", "1 k/s", "nginx 2 k/s", 0.5, "", (">=", 1.2)), table.Row("b", "2", "1", 2.0, "", ("<=", 2.0))]
    table.write(page, table.markdown(rows))
    text = page.read_text()
    assert "old" not in text and text.startswith("before\n") and text.endswith(f"{table.END}\nafter\n")
    assert "| 0.50x |  | ≥ 1.2x: **not met** |" in text and "| 2.00x |  | ≤ 2x: met |" in text


def test_a_bucket_lets_go_its_rate_and_no_more():
    now = [0.0]
    bucket = Bucket(1000, burst=100, clock=lambda: now[0])
    gone = 0
    while now[0] < 10:
        gone += 50
        now[0] += bucket.take(50)
    assert 10_000 - 50 <= gone <= 10_000 + 150
    now[0] += 60  # what was not used is not saved up
    free = 0
    while bucket.take(50) == 0:
        free += 50
    assert free <= 150


class MebibyteServer:
    """A server that answers every request with a MiB."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                one, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, one):
        rest = b""
        try:
            while data := one.recv(4096):
                *heads, rest = (rest + data).split(b"\r\n\r\n")
                for _ in heads:
                    one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MIB + bytes(MIB))
        except OSError:
            pass
        finally:
            one.close()

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def server():
    one = MebibyteServer()
    yield one
    one.stop()


def test_a_forwarder_counts_bytes_requests_and_connections(server):
    with Forwarder(server.port) as line:
        took = client.drain(line.port, "/some/blob", connections=3)
        assert took["requests"] == 3 and took["bytes"] == 3 * MIB
        assert line.requests == ["GET /some/blob HTTP/1.1"] * 3
        head = len(b"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n")
        assert line.sent == 3 * (MIB + head) and len(line.lines) == 3


@pytest.mark.parametrize("kind", ["per_connection", "in_all"])
def test_a_forwarder_books_every_byte_on_its_limit(server, kind):
    """The bytes counted are due at the rate, on each connection or over all; a slow machine may only take longer."""
    rate = 4_000_000
    with Forwarder(server.port, **{kind: rate}) as line:
        took = client.drain(line.port, "/", connections=3)
        assert took["bytes"] == 3 * MIB
        if kind == "in_all":
            assert max(took["lasts"]) >= 0.9 * line.sent / rate and line.in_all.taken == line.sent
        else:
            assert all(one.bucket.taken == one.sent > MIB for one in line.lines) and len(line.lines) == 3
            assert min(took["lasts"]) >= 0.9 * MIB / rate
