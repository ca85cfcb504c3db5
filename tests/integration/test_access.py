# SPDX-License-Identifier: Apache-2.0
"""HTTPS, and who may ask: users, client certificates, networks. What is refused learns nothing."""

import base64
import http.client
import json
import signal
import socket
import ssl
import subprocess

import pytest

import harness
from certificates import Authority, basic, hashed
from harness import binary, clean_environment

PATH = "/v2/demo/manifests/latest"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server_files(authority):
    return authority.sign("server", "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n")


@pytest.fixture(scope="module")
def client_files(authority):
    return authority.sign("client", "extendedKeyUsage=clientAuth\n")


def ask(mirror, authority, files=None, path=PATH, headers=None):
    context = ssl.create_default_context(cafile=authority.certificate)
    if files:
        context.load_cert_chain(*files)
    connection = http.client.HTTPSConnection("127.0.0.1", mirror.port, context=context, timeout=20)
    connection.request("GET", path, headers=headers or {})
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply.status, body


# --- users ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def users(tmp_path):
    file = tmp_path / "users"
    file.write_text(f"# who may pull\n\nme:{hashed('secret:1')}\nyou:{hashed('zwei')}\n")
    return file


@pytest.mark.threads
def test_users_are_asked_for_their_password(start, demo, users):
    mirror = start(access_users=users)
    for path in ("/v2/", PATH, "/v2/_catalog", "/metrics", "/v1/_ping", "/nowhere"):
        refused = mirror.get(path)
        assert refused.status == 401 and harness.code_of(refused) == "UNAUTHORIZED"
        assert refused.header("www-authenticate").startswith("Basic realm=")
    for pair in ("me:secret:1", "you:zwei"):
        assert mirror.get(PATH, basic(pair)).body == demo.manifest
        assert mirror.get(PATH, basic(pair)).body == demo.manifest  # remembered
    for path in ("/healthz", "/readyz"):
        assert mirror.get(path).status == 200


@pytest.mark.parametrize("header", [
    "Basic " + base64.b64encode(pair).decode() for pair in (
        b"me:secret", b"me:", b"me", b"", b":", b"nobody:secret:1", b"me:secret:1\0", b"ME:secret:1", b"me:secret:1 ")
] + ["Basic", "Basic ", "Basic !!!!", "Bearer bWU6c2VjcmV0OjE=", "bWU6c2VjcmV0OjE=", "Basic bWU6c2VjcmV0OjE",
     "Basic " + "QUFB" * 1000])
def test_everything_else_is_no_user(start, fake, demo, users, header):
    mirror = start(access_users=users)
    refused = mirror.get(PATH, {"Authorization": header})
    assert refused.status == 401 and harness.code_of(refused) == "UNAUTHORIZED"
    assert not fake.asked()


def test_a_wrong_password_is_logged_without_it(start, demo, users):
    mirror = start(access_users=users)
    mirror.get(PATH, basic("me:guess4711"))
    entry = mirror.wait_log(lambda e: e.get("status") == 401)
    assert "me" in str(entry) and "guess4711" not in mirror.stderr
    assert base64.b64encode(b"me:guess4711").decode() not in mirror.stderr


def test_passwords_cannot_be_tried_without_end(start, demo, users):
    """Each check costs time by design; past some a second the answer is 503, and a known user never notices."""
    mirror = start(access_users=users, threads=1)
    assert mirror.get(PATH, basic("me:secret:1")).status == 200
    with mirror.wire() as client:
        for number in range(500):
            client.ask(PATH, headers=basic(f"me:guess{number}"))
        statuses = [client.rest(client.head()).status for _ in range(500)]
    assert set(statuses) == {401, 503}
    assert mirror.get(PATH, basic("me:secret:1")).body == demo.manifest


@pytest.mark.threads
def test_sighup_reads_the_users_again_and_takes_other_networks(tmp_path, fake, demo, users):
    """A password that was changed is worth nothing from then on, however often it was used before."""
    config = tmp_path / "tranship.json"

    def configure(**access):
        config.write_text(json.dumps({"registries": {"docker.io": {"origin": fake.url}}, "access": access}))

    def reload(message="the configuration was read again"):
        before = sum(e.get("message") == message for e in mirror.log())
        mirror.process.send_signal(signal.SIGHUP)
        mirror.wait_log(lambda e: sum(e.get("message") == message for e in mirror.log()) > before)

    configure(users=str(users))
    mirror = harness.Tranship(tmp_path / "data", None, {"config": config}).ready()
    try:
        with mirror.wire() as client:
            assert client.exchange(PATH, headers=basic("me:secret:1")).body == demo.manifest
            users.write_text(f"me:{hashed('other')}\n")
            reload()
            assert client.exchange(PATH, headers=basic("me:secret:1")).status == 401
            assert client.exchange(PATH, headers=basic("me:other")).body == demo.manifest
            users.write_text("rubbish\n")
            reload("the new configuration is refused, the old one stays in force")
            assert client.exchange(PATH, headers=basic("me:other")).body == demo.manifest
            configure(networks=["10.0.0.0/8"])
            reload()
            assert client.exchange(PATH, headers=basic("me:other")).status == 403
            configure(networks=["127.0.0.0/8"])
            reload()
            assert client.exchange(PATH).body == demo.manifest
        mirror.stop()
    finally:
        if mirror.process.returncode is None:
            mirror.kill()


