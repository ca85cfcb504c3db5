# SPDX-License-Identifier: Apache-2.0
"""Real clients pull through the mirror from a real docker-registry, and again when that is gone."""

import json
import pathlib
import threading

import images
import parts
import pytest
from harness import Tranship, wait_until
from parts import needs


class Scene(parts.Scene):
    """An origin with library/hello (Docker, two platforms) and library/oci (OCI), and a mirror before it."""

    def __init__(self, folder):
        self.folder = folder
        self.origin = parts.Registry(folder / "origin")
        here, other = parts.machine(), "s390x"
        self.hello = images.index([
            (here, parts.busybox_image("hello from here", here, padding=5_000_000)), (other, parts.busybox_image("hello from afar", other))],
            docker=True)
        self.oci = images.index([(here, parts.busybox_image("hello from oci", here, docker=False)),
                                 (other, parts.busybox_image("oci from afar", other, docker=False))])
        self.origin.push("library/hello", self.hello, "latest", "1.0")
        self.origin.push("library/oci", self.oci, "latest")
        self.mirror = Tranship(folder / "data", self.origin.url).ready()

    def lose_origin(self):
        self.origin.stop()

    def regain_origin(self):
        if self.origin.process.poll() is not None:
            self.origin = parts.Registry(self.folder / "origin", port=self.origin.port)

    def behind(self):
        return [self.origin]


@needs("docker-registry", "dockerd", "docker", "busybox")
def test_dockerd_pulls_runs_and_builds_and_pulls_again_without_the_origin(scene, dockerd, tmp_path):
    assert f"Digest: {scene.hello.digest}" in dockerd.docker("pull", "hello")
    assert scene.mirror.holds(scene.hello.digest)
    assert dockerd.docker("run", "--rm", "--network", "none", "hello") == "hello from here"

    dockerd.docker("image", "rm", "hello")
    (tmp_path / "Dockerfile").write_text('FROM hello:1.0\nCOPY word /word\nRUN ["/bin/busybox","cp","/word","/greeting"]\n')
    (tmp_path / "word").write_text("hello from a build")
    dockerd.docker("build", "--network", "none", "-t", "built", tmp_path, DOCKER_BUILDKIT="0")
    assert dockerd.docker("run", "--rm", "--network", "none", "built") == "hello from a build"

    scene.lose_origin()
    dockerd.docker("image", "rm", "built", "hello:1.0")
    assert dockerd.docker("images", "-q") == ""
    assert f"Digest: {scene.hello.digest}" in dockerd.docker("pull", "hello")
    assert dockerd.docker("run", "--rm", "--network", "none", "hello") == "hello from here"
    assert f"Digest: {scene.hello.digest}" in dockerd.docker("pull", f"hello@{scene.hello.digest}")
    scene.regain_origin()


@needs("docker-registry", "dockerd", "ctr", "busybox")
def test_containerd_pulls_with_a_hosts_folder_and_ns(scene, dockerd, folder):
    ctr = parts.ctr_pull(dockerd, folder / "h", scene.url, "docker.io/library/oci:latest")
    assert scene.oci.digest in parts.run([*ctr, "images", "list"])
    mine = scene.oci.children[0]
    for digest, data in mine.blobs.items():
        assert images.digest_of(data) == digest and digest in parts.run([*ctr, "content", "list", "-q"])
    scene.lose_origin()
    parts.ctr_pull(dockerd, folder / "h", scene.url, "docker.io/library/oci:latest", namespace="again")
    scene.regain_origin()


@needs("docker-registry", "podman", "busybox")
def test_podman_pulls_by_registries_conf(scene, folder):
    (folder / "p").mkdir()
    podman = parts.Podman(folder / "p", scene.mirror.port)
    podman("pull", "docker.io/library/hello:latest")
    scene.lose_origin()
    podman("rmi", "docker.io/library/hello:latest")
    podman("pull", "docker.io/library/hello:latest")
    root = podman("image", "mount", "docker.io/library/hello:latest").strip()
    try:
        assert (pathlib.Path(root) / "greeting").read_text() == "hello from here"
    finally:
        podman("image", "umount", "--all")
    scene.regain_origin()


@needs("docker-registry", "skopeo", "busybox")
@pytest.mark.parametrize("name", ["hello", "oci"])
def test_skopeo_copies_every_platform_exactly(scene, tmp_path, name):
    index = {"hello": scene.hello, "oci": scene.oci}[name]

    def copy(to):
        parts.skopeo("copy", "--all", "--src-tls-verify=false", f"docker://127.0.0.1:{scene.mirror.port}/library/{name}:latest",
                     f"dir:{tmp_path}/{to}")
        assert (tmp_path / to / "manifest.json").read_bytes() == index.manifest
        for child in index.children:
            for digest, data in child.blobs.items():
                assert (tmp_path / to / digest.split(":")[1]).read_bytes() == data

    copy("cold")
    scene.lose_origin()
    copy("warm")
    scene.regain_origin()


@needs("docker-registry", "skopeo", "busybox")
def test_skopeo_lists_tags_and_inspects(scene):
    image = f"docker://127.0.0.1:{scene.mirror.port}/library/hello"
    assert json.loads(parts.skopeo("list-tags", "--tls-verify=false", image))["Tags"] == ["1.0", "latest"]
    told = json.loads(parts.skopeo("inspect", "--tls-verify=false", f"{image}:1.0"))
    assert told["Digest"] == scene.hello.digest


@needs("docker-registry", "dockerd", "docker", "busybox")
def test_a_mirror_killed_in_mid_pull_and_restarted_lets_docker_finish(scene, dockerd):
    """dockerd tries a layer that broke again after five seconds; for a manifest or a config it would turn to the origin."""
    large = parts.busybox_image("large", parts.machine(), padding=60_000_000)
    scene.origin.push("library/large", large, "latest")
    said = []
    pull = threading.Thread(target=lambda: said.append(dockerd.docker("pull", "large")))
    pull.start()
    scene.mirror.wait_log(lambda e: e.get("kind") == "blob" and e["reference"] == next(iter(large.blobs)), 20)  # its config
    wait_until(lambda: scene.mirror.ingest() or scene.mirror.holds(large.layer), 20, "the layer on its way in")
    scene.mirror.kill()
    scene.mirror = Tranship(scene.folder / "data", scene.origin.url, listen=f"127.0.0.1:{scene.mirror.port}").ready()
    pull.join()
    assert said and large.digest in said[0]
    assert dockerd.docker("run", "--rm", "--network", "none", "large") == "large"
