# SPDX-License-Identifier: Apache-2.0
"""Real clients on both sides of the air gap: what they pull on the closed side, what they read of our bundles, and what we
read of their archives."""

import json
import pathlib
import shutil
import subprocess

import bundles
import images
import parts
import pytest
from bundles import command, refused
from harness import Tranship
from parts import needs

NOWHERE = "http://127.0.0.1:1"

pytestmark = needs("docker-registry", "busybox")


class Scene(parts.Scene):
    """An open side that pulled library/hello (two platforms) from a real registry, its signed bundle, and a closed side
    that imported it and serves offline."""

    def __init__(self, folder):
        self.folder = folder
        origin = parts.Registry(folder / "origin")
        here = parts.machine()
        self.hello = images.index([(here, parts.busybox_image("hello from here", here, docker=False, padding=3_000_000)),
                                   ("s390x", parts.busybox_image("hello from afar", "s390x", docker=False))])
        origin.push("library/hello", self.hello, "1.0")
        mirror = Tranship(folder / "open", origin.url).ready()
        bundles.pull(mirror, "library/hello", "1.0", self.hello)
        mirror.wait_hit("/v2/library/hello/manifests/1.0")
        mirror.stop()
        origin.stop()
        self.bundle = folder / "hello.tar"
        command("keygen", "-o", folder / "site")
        command("export", "--no-pull", "--data", folder / "open", "-o", self.bundle, "--sign", folder / "site", "hello:1.0")
        command("import", "--data", folder / "closed", "--verify", folder / "site.pub", self.bundle)
        self.mirror = Tranship(folder / "closed", NOWHERE, {"mode": "offline"}).ready()


@pytest.fixture
def ctr(dockerd):
    return [parts.find("ctr"), "-a", dockerd.containerd, "-n", "bundles"]


@pytest.fixture(scope="module")
def podman(scene, folder):
    (folder / "p").mkdir()
    return parts.Podman(folder / "p", scene.mirror.port)


def mine(scene):
    return scene.hello.children[0]


# --- the closed side serves them -----------------------------------------------------------------------------------------
@needs("dockerd", "docker")
def test_dockerd_pulls_and_runs_on_the_closed_side(scene, dockerd):
    assert f"Digest: {scene.hello.digest}" in dockerd.docker("pull", "hello:1.0")
    assert dockerd.docker("run", "--rm", "--network", "none", "hello:1.0") == "hello from here"
    dockerd.docker("image", "rm", "hello:1.0")


@needs("dockerd", "ctr")
def test_containerd_pulls_on_the_closed_side(scene, dockerd, folder):
    ctr = parts.ctr_pull(dockerd, folder / "h", scene.url, "docker.io/library/hello:1.0", namespace="closed")
    assert scene.hello.digest in parts.run([*ctr, "images", "list"])


@needs("podman")
def test_podman_pulls_on_the_closed_side(podman):
    podman("pull", "docker.io/library/hello:1.0")
    podman("rmi", "docker.io/library/hello:1.0")


@needs("skopeo")
def test_skopeo_copies_every_platform_from_the_closed_side(scene, tmp_path):
    parts.skopeo("copy", "--all", "--src-tls-verify=false", f"docker://127.0.0.1:{scene.mirror.port}/library/hello:1.0", f"dir:{tmp_path}/d")
    assert (tmp_path / "d/manifest.json").read_bytes() == scene.hello.manifest


# --- they read ours ------------------------------------------------------------------------------------------------------
@needs("skopeo")
def test_skopeo_reads_a_bundle_without_a_selector(scene, tmp_path):
    parts.skopeo("copy", "--all", f"oci-archive:{scene.bundle}", f"dir:{tmp_path}/d")
    assert (tmp_path / "d/manifest.json").read_bytes() == scene.hello.manifest
    for child in scene.hello.children:
        for digest, data in child.blobs.items():
            assert (tmp_path / "d" / digest.split(":")[1]).read_bytes() == data


@needs("dockerd", "ctr")
def test_containerd_reads_a_bundle_and_keeps_its_digest(scene, ctr):
    said = parts.run([*ctr, "images", "import", "--all-platforms", "--snapshotter", "native", scene.bundle])
    assert "docker.io/library/hello:1.0" in said
    assert scene.hello.digest in parts.run([*ctr, "images", "list"])
    parts.run([*ctr, "images", "rm", "docker.io/library/hello:1.0"])


@needs("podman")
def test_podman_loads_a_bundle_under_its_name(scene, podman):
    assert "docker.io/library/hello:1.0" in podman("load", "-i", scene.bundle)
    root = podman("image", "mount", "docker.io/library/hello:1.0").strip()
    try:
        assert (pathlib.Path(root) / "greeting").read_text() == "hello from here"
    finally:
        podman("image", "umount", "--all")
        podman("rmi", "docker.io/library/hello:1.0")


@needs("dockerd", "docker")
def test_docker_loads_a_bundle_and_runs_it(scene, dockerd):
    assert "hello:1.0" in dockerd.docker("load", "-i", scene.bundle)
    assert dockerd.docker("run", "--rm", "--network", "none", "hello:1.0") == "hello from here"
    dockerd.docker("image", "rm", "hello:1.0")


