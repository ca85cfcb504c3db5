# SPDX-License-Identifier: Apache-2.0
"""Two sites and a disk carried between them. The open one has three registries, the closed one a network of its own with
nobody else in it; there dockerd, containerd and podman pull everything, under the names that it has outside."""

import json
import pathlib
import re

import images
import parts
import pytest
from bundles import command
from fake_registry import FakeRegistry
from harness import TOP, Tranship
from parts import needs

pytestmark = needs("busybox", "dockerd", "docker", "ctr", "podman", "unshare", "nsenter", "ip")

HUB, GITHUB, OTHER = "docker.io", "ghcr.io", "images.example"  # of the last the closed side's configuration knows nothing
LIST = """\
# what the closed site wants
docker.io/library/alpine:3.20
ghcr.io/owner/app:1.4
images.example/team/deep/tool:2
"""
NAMES = [line for line in LIST.splitlines() if not line.startswith("#")]
ARTIFACTS = "application/vnd.example.sbom", "application/vnd.example.attestation"


def split(name):
    """registry, repository, tag"""
    registry, rest = name.split("/", 1)
    return registry, *rest.rsplit(":", 1)


def image_of(name):
    here = parts.machine()
    return images.index([(here, parts.busybox_image(f"hello from {name}", here, docker=False)),
                         ("s390x", parts.busybox_image(f"{name} from afar", "s390x", docker=False))])


class Scene(parts.Scene):
    def __init__(self, folder):
        self.fakes = {registry: FakeRegistry() for registry in (HUB, GITHUB, OTHER)}
        self.images, self.beside = {}, {}
        for name in NAMES:
            registry, repository, tag = split(name)
            fake = self.fakes[registry]
            image = self.images[name] = fake.add(repository, image_of(name), tag)
            sig_tag = image.digest.replace(":", "-") + ".sig"
            signature = fake.add(repository, images.image([f"signature of {name}".encode()]), sig_tag)
            self.beside[name] = {sig_tag: signature}
            for kind in ARTIFACTS:
                one = fake.add(repository, images.artifact(image, kind, f"{kind} of {name}"))
                self.beside[name][one.digest] = one
        self.open_answers = self.carry_out(folder)
        for fake in self.fakes.values():
            fake.stop()
        self.cell = parts.Cell(folder)
        command("import", "--data", folder / "closed", "--verify", folder / "site.pub", folder / "disk/bundle.tar")
        (folder / "closed.json").write_text(json.dumps({"registries": {HUB: {}, GITHUB: {}}, "mode": "offline"}))
        self.mirror = Tranship(folder / "closed", None, {"config": folder / "closed.json"}, wrapper=self.cell.inside).ready()
        self.host = f"127.0.0.1:{self.mirror.port}"

    def carry_out(self, folder):
        """The open side: the list is pulled beside a running mirror and exported. What it answered about signatures."""
        config = folder / "open.json"
        config.write_text(json.dumps({"registries": {name: {"origin": fake.url} for name, fake in self.fakes.items()}}))
        side = Tranship(folder / "open", None, {"config": config}).ready()
        words = "--config", config, "--data", folder / "open", "--from", folder / "list.txt"
        (folder / "list.txt").write_text(LIST)
        command("pull", "--platform", "all", *words)
        answers = {path: side.get(path) for name in NAMES for path in self.paths(name)}
        side.stop()
        (folder / "disk").mkdir()
        command("keygen", "-o", folder / "site")
        command("export", "-o", folder / "disk/bundle.tar", "--sign", folder / "site", "--platform", "all", *words)
        return answers

    def paths(self, name):
        """What a tool that looks for signatures asks."""
        path = name.rsplit(":", 1)[0]
        image = self.images[name]
        yield f"/v2/{path}/referrers/{image.digest}"
        yield f"/v2/{path}/referrers/{image.digest}?artifactType={ARTIFACTS[0]}"
        for reference, one in self.beside[name].items():
            yield f"/v2/{path}/manifests/{reference}"
            for digest in one.blobs:
                yield f"/v2/{path}/blobs/{digest}"

    def behind(self):
        return [self.cell]


@pytest.fixture(scope="module")
def dockerd(scene, folder):
    (folder / "d").mkdir()
    daemon = parts.Dockerd(folder / "d", scene.url, scene.cell.inside)
    yield daemon
    daemon.stop()


