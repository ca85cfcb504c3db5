#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tally.py STATUS LOG [FOLDER]: how many tests a stage of scripts/check passed, failed and skipped.

Counts cmocka's tests one by one, from the .trs and .log files that automake leaves in FOLDER, and pytest's by its
summary in LOG. A program that fails without naming a test, and a stage that ends with
another STATUS than 0 without a failed test, count as one failure."""

import pathlib
import re
import sys


def of_program(trs):
    result = re.search(r":global-test-result: (\w+)", trs.read_text())[1]
    log = trs.with_suffix(".log").read_text(errors="replace")
    passed, failed, skipped = (
        sum(map(int, re.findall(rf"^\[  {word} +\] (\d+) test", log, re.M))) for word in ("PASSED", "FAILED", "SKIPPED"))
    if result == "SKIP":
        return 0, 0, max(skipped, 1)
    if result == "PASS":
        return max(passed, 1 - skipped), failed, skipped
    return passed, max(failed, 1), skipped


def of_pytest(log):
    """The last line: "3 failed, 5 passed, 1 skipped, 2 errors in 3.21s (0:00:03)"."""
    summaries = re.findall(r"^=* ?((?:\d+ \w+,? ?)+) in [\d.]+s", log, re.M)
    words = re.findall(r"(\d+) (\w+)", ", ".join(summaries))
    return tuple(sum(int(n) for n, word in words if re.match(kind, word))
                 for kind in ("passed|xfailed", "failed|errors?|xpassed", "skipped"))


def main():
    status, log = int(sys.argv[1]), pathlib.Path(sys.argv[2]).read_text(errors="replace")
    counts = [of_pytest(log)]
    if len(sys.argv) > 3:
        counts += map(of_program, sorted(pathlib.Path(sys.argv[3]).rglob("*.trs")))
    passed, failed, skipped = map(sum, zip(*counts))
    if status != 0 and failed == 0:
        failed = 1
    print(passed, failed, skipped)


main()
