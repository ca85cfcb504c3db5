# SPDX-License-Identifier: Apache-2.0
"""What the shell scripts take for granted of their own functions."""

import subprocess

from harness import TOP

FILES = """/lib/systemd/system/prometheus.service
/usr/lib/systemd/system/podman.socket
/usr/lib/systemd/system/podman-auto-update.timer
/usr/lib/systemd/system/templated@.service
/usr/lib/systemd/system/multi-user.target.wants/inner.service
/usr/lib/systemd/user/podman.service
/usr/share/doc/lib/systemd/system/other.service
/etc/systemd/system/admins.service
"""


def test_the_services_of_a_package_are_found_among_its_files():
    found = subprocess.run(["sh", "-c", f". {TOP}/scripts/common.sh; units_among"], input=FILES, capture_output=True, text=True,
                           check=True)
    assert found.stdout.split() == ["podman-auto-update.timer", "podman.socket", "prometheus.service"] and not found.stderr