# --- we read theirs ------------------------------------------------------------------------------------------------------
@pytest.fixture
def site(tmp_path):
    """site(archive, *words): a new data folder that imported it, served offline; each is stopped at the end."""
    begun = []

    def site(archive, *words):
        data = tmp_path / f"site{len(begun)}"
        command("import", "--data", data, archive, *words)
        begun.append(Tranship(data, NOWHERE, {"mode": "offline"}).ready())
        return begun[-1]

    yield site
    for one in begun:
        try:
            one.stop()
        finally:
            one.kill()


def from_closed(scene):
    return f"docker://127.0.0.1:{scene.mirror.port}/library/hello:1.0"


@needs("skopeo")
def test_an_oci_archive_of_skopeo_is_taken_in_with_every_platform(scene, site, tmp_path):
    parts.skopeo("copy", "--all", "--src-tls-verify=false", from_closed(scene), f"oci-archive:{tmp_path}/a.tar:docker.io/library/hello:1.0")
    mirror = site(tmp_path / "a.tar")
    assert mirror.manifest("library/hello", "1.0").body == scene.hello.manifest
    for child in scene.hello.children:
        for digest, data in child.blobs.items():
            assert mirror.blob("library/hello", digest).body == data


@needs("skopeo")
def test_a_layout_folder_of_skopeo_is_taken_in_and_a_bare_tag_wants_a_name(scene, site, tmp_path):
    parts.skopeo("copy", "--all", "--src-tls-verify=false", from_closed(scene), f"oci:{tmp_path}/layout:v1")
    assert "--name" in refused("import", "--data", tmp_path / "data", tmp_path / "layout", status=2)
    mirror = site(tmp_path / "layout", "--name", "quay.io/some/hello")
    assert mirror.manifest("quay.io/some/hello", "v1").body == scene.hello.manifest


@needs("dockerd", "ctr")
def test_an_export_of_containerd_is_taken_in(scene, ctr, site, tmp_path):
    parts.run([*ctr, "images", "import", "--all-platforms", "--snapshotter", "native", scene.bundle])
    parts.run([*ctr, "images", "export", "--all-platforms", tmp_path / "a.tar", "docker.io/library/hello:1.0"])
    parts.run([*ctr, "images", "rm", "docker.io/library/hello:1.0"])
    assert site(tmp_path / "a.tar").manifest("library/hello", "1.0").body == scene.hello.manifest


@pytest.mark.parametrize("packed", [None, "gzip", "zstd"])
@needs("dockerd", "docker")
def test_docker_save_is_taken_in_and_docker_runs_it_again(scene, dockerd, site, tmp_path, packed):
    dockerd.docker("load", "-i", scene.bundle)
    dockerd.docker("save", "-o", tmp_path / "a.tar", "hello:1.0")
    dockerd.docker("image", "rm", "hello:1.0")
    archive = tmp_path / "a.tar"
    if packed:
        if not shutil.which(packed):
            pytest.skip(f"not installed: {packed}")
        subprocess.run([packed, "-q", archive], check=True)
        archive = next(tmp_path.glob("a.tar.*"))
    mirror = site(archive)
    manifest = json.loads(mirror.manifest("library/hello", "1.0").body)
    assert [layer["mediaType"] for layer in manifest["layers"]] == ["application/vnd.oci.image.layer.v1.tar"]
    parts.skopeo("copy", "--src-tls-verify=false", f"docker://127.0.0.1:{mirror.port}/library/hello:1.0", f"docker-archive:{tmp_path}/b.tar:again:1")
    assert "again:1" in dockerd.docker("load", "-i", tmp_path / "b.tar")
    assert dockerd.docker("run", "--rm", "--network", "none", "again:1") == "hello from here"
    dockerd.docker("image", "rm", "again:1")


@needs("podman")
@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_podman_save_is_taken_in(scene, podman, site, tmp_path, form):
    podman("load", "-i", scene.bundle)
    podman("save", "--format", form, "-o", tmp_path / "a.tar", "docker.io/library/hello:1.0")
    podman("rmi", "docker.io/library/hello:1.0")
    mirror = site(tmp_path / "a.tar")
    manifest = json.loads(mirror.manifest("library/hello", "1.0").body)
    for one in (manifest["config"], *manifest["layers"]):
        assert images.digest_of(mirror.blob("library/hello", one["digest"]).body) == one["digest"]


@needs("dockerd", "docker")
def test_docker_save_does_not_replace_what_a_registry_said_unless_forced(scene, dockerd, tmp_path):
    dockerd.docker("load", "-i", scene.bundle)
    dockerd.docker("save", "-o", tmp_path / "a.tar", "hello:1.0")
    dockerd.docker("image", "rm", "hello:1.0")
    data = tmp_path / "data"
    command("import", "--data", data, scene.bundle)
    held = {p.name for p in data.glob("blobs/*/*")}
    assert "--force" in refused("import", "--data", data, tmp_path / "a.tar")
    assert {p.name for p in data.glob("blobs/*/*")} == held and list(data.glob("import/*")) == []
    command("import", "--data", data, "--force", tmp_path / "a.tar")