# --- networks -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("networks, admits", [
    (["127.0.0.0/8"], True), (["127.0.0.1"], True), (["10.0.0.0/8", "127.0.0.1/32"], True), (["0.0.0.0/0"], True),
    (["127.0.0.0/31"], True), (["::/0"], True), (["10.0.0.0/8"], False), (["127.0.0.2/31"], False), (["::1"], False),
])
def test_networks(tmp_path, fake, demo, networks, admits):
    words = [word for network in networks for word in ("--access-networks", network)]
    mirror = harness.Tranship(tmp_path / "data", fake.url, more=words).ready()
    reply = mirror.get(PATH)
    if admits:
        assert reply.body == demo.manifest
    else:
        assert reply.status == 403 and harness.code_of(reply) == "DENIED" and "127.0.0.1" in harness.message_of(reply)
        mirror.wait_log(lambda e: e.get("status") == 403)
        assert not fake.asked()
    mirror.stop()


# --- HTTPS ----------------------------------------------------------------------------------------------------------
@pytest.mark.threads
def test_https_serves_what_http_does(start, fake, authority, server_files):
    data = b"layer" * 4_000_000
    digest = fake.add_blob("a/b", data)
    mirror = start(tls_certificate=server_files[0], tls_key=server_files[1])
    for _ in range(2):  # coming, then from the mapping
        status, body = ask(mirror, authority, path=f"/v2/a/b/blobs/{digest}")
        assert status == 200 and body == data
        mirror.wait_held(digest)


def test_plain_http_gets_no_content_from_an_https_port(start, demo, server_files):
    mirror = start(tls_certificate=server_files[0], tls_key=server_files[1])
    with mirror.wire() as client:
        client.ask(PATH)
        assert b"200 OK" not in client.read(1 << 16)


def test_a_client_certificate_is_wanted_and_proved(start, demo, authority, server_files, client_files, tmp_path):
    other = Authority(tmp_path, "other").sign("client", "extendedKeyUsage=clientAuth\n")
    expired = authority.sign("late", "extendedKeyUsage=clientAuth\n", days=-1)
    mirror = start(tls_certificate=server_files[0], tls_key=server_files[1], access_client_ca=authority.certificate)
    assert ask(mirror, authority, client_files) == (200, demo.manifest)
    for files in (None, other, server_files, expired):
        status, body = ask(mirror, authority, files)
        assert status == 403 and b"DENIED" in body, files
    mirror.wait_log(lambda e: e.get("status") == 403)


def test_all_that_is_configured_must_hold(start, demo, users, authority, server_files, client_files):
    mirror = start(tls_certificate=server_files[0], tls_key=server_files[1], access_client_ca=authority.certificate,
                   access_users=users, access_networks="127.0.0.0/8")
    assert ask(mirror, authority, client_files, headers=basic("you:zwei")) == (200, demo.manifest)
    assert ask(mirror, authority, client_files)[0] == 401
    assert ask(mirror, authority, None, headers=basic("you:zwei"))[0] == 403


def test_a_client_that_hangs_in_the_handshake_holds_nobody_up(start, demo, authority, server_files):
    mirror = start(tls_certificate=server_files[0], tls_key=server_files[1], threads=1, request_timeout="2s")
    with socket.create_connection(("127.0.0.1", mirror.port)) as silent, \
            socket.create_connection(("127.0.0.1", mirror.port)) as half:
        half.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert ask(mirror, authority) == (200, demo.manifest)
        for one in (silent, half):
            one.settimeout(20)
            while one.recv(1000):  # an alert may come first
                pass


# --- what is refused at the start -----------------------------------------------------------------------------------
def refused(tmp_path, **options):
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    run = subprocess.run([binary(), "serve", "--data", tmp_path / "data", "--listen", "127.0.0.1:0", *words],
                         capture_output=True, text=True, timeout=30, env=clean_environment())
    assert run.returncode == 2 and len(run.stderr.splitlines()) == 1, run.stderr
    return run.stderr


def test_bad_rules_stop_the_start(tmp_path, authority, server_files, client_files):
    bad = tmp_path / "bad"
    missing = tmp_path / "missing"
    assert "10.0.0.0/33" in refused(tmp_path, access_networks="10.0.0.0/33")
    assert "example" in refused(tmp_path, access_networks="example")
    assert str(missing) in refused(tmp_path, access_users=missing)
    for text in ("me", "me:plain", "me:$apr1$Zb0.7d/0$mUHEmHYTSS6BzJ2Cjt2Xr/", "me:{SHA}abc", ":$6$x$y",
                 f"me:{hashed('x')}\nme:{hashed('y')}"):
        bad.write_text(text)
        assert f"{bad}:" in refused(tmp_path, access_users=bad)
    assert "both" in refused(tmp_path, tls_certificate=server_files[0])
    assert "HTTPS" in refused(tmp_path, access_client_ca=authority.certificate)
    assert str(missing) in refused(tmp_path, tls_certificate=missing, tls_key=server_files[1])
    assert str(client_files[1]) in refused(tmp_path, tls_certificate=server_files[0], tls_key=client_files[1])
    bad.write_text("no PEM at all")
    assert str(bad) in refused(tmp_path, tls_certificate=server_files[0], tls_key=server_files[1], access_client_ca=bad)
