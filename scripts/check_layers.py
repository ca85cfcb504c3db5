#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when an include points up or sideways, or when a foreign header strays from the folder that owns it."""

import os
import pathlib
import re
import sys

RANKS = {"base": 0, "oci": 1, "cache": 2, "upstream": 2, "fetch": 3, "mirror": 4, "serve": 5, "bundle": 5, "app": 6, "cli": 7}
OWNERS = {"sqlite3.h": "cache", "curl/": "fetch", "microhttpd.h": "serve", "gnutls/": "serve", "crypt.h": "serve", "jansson.h": "base", "yaml.h": "base", "openssl/": "oci", "archive.h": "bundle", "archive_entry.h": "bundle"}


def complaints(folder, quote, target):
    if folder not in RANKS:
        yield f"the folder {folder} has no layer"
        return
    layer = target.partition("/")[0]
    if quote == '"' and layer not in RANKS:
        yield f'"{target}" is not written from src/'
    if layer in RANKS and layer != folder and RANKS[layer] >= RANKS[folder]:
        yield f"{folder} may not see {target}"
    for header, owner in OWNERS.items():
        if target.startswith(header) and folder != owner:
            yield f"{target} belongs to {owner}"


top = pathlib.Path(os.environ.get("top_srcdir") or pathlib.Path(__file__).resolve().parent.parent)
wrong, seen = [], 0
for path in sorted((top / "src").rglob("*.[ch]")):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = re.match(r'\s*#\s*include\s*(["<])([^">]+)', line)
        if found:
            seen += 1
            wrong += [f"{path}:{number}: {what}" for what in complaints(path.parent.name, *found.groups())]
print("\n".join(wrong) or f"{seen} includes, all downward")
sys.exit(bool(wrong) or not seen)
