#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""make bench: Tranship beside nginx serving the same bytes as files, on this machine, in alternating runs.

Ratios travel between machines, absolute figures do not. Prints a table; with --write FILE appends it there as Markdown.
Needs wrk and nginx (Debian: wrk, nginx-light)."""

import argparse
import hashlib
import http.client
import os
import pathlib
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

import images  # noqa: E402
from fake_registry import FakeRegistry  # noqa: E402
from harness import Tranship  # noqa: E402

NGINX = """worker_processes {workers}; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 20000; }}
http {{ access_log off; sendfile on; tcp_nopush off; keepalive_requests 1000000000;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{port}; root {folder}/www; }} }}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Nginx:
    def __init__(self, folder, files):
        self.port = free_port()
        (folder / "www").mkdir()
        for name, data in files.items():
            (folder / "www" / name).write_bytes(data)
        conf = folder / "nginx.conf"
        conf.write_text(NGINX.format(workers=os.cpu_count(), folder=folder, port=self.port))
        program = "/usr/sbin/nginx" if os.path.exists("/usr/sbin/nginx") else "nginx"
        self.process = subprocess.Popen([program, "-c", conf, "-p", folder], stderr=subprocess.DEVNULL)
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except ConnectionRefusedError:
                if self.process.poll() is not None:
                    raise SystemExit("nginx did not start")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def wrk(url, connections, seconds):
    out = subprocess.run(["wrk", "--latency", f"-t{min(2, connections)}", f"-c{connections}", f"-d{seconds}s", url],
                         check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in out:
        raise SystemExit(f"{url}: not all answers were 200\n{out}")
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", out)
    ms = float(p99[1]) * {"us": 0.001, "ms": 1, "s": 1000}[p99[2]]
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]), ms


def discard(port, path, size, sink=None):
    """One GET, its body thrown away: (seconds to the first byte, seconds to the last)."""
    begin = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 200, answer.status
    first, got, digest = None, 0, hashlib.sha256()
    buffer = bytearray(1 << 20)
    while n := answer.readinto1(buffer) if hasattr(answer, "readinto1") else answer.readinto(buffer):
        first = first or time.perf_counter() - begin
        got += n
        if sink is not None:
            digest.update(memoryview(buffer)[:n])
    assert got == size, (got, size)
    if sink is not None:
        sink.append(digest.hexdigest())
    return first, time.perf_counter() - begin


def memory_kib(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1])
    return 0


def warm(rows, tranship, nginx, image, blob, seconds, rounds):
    port = tranship.port
    targets = [("manifest by digest", f"/v2/library/demo/manifests/{image.digest}", "manifest"),
               ("manifest by tag", "/v2/library/demo/manifests/latest", "manifest"),
               ("blob 4 KiB", f"/v2/library/demo/blobs/{blob}", "blob")]
    for name, path, file in targets:
        ours, theirs = [], []
        for _ in range(rounds):
            theirs.append(wrk(f"http://127.0.0.1:{nginx.port}/{file}", 64, seconds))
            ours.append(wrk(f"http://127.0.0.1:{port}{path}", 64, seconds))
        a, b = (statistics.median(x[0] for x in one) for one in (ours, theirs))
        rows.append((f"{name}, 64 connections", f"{a / 1000:.1f} k/s (p99 {statistics.median(x[1] for x in ours):.1f} ms)",
                     f"{b / 1000:.1f} k/s", f"{a / b:.2f}x nginx"))


def idle(rows, tranship, count):
    """Connections that each made one request and then sit there."""
    pid = tranship.process.pid
    before = memory_kib(pid)
    held = []
    for _ in range(count):
        s = socket.create_connection(("127.0.0.1", tranship.port))
        s.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        s.recv(4096)
        held.append(s)
    deadline = time.monotonic() + 5
    grown = peak = memory_kib(pid) - before
    while time.monotonic() < deadline:
        grown = memory_kib(pid) - before
        peak = max(peak, grown)
        threading.Event().wait(0.2)
    alive = 0
    for s in held:
        s.setblocking(False)
        try:
            alive += s.recv(1) != b""
        except BlockingIOError:
            alive += 1
        s.close()
    rows.append((f"{count} used, idle connections", f"{grown / 1024:.1f} MiB ({alive} still open, peak {peak / 1024:.0f})", "", ""))
    fresh = []
    before = memory_kib(pid)
    for _ in range(count):
        fresh.append(socket.create_connection(("127.0.0.1", tranship.port)))
    threading.Event().wait(1)
    rows.append((f"{count} fresh, idle connections", f"{(memory_kib(pid) - before) / 1024:.1f} MiB", "", ""))
    for s in fresh:
        s.close()


