# SPDX-License-Identifier: Apache-2.0
"""HTTPS, and who may ask: users, client certificates, networks. What is refused learns nothing."""

import base64
import http.client
import json
import signal
import socket
import ssl
import subprocess
import threading

import pytest

import harness
from certificates import Authority, basic, hashed
from harness import binary, clean_environment, reload
from test_connections import is_instrumented

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


def context_of(authority, files=None):
    context = ssl.create_default_context(cafile=authority.certificate)
    if files:
        context.load_cert_chain(*files)
    return context


def ask(mirror, authority, files=None, path=PATH, headers=None):
    context = context_of(authority, files)
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


def test_users_are_asked_for_their_password(start, demo, users):
    mirror = start(access_users=users)
    refused = mirror.get(PATH)
    assert refused.status == 401 and harness.code_of(refused) == "UNAUTHORIZED"
    assert refused.header("www-authenticate").startswith("Basic realm=")
    for pair in ("me:secret:1", "you:zwei"):
        assert mirror.get(PATH, basic(pair)).body == demo.manifest
        assert mirror.get(PATH, basic(pair)).body == demo.manifest  # remembered


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


def test_who_guesses_waits_and_nobody_else_does(start, demo, users):
    """Each further guess of one address waits longer, without holding up a thread: here there is but one. What waits
    longer than a client would is turned away, and what still waits when the mirror stops is answered then."""
    mirror = start(access_users=users, threads=1)
    guesses = [mirror.wire() for _ in range(40)]
    with mirror.wire() as known, mirror.wire(source="127.0.0.2") as elsewhere:
        assert known.exchange(PATH, headers=basic("me:secret:1")).status == 200
        for number, client in enumerate(guesses):
            client.ask(PATH, headers=basic(f"me:guess{number}"))
        answers = [guesses[i].rest(guesses[i].head()) for i in range(5)]
        answers += [guesses[i].rest(guesses[i].head()) for i in range(30, 40)]
        assert [a.status for a in answers] == [401] * 5 + [503] * 10 and answers[-1].header("retry-after") == "30"
        assert known.exchange(PATH, headers=basic("me:secret:1")).body == demo.manifest
        assert known.exchange(PATH, headers=basic("me:guess0")).status == 401  # it was told so before
        assert elsewhere.exchange(PATH, headers=basic("you:zwei")).body == demo.manifest
        assert known.exchange("/healthz").status == 200
        assert guesses[5].rest(guesses[5].head()).status == 401  # its turn came
        assert "tranship_logins_delayed_total" in known.exchange("/metrics", headers=basic("you:zwei")).body.decode()
        guesses[23].close()  # who left is not waited for
        mirror.terminate()
        late = guesses[22].rest(guesses[22].head())
        assert late.status == 503 and "stopping" in harness.message_of(late)
    assert mirror.wait() == 0
    for client in guesses:
        client.close()


def test_sighup_reads_the_users_again_and_takes_other_networks(tmp_path, fake, demo, users):
    """A password that was changed is worth nothing from then on, however often it was used before."""
    config = tmp_path / "tranship.json"

    def configure(**access):
        config.write_text(json.dumps({"registries": {"docker.io": {"origin": fake.url}}, "access": access}))

    configure(users=str(users))
    mirror = harness.Tranship(tmp_path / "data", None, {"config": config}).ready()
    try:
        with mirror.wire() as client:
            assert client.exchange(PATH, headers=basic("me:secret:1")).body == demo.manifest
            users.write_text(f"me:{hashed('other')}\n")
            reload(mirror)
            assert client.exchange(PATH, headers=basic("me:secret:1")).status == 401
            assert client.exchange(PATH, headers=basic("me:other")).body == demo.manifest
            users.write_text("rubbish\n")
            reload(mirror, is_good=False)
            assert client.exchange(PATH, headers=basic("me:other")).body == demo.manifest
            configure(networks=["10.0.0.0/8"])
            reload(mirror)
            assert client.exchange(PATH, headers=basic("me:other")).status == 403
            configure(networks=["127.0.0.0/8"])
            reload(mirror)
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


