#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The clients: wrk for small answers, and for large ones a client whose kernel throws the bytes away (MSG_TRUNC), so that
the server is what is measured. The latter runs in processes of its own: client.py JSON, answers JSON."""

import json
import os
import random
import re
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time

PIECE = 1 << 20
ACCEPT = "Accept: application/vnd.oci.image.manifest.v1+json"  # without it docker-registry finds no such manifest
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}
RANGES = """math.randomseed({seed})
request = function()
  local at = math.random(0, {size} - {range})
  wrk.headers["Range"] = "bytes=" .. at .. "-" .. (at + {range} - 1)
  return wrk.format("GET", "{path}")
end
"""
PATHS = """local paths, threads = {{}}, 0
for line in io.lines("{file}") do paths[#paths + 1] = line end
function setup(thread)  -- each its own, or one would ask for what another has just brought into memory
  threads = threads + 1
  thread:set("seed", {seed} + threads)
end
function init() math.randomseed(seed) end
request = function() return wrk.format("GET", paths[math.random(#paths)]) end
"""


class Failed(Exception):
    """A client that did not get what it asked for: no figure can be made of that."""


def wrk(url, connections, seconds, script=None):
    """{"rate": requests a second, "p50", "p99": ms, "requests", "bytes"}"""
    command = ["wrk", "--latency", f"-t{min(os.cpu_count(), 2, connections)}", f"-c{connections}", f"-d{max(1, round(seconds))}s",
               "--timeout", "20s", "-H", ACCEPT]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as lua:
        if script:
            lua.write(script)
            lua.flush()
            command += ["-s", lua.name]
        out = subprocess.run([*command, url], check=True, capture_output=True, text=True, timeout=seconds + 60).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise Failed(f"{url}: not all answers were good\n{out}")
    found = {name: re.search(rf"^\s+{name[1:]}%\s+([\d.]+)(us|ms|s|m)", out, re.M) for name in ("p50", "p99")}
    count = re.search(r"(\d+) requests in", out)
    return {"rate": float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]), "requests": int(count[1]),
            **{name: float(f[1]) * UNITS[f[2]] for name, f in found.items()}}


def drain(port, paths, connections=1, seconds=None, span=None, timeout=120):
    """GETs over and over for so many seconds or, without, one per connection. span: (bytes, size of the whole) asks for
    ranges of so many bytes at random. {"rate", "bytes_rate", "requests", "bytes", "firsts", "lasts": seconds}"""
    processes = min(os.cpu_count(), 2, connections) if seconds else 1
    shares = [connections // processes + (i < connections % processes) for i in range(processes)]
    paths = [paths] if isinstance(paths, str) else paths
    running = []
    try:
        for seed, share in enumerate(shares):
            job = {"port": port, "paths": paths, "connections": share, "seconds": seconds, "span": span, "seed": seed,
                   "timeout": timeout}
            running.append(subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=subprocess.PIPE, text=True))
            running[-1].stdin.write(json.dumps(job))
            running[-1].stdin.close()
            running[-1].stdin = None
        results = []
        for process in running:
            out, err = process.communicate(timeout=timeout + (seconds or 0) + 20)
            if process.returncode != 0:
                raise Failed(f"{paths[0]}: {err.strip()[-400:]}")
            results.append(json.loads(out))
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()
    return {"rate": sum(r["requests"] / r["seconds"] for r in results), "requests": sum(r["requests"] for r in results),
            "bytes_rate": sum(r["bytes"] / r["seconds"] for r in results), "bytes": sum(r["bytes"] for r in results),
            "firsts": [s for r in results for s in r["firsts"]], "lasts": [s for r in results for s in r["lasts"]]}


def load(port, path, connections, seconds, span=None):
    """Small answers: by wrk, or for a part of a second by our own client."""
    if seconds < 1:
        return drain(port, path, connections, seconds, span)
    script = span and RANGES.format(seed=connections, range=span[0], size=span[1], path=path)
    return wrk(f"http://127.0.0.1:{port}{path}", connections, seconds, script)


def load_many(port, paths, connections, seconds, folder):
    """Any of these paths each time."""
    if seconds < 1:
        return drain(port, paths, connections, seconds)
    with tempfile.NamedTemporaryFile("w", dir=folder) as names:
        names.write("\n".join(paths) + "\n")
        names.flush()
        return wrk(f"http://127.0.0.1:{port}/", connections, seconds, PATHS.format(file=names.name, seed=connections))


def drain_here(port, path, timeout=30):
    """One GET in this process, for what is small and many."""
    return work({"port": port, "paths": [path], "connections": 1, "seconds": None, "span": None, "seed": 0, "timeout": timeout})


def median(samples, name):
    """Of those samples that have it; None if none has."""
    values = [s[name] for s in samples if s.get(name) is not None]
    return statistics.median(values) if values else None


class Connection:
    """One connection of the draining client; a head is read, a body is dropped by the kernel."""

    def __init__(self, job, dice, space):
        self.job, self.dice, self.space = job, dice, space
        self.socket = socket.create_connection(("127.0.0.1", job["port"]), job["timeout"])
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.requests = self.bytes = 0
        self.ask()

    def ask(self):
        path = self.dice.choice(self.job["paths"])
        more = ""
        if self.job["span"]:
            count, size = self.job["span"]
            first = self.dice.randint(0, size - count)
            more = f"Range: bytes={first}-{first + count - 1}\r\n"
        self.head, self.left, self.first = b"", None, None
        self.began = time.perf_counter()
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{ACCEPT}\r\n{more}\r\n".encode())

    def take(self):
        """What is there; true if the answer is whole by that."""
        if self.left is None:
            data = self.socket.recv(8192)
            self.head += data
            if not data:
                raise Failed(f"closed before a head: {self.head[:200]}")
            head, found, body = self.head.partition(b"\r\n\r\n")
            if not found:
                return False
            if head.split()[1] not in (b"200", b"206"):
                raise Failed(head.decode("latin-1"))
            self.left = int(re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)[1])
            count = len(body)
        else:
            count = self.socket.recv_into(self.space, min(self.left, PIECE), socket.MSG_TRUNC)
            if count == 0:
                raise Failed(f"cut with {self.left} bytes to come")
        if count and self.first is None:
            self.first = time.perf_counter() - self.began
        self.left -= count
        self.bytes += count
        self.requests += self.left == 0
        return self.left == 0


def work(job):
    dice, space = random.Random(job["seed"]), memoryview(bytearray(PIECE))
    poll, began = select.epoll(), time.perf_counter()
    end = began + (job["seconds"] or job["timeout"])
    everyone = [Connection(job, dice, space) for _ in range(job["connections"])]
    busy = {c.socket.fileno(): c for c in everyone}
    for number in busy:
        poll.register(number, select.EPOLLIN)
    firsts, lasts = [], []
    while busy and (left := end - time.perf_counter()) > 0:
        for number, _ in poll.poll(left, 64):
            one = busy[number]
            if not one.take():
                continue
            if job["seconds"]:
                one.ask()
                continue
            firsts.append(one.first or 0.0)
            lasts.append(time.perf_counter() - one.began)
            poll.unregister(number)
            del busy[number]
    if busy and not job["seconds"]:
        raise Failed(f"{len(busy)} answers not whole after {job['timeout']} s")
    return {"seconds": time.perf_counter() - began, "requests": sum(c.requests for c in everyone),
            "bytes": sum(c.bytes for c in everyone), "firsts": firsts, "lasts": lasts}


if __name__ == "__main__":
    try:
        print(json.dumps(work(json.load(sys.stdin))))
    except (Failed, OSError) as failure:
        raise SystemExit(str(failure)) from None
