# SPDX-License-Identifier: Apache-2.0
"""The service runs as a user of its own, and root gives the commands: what they make in its folder is that user's."""

import os

import images
import pytest
from bundles import archive, command, layout
from harness import Tranship

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="not root: nobody to become")

USER = 65534
IMAGE = images.image([images.random_bytes(30_000, "service")])
# Folders of tests are root's alone: that user may read them, and write into what is its own.
AS_USER = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--inh-caps=+dac_read_search",
           "--ambient-caps=+dac_read_search"]


@pytest.fixture
def data(tmp_path):
    """As systemd-tmpfiles leaves it."""
    folder = tmp_path / "data"
    folder.mkdir()
    os.chown(folder, USER, USER)
    return folder


@pytest.fixture
def bundle(tmp_path):
    return archive(tmp_path / "a.tar", layout([(IMAGE, "docker.io/library/demo:1")]))


@pytest.fixture
def serve(data):
    begun = []

    def serve():
        begun.append(Tranship(data, None, {"mode": "offline"}, wrapper=AS_USER).ready())
        return begun[-1]

    yield serve
    for one in begun:
        one.kill()


def strangers(data):
    return [str(path) for path in data.rglob("*") if (path.lstat().st_uid, path.lstat().st_gid) != (USER, USER)]


def test_root_imports_beside_the_running_service(data, bundle, serve):
    mirror = serve()
    command("import", "--data", data, bundle)
    assert mirror.manifest("library/demo", "1").body == IMAGE.manifest
    assert strangers(data) == []
    mirror.stop()


@pytest.mark.parametrize("then", [[], ["verify", "--repair"], ["pin", "demo:1"], ["evict"]])
def test_root_fills_the_folder_before_the_service_starts(data, bundle, serve, then):
    command("import", "--data", data, bundle)
    if then:
        command(*then, "--data", data)
    assert strangers(data) == []
    mirror = serve()
    assert mirror.manifest("library/demo", "1").body == IMAGE.manifest
    mirror.stop()


def test_root_pulls_into_the_folder_and_writes_files_of_its_own(fake, data, serve, tmp_path):
    fake.add("library/demo", IMAGE, "1")
    (tmp_path / "open.json").write_text('{"registries": {"docker.io": {"origin": "%s"}}}' % fake.url)
    command("export", "--data", data, "--config", tmp_path / "open.json", "-o", tmp_path / "b.tar", "demo:1")
    assert strangers(data) == []
    assert (tmp_path / "b.tar").stat().st_uid == 0
    mirror = serve()
    assert mirror.manifest("library/demo", "1").body == IMAGE.manifest
    mirror.stop()
