# SPDX-License-Identifier: Apache-2.0
"""What the operating system says a program used, and what this machine is."""

import os
import pathlib
import platform
import re
import subprocess

TICK = os.sysconf("SC_CLK_TCK")


def members(group):
    """The processes of a process group."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = pathlib.Path("/proc", entry, "stat").read_text(encoding="latin-1").rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group and fields[0] != "Z":
                found.append((int(entry), fields))
    return found


def cpu_seconds(group):
    """User and system time of a process group: those alive, and their children that were waited for."""
    return sum(sum(int(f) for f in fields[11:15]) for _, fields in members(group)) / TICK


def memory_kib(group, what="RssAnon"):
    """The sum of a line of /proc/PID/status (RssAnon, VmHWM) over a process group."""
    total = 0
    for pid, _ in members(group):
        try:
            found = re.search(rf"^{what}:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii"), re.M)
        except OSError:
            continue
        total += int(found[1]) if found else 0
    return total


def version_of(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return None
    found = re.search(r"\d+\.\d+[\w.+-]*", done.stdout + done.stderr)
    return found and found[0]


def machine(programs):
    """One line about the machine and the programs; names no host and no path."""
    info = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    model = re.search(r"model name\s*:\s*(.+)", info)
    memory = int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text(encoding="ascii"))[1])
    versions = [f"{name} {version}" for name, command in programs.items() if command[0] and (version := version_of(command))]
    return (f"{os.cpu_count()} cores ({model[1].strip() if model else platform.machine()}), {memory / (1 << 20):.0f} GiB, "
            f"Linux {'.'.join(platform.release().split('.')[:2])}; {', '.join(versions)}")
