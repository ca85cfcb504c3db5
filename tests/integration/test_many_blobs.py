# SPDX-License-Identifier: Apache-2.0
"""Eviction among very many blobs: nobody notices. MANY_BLOBS sets how many (1000000: about three minutes and a gigabyte
of memory, most of it for the test's own files)."""

import hashlib
import os
import signal
import sqlite3
import time

import images
from harness import Asker, wait_until

COUNT = int(os.environ.get("MANY_BLOBS", "20000"))
A_MANIFEST = 10    # blobs of an image
SIZE = 100_000     # of each, as far as anybody can tell: the files have a size and no content


def fill(data):
    """Files and rows of images that nobody asks for."""
    def key(text):
        return hashlib.sha256(text.encode()).digest()

    folder = os.open(data / "blobs" / "sha256", os.O_RDONLY)
    index = sqlite3.connect(data / "tranship.db")
    index.execute("PRAGMA synchronous = OFF")
    for first in range(0, COUNT, A_MANIFEST):
        keys = [key(f"{first}/{i}") for i in range(A_MANIFEST)]
        for one in keys:
            file = os.open(one.hex(), os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=folder)
            os.ftruncate(file, SIZE)
            os.close(file)
        index.executemany("INSERT INTO blob (digest, size, stored_at, used_at, turn, used) VALUES (?, ?, 1, 1, ?, 0)",
                          [(b"\x01" + one, SIZE, 1 + first) for one in keys])
        index.execute("INSERT INTO manifest VALUES (?, ?, '', NULL, '')", (b"\x01" + keys[0], images.OCI_MANIFEST))
        index.executemany("INSERT INTO child VALUES (?, ?, ?, 2, '', ?, '')",
                          [(b"\x01" + keys[0], i, b"\x01" + one, SIZE) for i, one in enumerate(keys[1:])])
    index.commit()
    index.close()
    os.close(folder)


def p99(took):
    return took[len(took) * 99 // 100]


def test_half_of_very_many_blobs_goes_and_nobody_notices(fake, start, tmp_path):
    image = fake.add("a/hot", images.image([images.random_bytes(50_000, "hot")]), "v1")
    config = tmp_path / "tranship.json"
    config.write_text('{"keep_free": "0"}')
    first = start(config=config, keep_free=None)
    first.stop()
    fill(first.data)
    began = time.perf_counter()
    mirror = start(config=config, log_level="info")
    mirror.get("/v2/")
    ready_s = time.perf_counter() - began
    path = f"/v2/a/hot/blobs/{image.layer}"
    mirror.manifest("a/hot", "v1")
    mirror.get(path)
    mirror.wait_hit(path)
    assert mirror.metric("blob_bytes") > COUNT * SIZE
    wanted = {path: image.blobs[image.layer]}
    before = Asker(mirror, wanted, 2000)
    before.start()
    before.join()
    p99_before = p99(before.end())
    during = Asker(mirror, wanted)
    during.start()
    config.write_text(f'{{"keep_free": "0", "budget": "{COUNT * SIZE // 2}"}}')
    mirror.process.send_signal(signal.SIGHUP)
    began = time.perf_counter()
    wait_until(lambda: mirror.metric("blob_bytes") <= COUNT * SIZE // 2 * 0.98, 300, "half of it gone")
    took_s = time.perf_counter() - began
    p99_during = p99(during.end())
    print(f"{COUNT} blobs: ready in {ready_s:.2f} s, half gone in {took_s:.1f} s; p99 of a hit {p99_before:.2f} ms before, "
          f"{p99_during:.2f} ms during ({len(during.took)} hits)")
    assert mirror.head(path).header("cache-status") == "tranship; hit"
    assert mirror.metric("evicted_blobs_total") >= COUNT // 2
    assert len(during.took) > 0
