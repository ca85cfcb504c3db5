# SPDX-License-Identifier: Apache-2.0
"""What rots on the mirror's disk: one byte of a held file is flipped, and it is known since when, and until when somebody may
have been given it. Small content is hashed before it is served and large content is not (docs/decisions.md, 114): of a large
blob the flipped bytes may be seen until the file is set aside or replaced, and by no request that begins after that."""

import os
import threading
import time

SMALL = 64 << 10
SETTLED_S = 3  # what came a moment ago may still be read by who saw it come


class Rot:
    def __init__(self, digest, data, file, at):
        self.digest, self.at, self.size = digest, at, len(data)
        self.file = file  # open: so its inode's number is no other file's
        self.until = None  # until it is healed

    def is_in(self, path):
        try:
            mine, there = os.fstat(self.file.fileno()), os.stat(path)
        except FileNotFoundError:
            return False
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def seen(self, data, first, last):
        """What a reader of that part gets who is given the flipped byte."""
        part = bytearray(data[first:last])
        if first <= self.at < last:
            part[self.at - first] ^= 1
        return bytes(part)


class Decay:
    """All that ever rotted. Any thread."""

    def __init__(self, blobs, contents):
        self.blobs = blobs  # DATA/blobs/sha256
        self.contents = contents  # {digest: bytes} of all that there is
        self.lock = threading.Lock()
        self.rots = []

    def path(self, digest):
        return self.blobs / digest.partition(":")[2]

    def flip(self, dice):
        """In a file that is held, has been so for a moment, and is not bad already. Its digest, or None."""
        bad = {rot.digest for rot in self.open()}
        held = sorted(d for d in self.contents if d not in bad and self.path(d).exists())
        if not held:
            return None
        digest = dice.choice(held)
        at = dice.randrange(len(self.contents[digest]))
        try:
            file = self.path(digest).open("r+b", buffering=0)
        except FileNotFoundError:  # evicted meanwhile
            return None
        if time.time() < os.fstat(file.fileno()).st_ctime + SETTLED_S:
            file.close()
            return None
        rot = Rot(digest, self.contents[digest], file, at)
        with self.lock:
            self.rots.append(rot)
        os.pwrite(file.fileno(), bytes([self.contents[digest][at] ^ 1]), at)
        return digest

    def open(self):
        """Those that are not known to be healed."""
        with self.lock:
            return [rot for rot in self.rots if rot.until is None]

    def present(self):
        """Those whose file is the one that is held."""
        return [rot for rot in self.open() if rot.is_in(self.path(rot.digest))]

    def close(self, rots):
        """Healed: who asks from now on gets other bytes."""
        with self.lock:
            for rot in rots:
                rot.until = time.monotonic()
                rot.file.close()

    def ever(self):
        with self.lock:
            return {rot.digest for rot in self.rots}

    def explains(self, digest, first, last, body, begun):
        """That a request which began then was given this is what nobody promised to prevent."""
        data = self.contents[digest]
        if len(data) <= SMALL:
            return False
        with self.lock:
            suspects = [r for r in self.rots if r.digest == digest and (r.until is None or begun <= r.until)]
        return any(body == rot.seen(data, first, last) for rot in suspects)
