#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when an include points up or sideways, or when a foreign header strays from the folder that owns it."""

import os
import pathlib
import re
import sys

SEES = {"base": "", "oci": "base", "cache": "base oci", "upstream": "base oci", "fetch": "base oci cache upstream",
        "mirror": "base oci cache upstream fetch", "serve": "base oci cache upstream fetch mirror",
        "app": "base oci cache upstream fetch mirror serve", "cli": "base oci cache upstream fetch mirror serve app"}
OWNERS = {"sqlite3.h": "cache", "curl/curl.h": "fetch", "microhttpd.h": "serve", "jansson.h": "base", "openssl/": "oci"}

top = pathlib.Path(os.environ.get("top_srcdir") or pathlib.Path(__file__).resolve().parent.parent)
wrong, seen = [], 0
for path in sorted((top / "src").glob("*/*.[ch]")):
    folder = path.parent.name
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = re.match(r'#include ["<]([^">]+)[">]', line)
        if not found:
            continue
        seen += 1
        target = found[1]
        layer = target.partition("/")[0]
        if layer in SEES and layer != folder and layer not in SEES[folder].split():
            wrong.append(f"{path}:{number}: {folder} may not see {target}")
        for header, owner in OWNERS.items():
            if target.startswith(header) and folder != owner:
                wrong.append(f"{path}:{number}: {target} belongs to {owner}")
print("\n".join(wrong) or f"{seen} includes, all downward")
sys.exit(bool(wrong) or not seen)