def cold(rows, fake, tranship, size, rate):
    digest = fake.add_blob("library/demo", images.random_bytes(size, "cold"))
    fake.fault("blobs", rate=rate)
    direct = discard(fake.server.port, f"/v2/library/demo/blobs/{digest}", size)
    through = discard(tranship.port, f"/v2/library/demo/blobs/{digest}", size)
    fake.heal()
    rows.append((f"cold {size >> 20} MiB at {rate // 1000000} MB/s", f"{through[1]:.2f} s, first byte {through[0] * 1000:.1f} ms",
                 f"{direct[1]:.2f} s, {direct[0] * 1000:.1f} ms", f"{through[1] / direct[1]:.3f}x direct"))


def herd(rows, fake, tranship, clients, size):
    digest = fake.add_blob("library/demo", images.random_bytes(size, "herd"))
    sink, firsts, lock = [], [], threading.Lock()

    def one():
        first, _ = discard(tranship.port, f"/v2/library/demo/blobs/{digest}", size, sink)
        with lock:
            firsts.append(first)

    begin = time.perf_counter()
    threads = [threading.Thread(target=one) for _ in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    took = time.perf_counter() - begin
    assert set(sink) == {digest.partition(":")[2]}, "a client got wrong bytes"
    rows.append((f"herd: {clients} clients, one cold {size >> 20} MiB blob",
                 f"{took:.1f} s, first byte p50 {statistics.median(firsts) * 1000:.0f} ms", "",
                 f"upstream bytes {fake.sent(digest) / size:.2f}x"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="about a minute")
    parser.add_argument("--write", metavar="FILE", help="append the table there")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    seconds, rounds = (2, 1) if options.quick else (4, 3)
    rows = []
    with tempfile.TemporaryDirectory(prefix="tranship-bench-") as name:
        folder = pathlib.Path(name)
        fake = FakeRegistry()
        layer = images.random_bytes(4096, "small")
        image = fake.add("library/demo", images.image([layer]), "latest")
        blob = "sha256:" + hashlib.sha256(layer).hexdigest()
        tranship = Tranship(folder / "data", fake.url, {"tag-ttl": "1h", "log-level": "warning"}, listen=f"127.0.0.1:{free_port()}")
        manifest = nginx = None
        try:
            tranship.port = int(tranship.command[tranship.command.index("--listen") + 1].rpartition(":")[2])
            while manifest is None:
                try:
                    connection = http.client.HTTPConnection("127.0.0.1", tranship.port)
                    connection.request("GET", "/v2/library/demo/manifests/latest")
                    manifest = connection.getresponse().read()
                except ConnectionRefusedError:
                    threading.Event().wait(0.05)
            rows.append(("memory after start", f"{memory_kib(tranship.process.pid) / 1024:.1f} MiB", "", ""))
            nginx = Nginx(folder, {"manifest": manifest, "blob": layer})
            discard(tranship.port, f"/v2/library/demo/blobs/{blob}", 4096)
            warm(rows, tranship, nginx, image, blob, seconds, rounds)
            idle(rows, tranship, 5000)
            herd(rows, fake, tranship, 50, 64 << 20)
            cold(rows, fake, tranship, (100 if options.quick else 300) << 20, 50_000_000)
            tranship.stop()
        finally:
            if nginx:
                nginx.stop()
            if tranship.process.poll() is None:
                tranship.kill()
            fake.stop()
    lines = ["| what | Tranship | beside it | ratio |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    print("\n".join(lines))
    if options.write:
        with open(options.write, "a") as out:
            out.write("\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
