# SPDX-License-Identifier: Apache-2.0
"""The short form of `make soak`."""

import os
import sys

from harness import TOP

sys.path.insert(0, str(TOP / "tests/soak"))
from soak import soak  # noqa: E402

COMMANDS = ["list", "pin", "unpin", "remove", "evict", "verify", "pull", "export", "receipt"]


def test_half_a_minute_of_bad_luck(tmp_path):
    seed = os.environ.get("SOAK_SEED", "tranship")
    wrong, counts, samples = soak(tmp_path, 25, seed)
    assert not wrong, wrong
    assert counts["right"] > 50 and counts.get("kills", 0) >= 1 and len(samples) > 20, counts
    given = [what for what in COMMANDS if counts.get(what)]
    assert counts.get("flipped") and counts.get("reloads") and len(given) > len(COMMANDS) / 2, counts
