# SPDX-License-Identifier: Apache-2.0
"""What every story starts from: a fake registry, a data folder, a mirror between them and the test."""

import subprocess

import pytest

import images
import parts
from fake_registry import FakeRegistry
from harness import Tranship, binary
from places import Place


def pytest_make_parametrize_id(val):
    """Names of a line's length, whatever the bytes behind them."""
    text = getattr(val, "__name__", None) or (str(val, "latin-1") if isinstance(val, bytes) else str(val))
    short = "".join(c if c.isalnum() or c in "-_.:/=" else "_" for c in text)
    return short if len(short) <= 40 else f"{short[:32]}..{len(short)}"


def pytest_sessionstart(session):
    if not session.config.option.collectonly and not binary().exists():
        print(f"\nno binary at {binary()}: set TRANSHIP or build first")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """(certificate, key) for 127.0.0.1, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-out", folder / "cert.pem",
                    "-keyout", folder / "key.pem"], check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture(scope="module")
def folder():
    """A short path for container engines, unmounted and removed at the end."""
    short = parts.ShortFolder()
    yield short.path
    parts.remove_mounts(short.path)
    short.remove()


@pytest.fixture(scope="module")
def scene(request, folder):
    """The Scene of a story with real clients."""
    scene = request.module.Scene(folder)
    yield scene
    scene.end()


@pytest.fixture(scope="module")
def dockerd(scene, folder):
    """dockerd before that scene's mirror."""
    (folder / "d").mkdir()
    daemon = parts.Dockerd(folder / "d", scene.url)
    yield daemon
    daemon.stop()


@pytest.fixture
def fake():
    fake = FakeRegistry()
    yield fake
    fake.heal()
    fake.stop()


@pytest.fixture
def start(tmp_path, fake):
    """start(**options) begins a mirror in front of the fake registry, or of upstream=…; each is stopped in order at
    the end and must have ended well."""
    begun = []

    def start(data=None, upstream=None, environment=None, **options):
        words = {name.replace("_", "-"): value for name, value in options.items()}
        one = Tranship(data or tmp_path / "data", upstream or fake.url, words, environment)
        begun.append(one)
        return one.ready()

    yield start
    fake.heal()
    failures = []
    for one in begun:
        if one.process.returncode is None:
            try:
                one.stop()
            except AssertionError as failure:
                one.kill()
                failures.append(str(failure))
    assert not failures, "\n".join(failures)


@pytest.fixture
def tranship(start):
    return start()


@pytest.fixture(params=["running", "stopped"])
def place(request, start, tmp_path):
    """A data folder for commands, once beside a running server and once without."""
    return Place(start, tmp_path / "data", request.param == "running")


@pytest.fixture
def demo(fake):
    """library/demo:latest, a small image that the registry has."""
    return fake.add("library/demo", images.image([images.random_bytes(300_000, "demo")]), "latest")


@pytest.fixture
def known_to_upstream(start, tmp_path):
    """known_to_upstream(user, password): a mirror to which the upstream gave that credential."""
    def begin(user, password):
        secret = tmp_path / "upstream.secret"
        secret.write_text(password + "\n")
        secret.chmod(0o600)
        return start(username=user, password_file=secret)
    return begin
