# SPDX-License-Identifier: Apache-2.0
"""What holding costs: memory after start, idle connections, an index of many blobs."""

import os
import pathlib
import shutil
import socket
import sqlite3
import time

import client
import started
import trial as trials
from trial import Row, warm_up

ASK = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
SETTLED = 1.5
NAMES = 1000


def memory(trial):
    ours = trial.main()
    trial.say(Row("memory after start: anonymous", f"{ours.after_start:.1f} MiB", "",
                  None if not ours.after_start else ours.after_start / 15, "", ("<=", 1.0)))


def settled(program, seconds=8):
    """The memory once it has stopped to change: some of it is given back a moment later. (MiB, the most seen)"""
    end, last, since, most = time.monotonic() + seconds, None, time.monotonic(), 0.0
    while time.monotonic() < end:
        now = program.memory_mib()
        most = max(most, now)
        if last is None or abs(now - last) > 0.1:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > SETTLED:
            break
        time.sleep(0.1)
    return last, most


def grown(program, count, used):
    """How much the memory grew by so many connections: (MiB, the most, how many the server kept)."""
    before = program.memory_mib()
    held = []
    try:
        for _ in range(count):
            one = socket.create_connection(("127.0.0.1", program.port), 10)
            held.append(one)
            if used:
                one.sendall(ASK)
                one.recv(4096)
        last, most = settled(program)
        alive = 0
        for one in held:
            one.setblocking(False)
            try:
                alive += one.recv(1) != b""
            except BlockingIOError:
                alive += 1
            except OSError:
                pass
        return last - before, most - before, alive
    finally:
        for one in held:
            one.close()


def idle(trial):
    count = trial.scale.idle
    for used in (True, False):
        with trial.tranship(trial.origin.url) as ours:
            mine, most, alive = grown(ours, count, used)
        theirs, _, _ = grown(trial.files, count, used)
        kind = "used once" if used else "fresh"
        trial.say(Row(f"{count} idle connections, {kind}: anonymous memory grown, of 60 MiB",
                      f"{mine:.1f} MiB ({alive} still open)", f"nginx {theirs:.1f} MiB", max(0, mine) / 60, "", ("<=", 1.0)))
        trial.say(Row(f"{count} idle connections, {kind}: the most while they came, of 60 MiB", f"{most:.1f} MiB", "",
                      max(0, most) / 60))


def add_blobs(data, count):
    """Fills a stopped Tranship's folder up to so many blobs: rows as if fetched, and files without content."""
    with sqlite3.connect(data / "tranship.db") as index:
        have = index.execute("SELECT count(*) FROM blob").fetchone()[0]
        kind = index.execute("SELECT digest FROM blob LIMIT 1").fetchone()[0][:1]
        repository = index.execute("SELECT id FROM repository LIMIT 1").fetchone()[0]
        folder = data / "blobs" / "sha256"
        at = int(time.time())
        digests = [os.urandom(32) for _ in range(max(0, count - have))]
        index.executemany("INSERT INTO blob (digest, size, stored_at, used_at) VALUES (?, 4096, ?, ?)",
                          sorted((kind + d, at, at) for d in digests))
        index.executemany("INSERT INTO holds (repository, digest, size, proven) VALUES (?, ?, 4096, 1)",
                          sorted((repository, kind + d) for d in digests))
    index.close()
    for digest in digests:
        os.mknod(folder / digest.hex(), 0o644)  # nobody asks for these, no scrub looks at them: the start compares names


def growth(trial):
    """Random small blobs: from memory, and of which few fit into it, so that each is looked up in the index and opened."""
    scale = trial.scale
    folder = trial.new_folder("growth")
    blob = scale.sizes[0]
    with started.Tranship(folder, trial.origin.url) as first:
        warm_up(first, trial.content.path[blob], hit=True)
        many = [trial.content.fresh(blob) for _ in range(min(NAMES, scale.growth[0] - 1))]
        for _, path in many:
            client.drain_here(first.port, path)
        warm_up(first, many[-1][1], hit=True)
    paths = [path for _, path in many]
    base = {}
    try:
        for count in scale.growth:
            add_blobs(folder / "data", count)
            for where, more in {"from memory": {}, "from the disk": {"memory": "1MiB"}}.items():
                with started.Tranship(folder, trial.origin.url, scrub_interval="0s", **more) as ours:
                    client.drain_here(ours.port, paths[0])
                    start = time.perf_counter() - ours.began
                    client.load_many(ours.port, paths, 64, scale.seconds, trial.folder)  # what is to be in memory is there
                    samples = trial.take_turns({"Tranship": ours, "nginx": trial.files},
                                               lambda p: client.load_many(p.port, paths, 64, scale.seconds, trial.folder))
                    memory_mib = ours.memory_mib()
                cost = sum(s["cpu"] for s in samples["Tranship"]) / sum(s["requests"] for s in samples["Tranship"])
                trial.say(Row(f"{count:,} blobs held: any of {len(paths):,} small ones {where}, 64 connections: CPU, of the first such "
                              "row", f"{trials.rate_in_words(samples['Tranship'], 'k/s')}, {memory_mib:.1f} MiB anonymous",
                              f"nginx {trials.rate_in_words(samples['nginx'], 'k/s')}", cost / base.setdefault(where, cost),
                              f"{trials.cpu_in_words(samples['Tranship'], 'k/s')} / {trials.cpu_in_words(samples['nginx'], 'k/s')}",
                              ("<=", 1.1)))
            trial.say(Row(f"{count:,} blobs held: start to the first answer, of 2 s", f"{start:.3f} s", "", start / 2, "",
                          ("<=", 1.0)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for digest, _ in many:
            pathlib.Path(trial.content.blobs / digest).unlink(missing_ok=True)
