# SPDX-License-Identifier: Apache-2.0
"""What goes through the door: a large signed bundle written and taken in, beside `cp` and `sha256sum` of it."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import started
from harness import binary, clean_environment
from images import to_json
from trial import GB, Row, brief

HERE = pathlib.Path(__file__).resolve().parent
MOST_MEMORY_MB = 64


def need_room(folder, scale):
    """Says so before anything runs. At most two copies are there at any time, and a layer on its way into the first."""
    count, layer = scale.bundle
    needed, free = int((2 * count + 2) * layer * 1.01), shutil.disk_usage(folder).free
    if free < needed:
        raise SystemExit(f"a bundle of {brief(count * layer / GB)} GB needs {brief(needed / GB)} GB below {folder.parent}, where "
                         f"{brief(free / GB)} GB are free: another TMPDIR, or a smaller one by --bundle-gb")


def step(*command):
    """Runs it to its good end: {"seconds", "cpu", "most_mb": of its memory}."""
    process = subprocess.Popen([sys.executable, "-I", "-S", HERE / "step.py", *command], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment(),
                               start_new_session=True, preexec_fn=started.die_with_parent)
    try:
        out, err = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode != 0:
        said = err[-600:].decode(errors="replace")
        raise SystemExit(f"{command[0]} {command[1]} ended with {process.returncode}:\n{said}")
    return json.loads(out)


def settle(*files):
    """Before each step that is timed: what was written is on the disk, and what will be read is not in memory. Else each would
    pay for the writing of the one before, and read for nothing what that left in memory, in a small bundle all of it."""
    os.sync()
    for file in files:
        with open(file, "rb") as one:
            os.posix_fadvise(one.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def fill(trial, folder, ours):
    """An image for each layer, pulled from the origin; none stays there."""
    count, layer = trial.scale.bundle
    for _ in range(count):
        with trial.content.fresh_image([layer]) as (_, tag):
            ours("pull", "--no-referrers", "--data", folder, f"docker.io/{started.NAME}:{tag}")


def copied(folder, source):
    """The yardstick as people run it, and the seconds beyond until the copy is on the disk, where Tranship's work is when it
    ends. sha256sum finds in memory what cp left there."""
    copy = folder / "copy.tar"
    settle(source)
    parts = [step("cp", source, copy), step("sha256sum", source)]
    began = time.perf_counter()
    with open(copy, "rb") as one:
        os.fsync(one.fileno())
    beyond = time.perf_counter() - began
    copy.unlink()
    return {key: sum(part[key] for part in parts) for key in ("seconds", "cpu")}, beyond


def bundle(trial):
    folder = trial.new_folder("bundle")
    folder.mkdir()
    opened, closed, tar, key = folder / "open", folder / "closed", folder / "bundle.tar", folder / "site"
    config = folder / "config.json"
    config.write_bytes(to_json({"keep_free": "0", "registries": {"docker.io": {"origin": trial.origin.url}}}))

    def ours(command, *words):
        return step(binary(), command, *words, *(() if command == "keygen" else ("--config", config)))

    try:
        ours("keygen", "-o", key)
        fill(trial, opened, ours)
        settle(*opened.glob("blobs/*/*"))
        took = {"export --sign": ours("export", "--data", opened, "-o", tar, "--sign", key, "--all")}
        shutil.rmtree(opened)
        beside, beyond = copied(folder, tar)
        settle(tar)
        took["import --verify"] = ours("import", "--data", closed, "--verify", f"{key}.pub", tar)
        say(trial, took, beside, beyond, tar.stat().st_size)
    finally:
        shutil.rmtree(folder)


def say(trial, took, beside, beyond, size):
    count, layer = trial.scale.bundle
    if size < count * layer:
        raise SystemExit(f"the bundle has {size} bytes, its {count} layers have {count * layer}")
    for what, mine in took.items():
        what = f"bundle of {brief(size / GB)} GB, {what}"
        trial.say(Row(f"{what}: time, of cp and sha256sum", f"{mine['seconds']:.2f} s",
                      f"{beside['seconds']:.2f} s (and {beyond:.2f} s until the copy is on the disk)",
                      mine["seconds"] / beside["seconds"],
                      f"{mine['cpu'] * GB / size:.2f} / {beside['cpu'] * GB / size:.2f} s/GB", ("<=", 1.3)))
        trial.say(Row(f"{what}: most memory of all kinds, of {MOST_MEMORY_MB} MB", f"{mine['most_mb']:.1f} MB", "",
                      mine["most_mb"] / MOST_MEMORY_MB, "", ("<=", 1.0)))