# --- every path -----------------------------------------------------------------------------------------------------
BLOB = "/v2/demo/blobs/sha256:" + "0" * 64
PATHS = ["/v2", "/v2/", PATH, BLOB, "/v2/demo/tags/list", "/v2/demo/referrers/sha256:" + "0" * 64, "/v2/_catalog",
         "/v1/_ping", "/v1/search?q=a", "/metrics", "/readyz", "/", "/api/", "/api/status", "/nowhere", "/favicon.ico", "/healthz/",
         "//healthz", "/healthz/../v2/", "/v2/../healthz", "/HEALTHZ", "/healthz%2f", "/%68ealthz", "/healthz;a"]
RULES = {  # what is configured, who asks without meeting it, what he is told
    "users": ({"users"}, {}, 401),
    "networks": ({"networks"}, {}, 403),
    "certificates": ({"certificates"}, {}, 403),
    "users and networks": ({"users", "networks"}, basic("me:secret:1"), 403),
    "users and certificates": ({"users", "certificates"}, basic("me:secret:1"), 403),
    "certificates and users": ({"users", "certificates", "a certificate"}, basic("me:secret"), 401),
    "certificates and networks": ({"certificates", "networks", "a certificate"}, {}, 403),
    "all": ({"users", "networks", "certificates", "a certificate"}, basic("me:secret:1"), 403),
}


@pytest.mark.parametrize("rule", RULES)
def test_rules_hold_on_every_path_but_healthz(start, fake, demo, users, authority, server_files, client_files, rule):
    chosen, headers, status = RULES[rule]
    options = {"threads": 1}
    if "users" in chosen:
        options |= {"access_users": users}
    if "networks" in chosen:
        options |= {"access_networks": ["10.0.0.0/8", "127.0.0.2"]}
    if "certificates" in chosen:
        options |= {"tls_certificate": server_files[0], "tls_key": server_files[1], "access_client_ca": authority.certificate}
    mirror = start(**options)
    context = context_of(authority, client_files if "a certificate" in chosen else None) if "certificates" in chosen else None
    with mirror.wire(context=context) as client:
        for path in PATHS:
            for method in ("GET", "HEAD"):
                refused = client.exchange(path, method, headers)
                assert refused.status == status, (method, path, refused)
                assert (refused.header("www-authenticate") is not None) == (status == 401)
        assert client.exchange("/healthz").body == b"ok\n"
        assert client.exchange("/healthz?verbose").status == 200
    assert not fake.asked()
    mirror.wait_log(lambda e: e.get("path") == PATH and e.get("status") == status)
    if "networks" in chosen:
        good = context_of(authority, client_files) if context else None
        with mirror.wire(context=good, source="127.0.0.2") as client:
            assert client.exchange(PATH, headers=basic("me:secret:1")).body == demo.manifest


def test_without_rules_nobody_is_asked_for_anything(start, demo):
    mirror = start()
    for path in PATHS:
        reply = mirror.get(path, basic("me:whatever"))
        assert reply.status not in (401, 403) and reply.header("www-authenticate") is None, (path, reply)


# --- said at the start ----------------------------------------------------------------------------------------------
def warnings(mirror):
    return [e["registry"] for e in mirror.log() if "everybody who reaches this mirror" in e["message"]]


@pytest.mark.parametrize("listen, access, is_told", [
    ("127.0.0.1:0", {}, False), ("localhost:0", {}, False), ("0.0.0.0:0", {}, True), (":0", {}, True),
    ("[::]:0", {}, True), ("[::1]:0", {}, False), (["127.0.0.1:0", "0.0.0.0:0"], {}, True),
    ("0.0.0.0:0", {"access-networks": "10.0.0.0/8"}, False), ("[::]:0", {"access-users": "users"}, False),
])
def test_an_open_mirror_of_what_a_credential_opens_says_so(tmp_path, fake, users, listen, access, is_told):
    secret = tmp_path / "secret"
    secret.write_text("upstream's")
    secret.chmod(0o600)
    options = {k: users if v == "users" else v for k, v in access.items()} | {"username": "me", "password-file": secret}
    mirror = harness.Tranship(tmp_path / "data", fake.url, options, listen=listen).ready()
    mirror.stop()  # all is logged by then
    assert warnings(mirror) == (["docker.io"] if is_told else [])


