# SPDX-License-Identifier: Apache-2.0
"""The switches of tests/faults/failing.c: which calls of a mirror on its data folder fail, from which on and why; its clock."""

import errno
import mmap
import os
import pathlib
import struct

import harness

# As enum kind there.
KINDS = ("sync", "write", "rename", "create", "open", "map", "unlink", "truncate", "reserve", "link", "read", "stat", "list")
LAYOUT = struct.Struct("=IiQQQq")  # struct switches
SEEN = slice(24, 32)
FOR_EVER = 2 ** 63


class Failing:
    """environment: what a mirror on that data folder is started with."""

    def __init__(self, file, data):
        library = harness.binary().parent / "tests/faults/failing.so"
        assert library.exists(), f"{library} is missing: make check-integration builds it"
        pathlib.Path(file).write_bytes(bytes(mmap.PAGESIZE))
        with open(file, "r+b") as opened:
            self.memory = mmap.mmap(opened.fileno(), mmap.PAGESIZE)
        self.clock_ahead = 0
        self.environment = {"LD_PRELOAD": str(library), "FAILING_SWITCHES": str(file),
                            "FAILING_FOLDER": os.path.realpath(data)}

    def _set(self, kinds, reason, first, many):
        LAYOUT.pack_into(self.memory, 0, 0, reason, first, many, 0, self.clock_ahead)
        self.memory[:4] = struct.pack("=I", kinds)  # last, as it puts the rest in force

    def fail(self, kinds, reason, first=1, many=FOR_EVER):
        """The first-th of those calls ("write open") from now fails, and so do many in all. reason: "EIO"."""
        self._set(sum(1 << KINDS.index(kind) for kind in kinds.split()), getattr(errno, reason), first, many)

    def heal(self):
        """What was seen stays."""
        self.memory[:4] = struct.pack("=I", 0)

    @property
    def seen(self):
        """Calls of the kinds that were to fail, until healed."""
        return struct.unpack("=Q", self.memory[SEEN])[0]

    def set_clock(self, ahead):
        """Seconds, of the wall clock alone."""
        self.clock_ahead = ahead
        self.memory[32:40] = struct.pack("=q", ahead)
