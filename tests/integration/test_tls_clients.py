# SPDX-License-Identifier: Apache-2.0
"""Real clients pull over HTTPS with a client certificate, and get nothing without one."""

import os
import pathlib
import shutil

import images
import parts
import pytest
from certificates import Authority
from fake_registry import FakeRegistry
from harness import Tranship
from parts import needs


# docker takes 127.0.0.0/8 for insecure and then reads no certificates: another address on the loopback interface.
OTHER = "192.0.2.77"


class Scene(parts.Scene):
    def __init__(self, folder):
        self.fake = FakeRegistry()
        self.image = self.fake.add("team/app", parts.busybox_image("hello over TLS", parts.machine()), "v1")
        self.fake.add("library/app", self.image, "v1")
        self.authority = Authority(folder)
        server = self.authority.sign("server", f"subjectAltName=IP:127.0.0.1,IP:{OTHER}\nextendedKeyUsage=serverAuth\n")
        self.client = self.authority.sign("client", "extendedKeyUsage=clientAuth\n")
        self.mirror = Tranship(folder / "data", self.fake.url, {
            "tls-certificate": server[0], "tls-key": server[1], "access-client-ca": self.authority.certificate},
            listen="0.0.0.0:0").ready()
        self.host, self.other = f"127.0.0.1:{self.mirror.port}", f"{OTHER}:{self.mirror.port}"

    def certificates(self, folder, with_client=True):
        """A folder as docker and containers/image read it: ca.crt, client.cert, client.key."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True)
        shutil.copy(self.authority.certificate, folder / "ca.crt")
        if with_client:
            shutil.copy(self.client[0], folder / "client.cert")
            shutil.copy(self.client[1], folder / "client.key")
        return folder

    def refusals(self):
        return sum(e.get("status") == 403 for e in self.mirror.log())

    def behind(self):
        return [self.fake]


@pytest.fixture(scope="module")
def dockerd(scene, folder):
    (folder / "d").mkdir()
    parts.run(["ip", "address", "replace", f"{OTHER}/32", "dev", "lo"])
    daemon = parts.Dockerd(folder / "d", f"https://{scene.other}")
    yield daemon
    daemon.stop()
    parts.run(["ip", "address", "delete", f"{OTHER}/32", "dev", "lo"])


@needs("dockerd", "docker", "busybox", "ip")
@pytest.mark.skipif(os.geteuid() != 0, reason="not root: docker reads certificates below /etc/docker alone")
def test_dockerd_with_certs_d(scene, dockerd):
    """As a registry of that name, and as the mirror of docker.io."""
    place = pathlib.Path("/etc/docker/certs.d") / scene.other
    try:
        scene.certificates(place, with_client=False)
        before = scene.refusals()
        with pytest.raises(AssertionError, match="client certificate"):
            dockerd.docker("pull", f"{scene.other}/team/app:v1")
        assert scene.refusals() > before
        shutil.rmtree(place)
        scene.certificates(place)
        assert scene.image.digest in dockerd.docker("pull", f"{scene.other}/team/app:v1")
        assert scene.image.digest in dockerd.docker("pull", "app:v1")
        assert dockerd.docker("run", "--rm", "--network", "none", "app:v1") == "hello over TLS"
    finally:
        shutil.rmtree(place, ignore_errors=True)


@needs("dockerd", "ctr", "busybox", "ip")
def test_containerd_with_a_hosts_file(scene, dockerd, folder):
    def pull(name, client):
        hosts = folder / name / "docker.io"
        hosts.mkdir(parents=True)
        (hosts / "hosts.toml").write_text(
            f'server = "https://{scene.host}"\nca = "{scene.authority.certificate}"\n{client}'
            f'[host."https://{scene.host}"]\n  capabilities = ["pull", "resolve"]\n'
            f'  ca = "{scene.authority.certificate}"\n{client}')
        ctr = [parts.find("ctr"), "-a", dockerd.containerd, "-n", name]
        parts.run([*ctr, "images", "pull", "--snapshotter", "native", "--hosts-dir", folder / name, "docker.io/team/app:v1"])
        assert scene.image.digest in parts.run([*ctr, "images", "list"])

    with pytest.raises(AssertionError, match="403"):
        pull("without", "")
    pull("with", f'client = [["{scene.client[0]}", "{scene.client[1]}"]]\n')


@needs("podman", "busybox")
def test_podman_with_a_certificate_folder(scene, folder):
    (folder / "p").mkdir()
    podman = parts.Podman(folder / "p", scene.mirror.port)
    podman.conf.write_text('unqualified-search-registries = []\n')
    bare = scene.certificates(folder / "bare", with_client=False)
    with pytest.raises(AssertionError, match="403"):
        podman("pull", "--cert-dir", bare, f"{scene.host}/team/app:v1")
    podman("pull", "--cert-dir", scene.certificates(folder / "whole"), f"{scene.host}/team/app:v1")


@needs("skopeo", "busybox")
def test_skopeo_with_a_certificate_folder(scene, tmp_path):
    def copy(certificates):
        parts.skopeo("copy", "--src-cert-dir", certificates, f"docker://{scene.host}/team/app:v1", f"dir:{tmp_path}/copy")

    with pytest.raises(AssertionError, match="403"):
        copy(scene.certificates(tmp_path / "bare", with_client=False))
    copy(scene.certificates(tmp_path / "whole"))
    assert images.digest_of((tmp_path / "copy/manifest.json").read_bytes()) == scene.image.digest