def test_dockerd_pulls_everything_and_runs_it(scene, dockerd):
    for name in NAMES:
        as_docker = name if name.startswith(HUB) else f"{scene.host}/{name}"
        assert f"Digest: {scene.images[name].digest}" in dockerd.docker("pull", as_docker)
        assert dockerd.docker("run", "--rm", "--network", "none", as_docker) == f"hello from {name}"


def test_docker_search_tells_what_is_held(scene, dockerd):
    for word, shown in (("alpine", "library/alpine"), ("deep/tool", "images.example/team/deep/tool")):
        found = dockerd.docker("search", "--format", "{{.Name}}", f"{scene.host}/{word}").split()
        assert [name.removeprefix(f"{scene.host}/") for name in found] == [shown]


def test_containerd_pulls_everything_under_its_own_name(scene, dockerd, folder):
    hosts = folder / "h" / "_default"
    hosts.mkdir(parents=True)
    (hosts / "hosts.toml").write_text(f'[host."http://{scene.host}"]\n  capabilities = ["pull", "resolve"]\n')
    ctr = [*scene.cell.inside, parts.find("ctr"), "-a", dockerd.containerd, "-n", "closed"]
    for name in NAMES:
        parts.run([*ctr, "images", "pull", "--snapshotter", "native", "--hosts-dir", folder / "h", name])
        assert scene.images[name].digest in parts.run([*ctr, "images", "list", f"name=={name}"])


def test_a_node_pulls_by_the_commands_of_the_page(scene, dockerd, folder):
    """docs/air-gap.md, run as they stand but for the paths and the mirror's address."""
    page = (TOP / "docs/air-gap.md").read_text()
    lines = re.search(r"(?s)## On the nodes.*?```\n(.*?)```", page)[1].splitlines()
    node = {"CONTAINERD_ADDRESS": str(dockerd.containerd), "CONTAINERD_SNAPSHOTTER": "native"}
    assert any(name in line for name in NAMES for line in lines)
    for line in lines:
        line = line.replace("/etc/containerd/certs.d", f"{folder}/node").replace("mirror.closed.example:5000", scene.host)
        parts.run([*scene.cell.inside, "/bin/sh", "-c", line], **node)
    listed = parts.run([parts.find("ctr"), "-n", "k8s.io", "images", "list"], **node)
    for name in NAMES[:2]:
        assert name in listed and scene.images[name].digest in listed


def test_podman_pulls_everything_under_its_own_name(scene, folder):
    (folder / "p").mkdir()
    podman = parts.Podman(folder / "p", scene.mirror.port, scene.cell.inside)
    podman.conf.write_text("".join(f'[[registry]]\nprefix = "{registry}"\nlocation = "{scene.host}/{registry}"\ninsecure = true\n'
                                   for registry in (HUB, GITHUB, OTHER)))
    for name in NAMES:
        podman("pull", name)
        root = podman("image", "mount", name).strip()
        try:
            assert (pathlib.Path(root) / "greeting").read_text() == f"hello from {name}"
        finally:
            podman("image", "umount", "--all")


def test_signature_tags_and_referrers_answer_as_on_the_open_side(scene):
    for path, there in scene.open_answers.items():
        here = scene.mirror.ask_local(path)
        assert there.status == here.status == 200, (path, there, here)
        if "/referrers/" not in path:
            assert here.body == there.body
            continue
        lists = [sorted(json.loads(answer.body)["manifests"], key=lambda d: d["digest"]) for answer in (there, here)]
        assert lists[0] == lists[1] and len(lists[0]) == (1 if "?" in path else 2)
        for header in ("content-type", "oci-filters-applied"):
            assert there.header(header) == here.header(header)


def test_every_platform_is_there_and_what_was_not_on_the_list_is_not(scene):
    for name in NAMES:
        path = name.rsplit(":", 1)[0]
        for child in scene.images[name].children:
            assert scene.mirror.ask_local(f"/v2/{path}/manifests/{child.digest}").body == child.manifest
            for digest, data in child.blobs.items():
                assert scene.mirror.ask_local(f"/v2/{path}/blobs/{digest}").body == data
        reply = scene.mirror.ask_local(f"/v2/{path}/manifests/latest")
        assert reply.status == 404 and b"offline mode" in reply.body