def test_a_credential_that_sighup_brings_to_an_open_mirror_is_told_too(tmp_path, fake):
    config, secret = tmp_path / "tranship.json", tmp_path / "secret"
    secret.write_text("upstream's")
    secret.chmod(0o600)

    def configure(more, **rest):
        config.write_text(json.dumps({"registries": {
            "docker.io": {"origin": fake.url}, "quay.io": {"origin": fake.url, **more}}, **rest}))

    credential = {"username": "me", "password_file": str(secret)}
    configure({})
    mirror = harness.Tranship(tmp_path / "data", None, {"config": config}, listen="0.0.0.0:0").ready()
    try:
        assert warnings(mirror) == []
        configure(credential)
        reload(mirror)
        mirror.wait_log(lambda e: e.get("registry") == "quay.io" and e["level"] == "warning")
        configure(credential, access={"networks": ["127.0.0.0/8"]})
        reload(mirror)
        mirror.stop()
        assert warnings(mirror) == ["quay.io"]
    finally:
        mirror.kill()


# --- HTTPS ----------------------------------------------------------------------------------------------------------
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


# --- SIGHUP and HTTPS -----------------------------------------------------------------------------------------------
SERVER = "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n"


class Renewed:
    """A mirror whose certificate, key and client authority stand in files that are replaced."""

    def __init__(self, folder, fake, **more):
        self.folder, self.fake = folder, fake
        self.authority = Authority(folder, "first")  # of all servers' certificates
        self.config = folder / "tranship.json"
        self.files = {name: folder / f"live.{name}" for name in ("certificate", "key", "client_ca")}
        self.configure()
        self.renew(self.authority.sign("one", SERVER), self.authority.certificate)
        self.mirror = harness.Tranship(folder / "data", None, {"config": self.config, **more}).ready()

    def configure(self, has_https=True, has_ca=True, **more):
        what = {"registries": {"docker.io": {"origin": self.fake.url}}, **more}
        if has_https:
            what |= {"tls": {name: str(self.files[name]) for name in ("certificate", "key")}}
        if has_ca:
            what |= {"access": {"client_ca": str(self.files["client_ca"])}}
        self.config.write_text(json.dumps(what))

    def renew(self, pair, client_ca=None):
        for name, source in (("certificate", pair[0]), ("key", pair[1]), ("client_ca", client_ca)):
            if source:
                self.files[name].write_bytes(source.read_bytes())

    def connect(self, files=None):
        return self.mirror.wire(context=context_of(self.authority, files))

    def shown(self, client=None):
        """The certificate that a connection (a new one) is shown."""
        with client or self.connect() as one:
            return ssl.DER_cert_to_PEM_cert(one.socket.getpeercert(True)).split()


@pytest.fixture
def renewed(tmp_path, fake):
    one = Renewed(tmp_path, fake, threads=2)
    yield one
    try:
        one.mirror.stop()
    finally:
        one.mirror.kill()


def pem(pair):
    return pair[0].read_text().split()


def test_sighup_shows_the_renewed_certificate_and_drops_no_connection(renewed, fake, demo):
    data = b"layer" * 4_000_000
    digest = fake.add_blob("a/b", data)
    me = renewed.authority.sign("me", "extendedKeyUsage=clientAuth\n")
    one, two = renewed.shown(), renewed.authority.sign("two", SERVER)
    with renewed.connect(me) as idle, renewed.connect(me) as busy, renewed.connect(me) as other:
        assert other.exchange(f"/v2/a/b/blobs/{digest}").body == data
        renewed.mirror.wait_held(digest)
        assert idle.exchange(PATH).body == demo.manifest
        busy.ask(f"/v2/a/b/blobs/{digest}")
        busy.head()
        assert busy.read(100_000) == data[:100_000]
        renewed.renew(two)
        reload(renewed.mirror)
        assert renewed.shown() == pem(two) != one
        assert idle.exchange(PATH).body == demo.manifest
        assert busy.read(len(data) - 100_000) == data[100_000:]
        assert busy.exchange(PATH).body == demo.manifest


