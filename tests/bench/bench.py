#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""make bench: Tranship beside what people would use instead, on this machine, in runs that take turns; medians.

Ratios travel between machines, absolute figures do not. Prints a table; --write puts it into docs/performance.md.
Needs nginx and wrk (Debian: nginx-light, wrk); docker-registry is measured beside them if it is there."""

import argparse
import contextlib
import dataclasses
import math
import pathlib
import resource
import signal
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

import account  # noqa: E402
import run_bundle  # noqa: E402
import run_client  # noqa: E402
import run_cold  # noqa: E402
import run_held  # noqa: E402
import run_pool  # noqa: E402
import run_warm  # noqa: E402
import started  # noqa: E402
import table  # noqa: E402
import trial as trials  # noqa: E402

PAGE = HERE.parents[1] / "docs" / "performance.md"
RUNS = {"memory": run_held.memory, "small": run_warm.small, "large": run_warm.large, "ranges": run_warm.ranges,
        "tls": run_warm.tls, "free": run_cold.free, "throttled": run_cold.throttled, "far": run_cold.far,
        "narrow": run_cold.narrow, "mirrors": run_cold.mirrors, "liar": run_cold.liar, "reach": run_cold.reach, "pool": run_pool.pool,
        "dockerd": run_client.dockerd, "herd": run_cold.herd, "idle": run_held.idle, "growth": run_held.growth,
        "bundle": run_bundle.bundle}
MOST_SECONDS = {"full": 1800, "quick": 300, "smoke": 120}
MOST_SECONDS_A_GB = 180  # of a bundle whose size was asked for: nine times over a disk of 50 MB/s


def stop_in_order(number, _):
    """A signal becomes an exception, so that everything started is ended on the way out."""
    raise SystemExit("too long" if number == signal.SIGALRM else f"ended by signal {number}")


def gigabytes(word):
    if not 0 < (number := float(word)) < math.inf:
        raise ValueError(word)
    return number


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--quick", action="store_const", dest="scale", const="quick", help="within two minutes")
    scale.add_argument("--smoke", action="store_const", dest="scale", const="smoke", help="seconds: shows that it works, no more")
    parser.add_argument("--only", metavar="NAME", action="append", choices=RUNS, help=f"of {', '.join(RUNS)}; may be repeated")
    parser.add_argument("--bundle-gb", metavar="N", type=gigabytes, help="the size of the bundle; twice as much has to be free")
    parser.add_argument("--write", action="store_true", help=f"puts the table into {PAGE.parent.name}/{PAGE.name}")
    parser.set_defaults(scale="full")
    return parser.parse_args()


def main():
    options = parse()
    missing = [name for name in ("nginx", *(() if options.scale == "smoke" else ("wrk",))) if not started.find(name)]
    if missing:
        raise SystemExit(f"needs {' and '.join(missing)}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, stop_in_order)
    scale = {"full": trials.FULL, "quick": trials.QUICK, "smoke": trials.SMOKE}[options.scale]
    if options.bundle_gb:
        layer = scale.bundle[1]
        scale = dataclasses.replace(scale, bundle=(math.ceil(options.bundle_gb * trials.GB / layer), layer))
    signal.alarm(MOST_SECONDS[options.scale] + math.ceil((options.bundle_gb or 0) * MOST_SECONDS_A_GB))
    chosen = options.only or RUNS
    with tempfile.TemporaryDirectory(prefix="tranship-bench-") as name, contextlib.ExitStack() as stack:
        if "bundle" in chosen:
            run_bundle.need_room(pathlib.Path(name), scale)
        trial = trials.Trial(pathlib.Path(name), scale, stack)
        for run in chosen:
            RUNS[run](trial)
    about = account.machine({"Tranship": [started.binary(), "--version"], "nginx": [started.find("nginx"), "-v"],
                             "docker-registry": [started.find("docker-registry"), "--version"],
                             "wrk": [started.find("wrk"), "-v"]})
    text = f"{about}.\n\n{table.markdown(trial.rows)}"
    print(text)
    if options.write:
        table.write(PAGE, text)


if __name__ == "__main__":
    main()
