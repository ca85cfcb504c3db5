# SPDX-License-Identifier: Apache-2.0
"""Real clients pull over HTTPS with a client certificate, and with a password too; without one, from a network that is not
listed or with a wrong password they get 401 or 403, the log a line, and the upstream no question."""

import json
import os
import pathlib
import shutil

import images
import parts
import pytest
from certificates import Authority, basic, hashed
from fake_registry import FakeRegistry
from harness import Tranship, wait_until
from parts import needs

# docker takes 127.0.0.0/8 for insecure and then reads no certificates: another address on the loopback interface.
OTHER = "192.0.2.77"
# what the mirror wants beside a certificate; has the client one; its password
ADMITTED = {"with a certificate": ("certificate", True, None), "with certificate and password": ("password", True, "right")}
REFUSED = {"without a certificate": ("certificate", False, None), "from a network not listed": ("network", True, None),
           "with a wrong password": ("password", True, "wrong"), "without a password": ("password", True, None)}
CASES = ADMITTED | REFUSED


class Scene:
    def __init__(self, folder):
        self.fake = FakeRegistry()
        self.image = self.fake.add("team/app", parts.busybox_image("hello over TLS", parts.machine()), "v1")
        self.fake.add("library/app", self.image, "v1")
        self.authority = Authority(folder)
        server = self.authority.sign("server", f"subjectAltName=IP:127.0.0.1,IP:{OTHER}\nextendedKeyUsage=serverAuth\n")
        self.client = self.authority.sign("client", "extendedKeyUsage=clientAuth\n")
        (folder / "users").write_text(f"me:{hashed('right')}\n")
        more = {"certificate": {}, "network": {"access-networks": "10.0.0.0/8"}, "password": {"access-users": folder / "users"}}
        self.mirrors = {name: Tranship(folder / name, self.fake.url, {
            "tls-certificate": server[0], "tls-key": server[1], "access-client-ca": self.authority.certificate, **options},
            listen="0.0.0.0:0").ready() for name, options in more.items()}

    def host(self, name, address="127.0.0.1"):
        return f"{address}:{self.mirrors[name].port}"

    def certificates(self, folder, with_client=True):
        """A folder as docker and containers/image read it: ca.crt, client.cert, client.key."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True)
        shutil.copy(self.authority.certificate, folder / "ca.crt")
        if with_client:
            shutil.copy(self.client[0], folder / "client.cert")
            shutil.copy(self.client[1], folder / "client.key")
        return folder

    def check(self, case, pull):
        """pull(name of the mirror, has a certificate, password) ends as the case says it must."""
        mirror = self.mirrors[CASES[case][0]]
        if case in ADMITTED:
            return pull(*CASES[case])

        def requests():
            return [e for e in mirror.log() if e["message"] == "request"]

        before = len(requests())
        self.fake.forget()
        with pytest.raises(AssertionError):
            pull(*CASES[case])
        said = wait_until(lambda: requests()[before:])
        assert {e["status"] for e in said} <= {401, 403} and all(e["error"] for e in said), said
        assert not self.fake.asked() and "wrong" not in mirror.stderr

    def end(self):
        self.fake.stop()
        try:
            for mirror in self.mirrors.values():
                mirror.stop()
        finally:
            for mirror in self.mirrors.values():
                mirror.kill()


@pytest.fixture(scope="module")
def scene(folder):
    scene = Scene(folder)
    yield scene
    scene.end()


@pytest.fixture(scope="module")
def dockerd(scene, folder):
    (folder / "d").mkdir()
    parts.run(["ip", "address", "replace", f"{OTHER}/32", "dev", "lo"])
    daemon = parts.Dockerd(folder / "d", f"https://{scene.host('certificate', OTHER)}")
    yield daemon
    daemon.stop()
    parts.run(["ip", "address", "delete", f"{OTHER}/32", "dev", "lo"])


@needs("dockerd", "docker", "busybox", "ip")
@pytest.mark.skipif(os.geteuid() != 0, reason="not root: docker reads certificates below /etc/docker alone")
@pytest.mark.parametrize("case", CASES)
def test_dockerd_with_certs_d(scene, dockerd, case):
    """As a registry of that name, and as the mirror of docker.io."""
    def pull(name, has_certificate, password):
        host = scene.host(name, OTHER)
        login = dockerd.folder / ".docker/config.json"
        login.parent.mkdir(exist_ok=True)
        word = basic(f"me:{password}")["Authorization"].removeprefix("Basic ")
        login.write_text(json.dumps({"auths": {host: {"auth": word}}} if password else {}))
        place = pathlib.Path("/etc/docker/certs.d") / host
        try:
            scene.certificates(place, has_certificate)
            assert scene.image.digest in dockerd.docker("pull", f"{host}/team/app:v1")
            if name == "certificate":
                assert scene.image.digest in dockerd.docker("pull", "app:v1")
                assert dockerd.docker("run", "--rm", "--network", "none", "app:v1") == "hello over TLS"
        finally:
            shutil.rmtree(place, ignore_errors=True)

    scene.check(case, pull)


@needs("dockerd", "ctr", "busybox", "ip")
@pytest.mark.parametrize("case", CASES)
def test_containerd_with_a_hosts_file(scene, dockerd, folder, case):
    def pull(name, has_certificate, password):
        space = case.replace(" ", "-")
        hosts = folder / space / "docker.io"
        hosts.mkdir(parents=True)
        client = f'client = [["{scene.client[0]}", "{scene.client[1]}"]]\n' if has_certificate else ""
        (hosts / "hosts.toml").write_text(
            f'server = "https://{scene.host(name)}"\nca = "{scene.authority.certificate}"\n{client}'
            f'[host."https://{scene.host(name)}"]\n  capabilities = ["pull", "resolve"]\n'
            f'  ca = "{scene.authority.certificate}"\n{client}')
        ctr = [parts.find("ctr"), "-a", dockerd.containerd, "-n", space]
        user = ["--user", f"me:{password}"] if password else []
        parts.run([*ctr, "images", "pull", *user, "--snapshotter", "native", "--hosts-dir", hosts.parent, "docker.io/team/app:v1"])
        assert scene.image.digest in parts.run([*ctr, "images", "list"])

    scene.check(case, pull)


@needs("podman", "busybox")
@pytest.mark.parametrize("case", CASES)
def test_podman_with_a_certificate_folder(scene, folder, tmp_path, case):
    def pull(name, has_certificate, password):
        (folder / "p").mkdir(exist_ok=True)
        podman = parts.Podman(folder / "p", scene.mirrors[name].port)
        podman.conf.write_text("unqualified-search-registries = []\n")
        user = ["--creds", f"me:{password}"] if password else []
        podman("pull", *user, "--cert-dir", scene.certificates(tmp_path / "c", has_certificate), f"{scene.host(name)}/team/app:v1")

    scene.check(case, pull)


@needs("skopeo", "busybox")
@pytest.mark.parametrize("case", CASES)
def test_skopeo_with_a_certificate_folder(scene, tmp_path, case):
    def pull(name, has_certificate, password):
        user = ["--src-creds", f"me:{password}"] if password else []
        parts.skopeo("copy", *user, "--src-cert-dir", scene.certificates(tmp_path / "c", has_certificate),
                     f"docker://{scene.host(name)}/team/app:v1", f"dir:{tmp_path}/copy")
        assert images.digest_of((tmp_path / "copy/manifest.json").read_bytes()) == scene.image.digest

    scene.check(case, pull)
