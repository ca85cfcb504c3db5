# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/air-gap.md, run as they stand but for the data folders."""

import json
import os
import re
import subprocess

import bundles
import images
from harness import TOP, binary, clean_environment

PAGE = (TOP / "docs/air-gap.md").read_text()


def commands():
    """(side, words) of each command of the page's way, in order."""
    way = PAGE[PAGE.index("## The way"):PAGE.index("## On the nodes")]
    lines = [line for block in re.findall(r"(?s)```\n(.*?)```", way) for line in block.splitlines()]
    return [("closed" if line.split()[1] in ("import", "serve", "receipt") else "open", line) for line in lines]


def test_the_page_takes_images_through_the_door(fake, start, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"registries": {"docker.io": {"origin": fake.url}, "ghcr.io": {"origin": fake.url}}}))
    side = {"open": tmp_path / "open", "closed": tmp_path / "closed"}
    alpine = fake.add("library/alpine", bundles.multi("alpine"), "3.20")
    fake.add("library/alpine", bundles.multi("older"), "3.9", "latest")
    app = fake.add("owner/app", images.image([b"app"]), "1.4")
    signature = fake.add("owner/app", images.image([b"signed"]), app.digest.replace(":", "-") + ".sig")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/tranship").symlink_to(binary())
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    served = None
    for which, line in commands():
        line = line.replace("/var/lib/tranship", str(side[which]))
        if line.split()[1] == "serve":
            served = start(data=side[which], upstream="http://127.0.0.1:1", mode="offline")
            assert served.manifest("library/alpine", "3.20").body == alpine.manifest
            assert served.manifest("ghcr.io/owner/app", "1.4").body == app.manifest
            assert served.manifest("ghcr.io/owner/app", app.digest.replace(":", "-") + ".sig").body == signature.manifest
            continue
        done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
                              env=clean_environment(PATH=path, TRANSHIP_CONFIG=str(config)))
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert served and json.loads((tmp_path / "closed.receipt").read_text())["blobs"]
    assert bundles.blobs_in(tmp_path / "delta.tar") == set()
