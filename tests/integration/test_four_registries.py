# SPDX-License-Identifier: Apache-2.0
"""One mirror for every registry: real clients pull from four of them, each in the way that it names a registry."""

import json
import pathlib

import images
import parts
from fake_registry import FakeRegistry
from harness import Tranship
from parts import needs

REGISTRIES = ["docker.io", "ghcr.io", "quay.io", "registry.example.org"]


class Scene(parts.Scene):
    """Four registries that each have team/app (and docker.io library/app too), all with one base layer in common."""

    def __init__(self, folder):
        self.folder = folder
        self.fakes = {name: FakeRegistry() for name in REGISTRIES}
        self.images, self.base = {}, {"base": images.random_bytes(2_000_000, "base")}
        for name, fake in self.fakes.items():
            image = parts.busybox_image(f"hello from {name}", parts.machine(), docker=name == "docker.io", below=self.base)
            for repository in ("team/app", "library/app"):
                fake.add(repository, image, "v1")
            self.images[name] = image
        config = folder / "tranship.json"
        config.write_text(json.dumps({"registries": {name: {"origin": fake.url} for name, fake in self.fakes.items()}}))
        self.mirror = Tranship(folder / "data", None, {"config": config}).ready()
        self.host = f"127.0.0.1:{self.mirror.port}"

    def behind(self):
        return self.fakes.values()


@needs("dockerd", "docker", "busybox")
def test_dockerd_pulls_the_default_and_by_path_all_others(scene, dockerd):
    assert scene.images["docker.io"].digest in dockerd.docker("pull", "app:v1")
    for name in REGISTRIES:
        said = dockerd.docker("pull", f"{scene.host}/{name}/team/app:v1")
        assert scene.images[name].digest in said
        assert dockerd.docker("run", "--rm", "--network", "none", f"{scene.host}/{name}/team/app:v1") == f"hello from {name}"


@needs("dockerd", "ctr", "busybox")
def test_containerd_asks_it_for_whatever_registry_by_its_default_hosts_file(scene, dockerd, folder):
    hosts = folder / "h" / "_default"
    hosts.mkdir(parents=True)
    (hosts / "hosts.toml").write_text(f'[host."http://{scene.host}"]\n  capabilities = ["pull", "resolve"]\n')
    ctr = [parts.find("ctr"), "-a", dockerd.containerd, "-n", "four"]
    for name in REGISTRIES:
        parts.run([*ctr, "images", "pull", "--snapshotter", "native", "--hosts-dir", folder / "h", f"{name}/team/app:v1"])
        assert scene.images[name].digest in parts.run([*ctr, "images", "list"])


@needs("podman", "busybox")
def test_podman_by_a_location_with_a_path(scene, folder):
    (folder / "p").mkdir()
    podman = parts.Podman(folder / "p", scene.mirror.port)
    podman.conf.write_text("".join(
        f'[[registry]]\nprefix = "{name}"\nlocation = "{scene.host}/{name}"\ninsecure = true\n' for name in REGISTRIES))
    for name in REGISTRIES:
        podman("pull", f"{name}/team/app:v1")
        root = podman("image", "mount", f"{name}/team/app:v1").strip()
        try:
            assert (pathlib.Path(root) / "greeting").read_text() == f"hello from {name}"
        finally:
            podman("image", "umount", "--all")


@needs("skopeo", "busybox")
def test_skopeo_by_path(scene, tmp_path):
    for name in REGISTRIES:
        parts.skopeo("copy", "--src-tls-verify=false", f"docker://{scene.host}/{name}/team/app:v1", f"dir:{tmp_path}/{name}")
        assert (tmp_path / name / "manifest.json").read_bytes() == scene.images[name].manifest
        listed = json.loads(parts.skopeo("list-tags", "--tls-verify=false", f"docker://{scene.host}/{name}/team/app"))
        assert listed["Tags"] == ["v1"]


@needs("busybox")
def test_what_they_have_in_common_was_fetched_by_each_at_most_once_and_is_stored_once(scene):
    """Last in this file: after all those pulls. Each repository had to prove that it has the layer."""
    shared = set.intersection(*(set(image.blobs) for image in scene.images.values()))
    assert shared
    for name, fake in scene.fakes.items():
        image = scene.images[name]
        for digest, data in image.blobs.items():
            assert scene.mirror.get(f"/v2/{name}/team/app/blobs/{digest}").body == data
            assert len(fake.asked(f"registry GET .*/blobs/{digest}")) <= 1
    sent = sum(fake.sent(digest) for digest in shared for fake in scene.fakes.values())
    assert sent == sum(len(scene.images["ghcr.io"].blobs[digest]) for digest in shared)
    assert scene.mirror.held() == {d for i in scene.images.values() for d in [i.digest, *i.blobs]}