def test_sighup_takes_another_authority_of_clients_on_open_connections_too(renewed, tmp_path, demo):
    """A certificate of the old authority opens nothing from then on, on whichever connection; back it comes with it."""
    (tmp_path / "b").mkdir()
    other = Authority(tmp_path / "b", "second")
    old, new = (a.sign("me", "extendedKeyUsage=clientAuth\n") for a in (renewed.authority, other))
    with renewed.connect(old) as before, renewed.connect(new) as early:
        assert before.exchange(PATH).body == demo.manifest and early.exchange(PATH).status == 403
        for authority, good, bad in ((other, (new, early), (old, before)), (renewed.authority, (old, before), (new, early))):
            renewed.files["client_ca"].write_bytes(authority.certificate.read_bytes())
            reload(renewed.mirror)
            for files, client in (good, bad):
                with renewed.connect(files) as fresh:
                    for one in (fresh, client):
                        assert one.exchange(PATH).status == (200 if files is good[0] else 403)
        renewed.configure(has_ca=False)
        reload(renewed.mirror)
        with renewed.connect() as anybody:
            assert anybody.exchange(PATH).body == demo.manifest and early.exchange(PATH).body == demo.manifest
            renewed.configure()
            reload(renewed.mirror)
            assert anybody.exchange(PATH).status == 403 and before.exchange(PATH).status == 200


@pytest.mark.parametrize("mistake", ["other key", "rubbish", "empty", "no file", "no authority", "half a pair", "HTTP"])
def test_a_renewed_certificate_that_does_not_fit_is_refused_with_the_whole_reload(renewed, demo, mistake):
    one, two = renewed.shown(), renewed.authority.sign("two", SERVER)
    files = renewed.files
    {"other key": lambda: files["key"].write_bytes(two[1].read_bytes()),
     "rubbish": lambda: files["certificate"].write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
     "empty": lambda: files["certificate"].write_text(""),
     "no file": files["key"].unlink,
     "no authority": lambda: files["client_ca"].write_text("\n"),
     "half a pair": lambda: renewed.config.write_text(json.dumps({"tls": {"key": str(files["key"])}})),
     "HTTP": lambda: renewed.configure(False, False)}[mistake]()
    config = json.loads(renewed.config.read_text())
    config.setdefault("registries", {}).setdefault("quay.io", {"origin": renewed.fake.url})
    renewed.config.write_text(json.dumps(config))
    assert reload(renewed.mirror, is_good=False)["mistakes"] == 1
    assert renewed.shown() == one
    with renewed.connect(renewed.authority.sign("me", "extendedKeyUsage=clientAuth\n")) as client:
        assert client.exchange(PATH).body == demo.manifest
        assert harness.code_of(client.exchange("/v2/a/b/manifests/latest?ns=quay.io")) == "NAME_UNKNOWN"
        renewed.renew(two, renewed.authority.certificate)
        renewed.configure()
        reload(renewed.mirror)
        assert renewed.shown() == pem(two)


def test_a_hundred_renewed_certificates_under_load_fail_no_request_and_keep_nothing(tmp_path, fake, demo):
    """Connections stay open across all of it, others come and go; each is shown the certificate of its time."""
    renewed = Renewed(tmp_path, fake, **{"threads": 2, "log-level": None})
    renewed.configure(log_level="off")  # a line for each of so many requests only delays the test
    me = renewed.authority.sign("me", "extendedKeyUsage=clientAuth\n")
    pairs = [renewed.authority.sign(name, SERVER) for name in ("even", "odd")]
    over, failures, answered = threading.Event(), [], []

    def pull(stays):
        while not over.is_set():
            with renewed.connect(me) as client:
                while not over.is_set():
                    reply = client.exchange(PATH)
                    answered.append(1)
                    if reply is None or reply.body != demo.manifest:
                        failures.append(reply)
                        return
                    if not stays:
                        break

    def failing(stays):
        try:
            pull(stays)
        except Exception as failure:  # told below
            failures.append(failure)

    clients = [threading.Thread(target=failing, args=(stays,)) for stays in (True, False)]
    for client in clients:
        client.start()
    try:
        for k in range(100):
            if k == 20:
                descriptors, kilobytes = harness.held_by(renewed.mirror)
            renewed.renew(pairs[k % 2])
            renewed.mirror.process.send_signal(signal.SIGHUP)
            harness.wait_until(lambda: renewed.shown() == pem(pairs[k % 2]), what="the new certificate")
        descriptors_then, kilobytes_then = harness.held_by(renewed.mirror)
    finally:
        over.set()
        for client in clients:
            client.join()
        renewed.mirror.stop()
    assert not failures and len(answered) > 100
    assert descriptors_then <= descriptors + 4
    if not is_instrumented():  # those keep freed memory for a while
        assert kilobytes_then < kilobytes + 8_000


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
