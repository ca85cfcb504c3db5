# SPDX-License-Identifier: Apache-2.0
"""Real clients when there is nobody to ask: the upstream is gone, or the mirror runs offline and may dial nobody, which
is counted. What is held is pulled by tag and by digest, and said to be stale; what is not fails at once and says why."""

import time

import images
import parts
import pytest
from fake_registry import FakeRegistry
from harness import Tranship, code_of, message_of
from parts import needs

WHY = {"gone": "Connection refused", "offline": "offline mode"}


class Scene(parts.Scene):
    """A registry with library/warm, all of which is held, and library/cold, of which nobody ever asked."""

    def __init__(self, folder):
        self.folder, self.fake, self.mode, self.port = folder, FakeRegistry(), None, 0
        self.warm = self.fake.add("library/warm", parts.busybox_image("hello from the past", parts.machine()), "v1")
        self.cold = self.fake.add("library/cold", images.image([b"cold"]), "v1")
        self.signature = self.fake.add("library/warm", images.artifact(self.warm, "application/x.signature", "signed"))
        self.start("online")
        assert self.mirror.manifest("warm", "v1").body == self.warm.manifest
        for digest, data in self.warm.blobs.items():
            assert self.mirror.blob("warm", digest).body == data
            self.mirror.wait_hit(f"/v2/library/warm/blobs/{digest}")
        for path in ("tags/list", f"referrers/{self.warm.digest}"):
            assert self.mirror.get(f"/v2/library/warm/{path}").status == 200
        self.mirror.wait_hit(f"/v2/library/warm/manifests/{self.warm.digest}")

    def start(self, mode):
        if self.mirror:
            self.mirror.stop()
        self.mirror = Tranship(self.folder / "data", self.fake.url, {"tag-ttl": "0s", "mode": mode},
                               listen=f"127.0.0.1:{self.port}").ready()
        self.port = self.mirror.port

    def enter(self, how):
        """gone: nobody answers at the upstream's address. offline: it would."""
        if self.mode == how:
            return
        if how == "gone":
            self.fake.stop()
            self.start("online")
        else:
            if not self.fake.running:
                self.fake.come_back()
            self.start("offline")
        self.mode = how

    def behind(self):
        return [self.fake]

    def dialled(self):
        return sum(server.accepted for server in self.fake.running)

    def stale(self):
        """Manifests served by tag as stale so far."""
        return len([e for e in self.mirror.log() if e.get("cache") == "stale" and e.get("reference") == "v1"])


@pytest.fixture(params=WHY)
def without(request, scene):
    """The scene, in both ways in turn; nobody is dialled in the second."""
    scene.enter(request.param)
    yield scene
    assert request.param != "offline" or scene.dialled() == 0


def check_pulls(scene, pull):
    """pull(reference) by tag, whose answer is said to be stale, and by digest."""
    before = scene.stale()
    pull(":v1")
    scene.mirror.drain_log()
    assert scene.stale() > before
    pull(f"@{scene.warm.digest}")


def check_fails(scene, pull, hears="offline mode"):
    """What nobody can bring: the mirror's log tells why, and so does the client's own message, which repeats that of a 404
    but of a 502 no more than the number."""
    with pytest.raises(AssertionError, match="502 Bad Gateway" if scene.mode == "gone" else hears):
        pull()
    scene.mirror.drain_log()
    assert any(e.get("image") == "library/cold" and WHY[scene.mode] in e.get("error", "") for e in scene.mirror.log())


@needs("dockerd", "docker", "busybox")
def test_dockerd_pulls_what_is_held(without, dockerd):
    def pull(reference):
        assert without.warm.digest in dockerd.docker("pull", f"warm{reference}")
        assert dockerd.docker("run", "--rm", "--network", "none", f"warm{reference}") == "hello from the past"
        dockerd.docker("image", "rm", f"warm{reference}")

    check_pulls(without, pull)
    check_fails(without, lambda: dockerd.docker("pull", f"127.0.0.1:{without.port}/library/cold:v1"))


@needs("dockerd", "ctr", "busybox")
def test_containerd_pulls_what_is_held(without, dockerd, folder):
    def pull(reference, name="warm"):
        ctr = parts.ctr_pull(dockerd, folder / "h", without.url, f"docker.io/library/{name}{reference}", namespace=without.mode)
        assert without.warm.digest in parts.run([*ctr, "images", "list"])
        parts.run([*ctr, "images", "rm", "--sync", f"docker.io/library/{name}{reference}"])

    check_pulls(without, pull)
    check_fails(without, lambda: pull(":v1", "cold"), hears="connection refused")  # by the next host, which there is not


@needs("podman", "busybox")
def test_podman_pulls_what_is_held(without, folder):
    (folder / "p").mkdir(exist_ok=True)
    podman = parts.Podman(folder / "p", without.port)

    def pull(reference):
        podman("pull", f"docker.io/library/warm{reference}")
        podman("rmi", "--all", "--force")

    check_pulls(without, pull)
    check_fails(without, lambda: podman("pull", "docker.io/library/cold:v1"))


@needs("skopeo", "busybox")
def test_skopeo_pulls_what_is_held(without, tmp_path):
    def pull(reference):
        to = tmp_path / reference.strip(":@")[:6]
        parts.skopeo("copy", "--src-tls-verify=false", f"docker://127.0.0.1:{without.port}/library/warm{reference}", f"dir:{to}")
        assert (to / "manifest.json").read_bytes() == without.warm.manifest

    check_pulls(without, pull)
    check_fails(without, lambda: parts.skopeo("inspect", "--tls-verify=false", f"docker://127.0.0.1:{without.port}/library/cold:v1"))


# --- the same without a client ------------------------------------------------------------------------------------------


@needs("busybox")
def test_what_is_held_is_told_to_be_stale_and_by_digest_it_never_is(without):
    for ask in (without.mirror.get, without.mirror.head):
        reply = ask("/v2/library/warm/manifests/v1")
        assert reply.status == 200 and reply.header("warning").startswith('299 - "stale') and int(reply.header("age")) >= 0
        assert "detail=served-stale" in reply.header("cache-status")
        for what in (f"manifests/{without.warm.digest}", f"blobs/{without.warm.layer}"):
            reply = ask(f"/v2/library/warm/{what}")
            assert reply.status == 200 and reply.header("warning") is None and reply.header("cache-status") == "tranship; hit"
    assert b'"v1"' in without.mirror.get("/v2/library/warm/tags/list").body
    assert without.mirror.get(f"/v2/library/warm/referrers/{without.warm.digest}").status == 200
    assert b"library/warm" in without.mirror.get("/v2/_catalog").body
    assert b"warm" in without.mirror.get("/v1/search?q=warm").body


@needs("busybox")
def test_what_is_not_held_fails_within_a_second_and_says_why(without):
    cold = without.cold
    for what in ("manifests/v1", f"manifests/{cold.digest}", f"blobs/{cold.layer}", "tags/list"):
        for ask in (without.mirror.head, without.mirror.get):
            began = time.monotonic()
            reply = ask(f"/v2/library/cold/{what}")
            took = time.monotonic() - began
            assert reply.status == (404 if without.mode == "offline" else 502), reply
            assert took < 1, (what, took)
        assert WHY[without.mode] in message_of(reply) and code_of(reply), reply
    assert without.mirror.get(f"/v2/library/cold/referrers/{cold.digest}").status == (200 if without.mode == "offline" else 502)
