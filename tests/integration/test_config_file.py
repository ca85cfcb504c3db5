# SPDX-License-Identifier: Apache-2.0
"""The configuration file: who wins, what a start and check-config say of mistakes, what SIGHUP changes and what not."""

import base64
import json
import os
import pathlib
import signal
import ssl
import subprocess
import threading

import images
import pytest
from fake_registry import FakeRegistry
from test_connections import is_instrumented
from harness import TOP, Tranship, binary, clean_environment, code_of, held_by, message_of, reload, wait_until

DATA = images.random_bytes(3_000_000, "config")


def run(*words, **environment):
    return subprocess.run([binary(), *map(str, words)], capture_output=True, text=True, timeout=8,
                          env=clean_environment(**environment), check=False)


class File:
    """A configuration file of a test."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def write(self, what):
        self.path.write_text(what if isinstance(what, str) else json.dumps(what))
        return self.path


@pytest.fixture
def file(tmp_path):
    return File(tmp_path / "tranship.json")


@pytest.fixture
def begin(tmp_path, file):
    """begin(configuration, environment, **options): a mirror with that file, told nothing of any upstream."""
    begun = []

    def begin(what, environment=None, **options):
        words = {name.replace("_", "-"): value for name, value in options.items()}
        one = Tranship(tmp_path / "data", None, {"config": file.write(what), **words}, environment)
        begun.append(one)
        return one.ready()

    yield begin
    for one in begun:
        if one.process.returncode is None:
            one.stop()


@pytest.fixture
def other():
    other = FakeRegistry()
    yield other
    other.heal()
    other.stop()


def registries(**urls):
    """{"docker.io": {"origin": …}} of docker_io=URL."""
    return {"registries": {name.replace("_", "."): {"origin": url} for name, url in urls.items()}}


def one_registry(url, **keys):
    return {"registries": {"docker.io": {"origin": url, **{k: str(v) for k, v in keys.items()}}}}


# --- who wins ---------------------------------------------------------------------------------------------------------


def asked_for_three(mirror, fake):
    fake.forget()
    for _ in range(3):
        assert mirror.manifest("demo", "latest").status == 200
    return len(fake.asked())


@pytest.mark.parametrize("in_file, in_environment, in_option, asked", [
    ("0s", None, None, 3), ("0s", "60s", None, 1), ("60s", "60s", "0s", 3), ("60s", "0s", "60s", 1), (None, None, None, 1)])
def test_an_option_wins_over_the_environment_over_the_file(fake, begin, demo, in_file, in_environment, in_option, asked):
    what = registries(docker_io=fake.url) | ({"tag_ttl": in_file} if in_file else {})
    mirror = begin(what, {"TRANSHIP_TAG_TTL": in_environment} if in_environment else None,
                   **({"tag_ttl": in_option} if in_option else {}))
    assert asked_for_three(mirror, fake) == asked


def test_the_environment_names_the_file(fake, file, tmp_path, demo):
    mirror = Tranship(tmp_path / "data", None, {}, {"TRANSHIP_CONFIG": str(file.write(registries(docker_io=fake.url)))})
    assert mirror.ready().manifest("demo", "latest").body == demo.manifest
    mirror.stop()


def test_upstream_on_the_command_line_is_the_origin_of_docker_io(fake, other, begin, demo):
    mirror = begin(registries(quay_io=other.url, docker_io=other.url), upstream=fake.url)
    assert mirror.manifest("quay.io/library/demo", "latest").status == 404
    assert mirror.manifest("library/demo", "latest").body == demo.manifest
    assert other.asked() and fake.asked()


def test_each_registry_has_its_own_origin(fake, other, begin, demo):
    theirs = other.add("library/demo", images.image([images.random_bytes(1000, "theirs")]), "latest")
    mirror = begin(registries(docker_io=fake.url, quay_io=other.url))
    assert mirror.manifest("demo", "latest").body == demo.manifest
    assert mirror.manifest("quay.io/library/demo", "latest").body == theirs.manifest


# --- which registries there are -----------------------------------------------------------------------------------------


KNOWN = ["docker.io", "ghcr.io", "quay.io", "registry.k8s.io", "gcr.io", "mcr.microsoft.com", "public.ecr.aws", "lscr.io",
         "registry.gitlab.com", "nvcr.io", "docker.elastic.co"]


def test_with_no_registries_the_public_ones_are_known_and_no_other(begin):
    mirror = begin({"mode": "offline"})
    for name in KNOWN:
        assert code_of(mirror.get(f"/v2/a/b/manifests/latest?ns={name}")) != "NAME_UNKNOWN", name
    assert code_of(mirror.get("/v2/a/b/manifests/latest?ns=registry.example")) == "NAME_UNKNOWN"


def test_with_registries_only_those_are_known(fake, begin):
    mirror = begin(registries(quay_io=fake.url))
    assert code_of(mirror.get("/v2/a/b/manifests/latest?ns=ghcr.io")) == "NAME_UNKNOWN"
    assert code_of(mirror.get("/v2/a/b/manifests/latest?ns=quay.io")) == "MANIFEST_UNKNOWN"


# --- mistakes -----------------------------------------------------------------------------------------------------------


MISTAKES = {
    "unknown": ('{\n"tag_tll": "1s"}', 2, "tag_tll", "nearest is tag_ttl"),
    "unknown in a registry": ('{"registries": {"ghcr.io":\n{"mirorrs": []}}}', 2, "registries.ghcr.io.mirorrs", "nearest is mirrors"),
    "type": ('{"data":\n\n\n7}', 1, "data", "wrong type"),
    "bounds": ('{"threads": 1,\n"max_per_host": 0}', 2, "max_per_host", "out of bounds"),
    "duration": ('{"registries": {"a.io": {\n"tag_ttl": "31d"}}}', 2, "registries.a.io.tag_ttl", "out of bounds"),
    "word": ('{"registries": {"a.io": {\n"resolve": "all"}}}', 2, "registries.a.io.resolve", "origin, any"),
    "URL": ('{"registries": {"a.io": {\n"origin": "a.io"}}}', 2, "registries.a.io.origin", "http(s)://"),
    "mirror": ('{"registries": {"a.io": {"mirrors": ["http://a",\n"gopher://b"]}}}', 2, "registries.a.io.mirrors[1]", "gopher"),
    "glob": ('{"registries": {"a.io": {\n"deny": ["[ab"]}}}', 2, "registries.a.io.deny[0]", "["),
    "twice": ('{"threads": 1,\n"threads": 2}', 2, "threads", "twice"),
    "two hosts": ('{"registries": {"a.io": {"hosts": ["h"]},\n"b.io": {"hosts": ["h"]}}}', 2, "registries.b.io", "h belongs to two"),
    "not JSON": ('{"threads":\n1,}', 2, "", "not JSON"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_stops_the_start_and_check_config_tells_its_line_key_and_reason(tmp_path, file, kind):
    text, line, key, reason = MISTAKES[kind]
    path = file.write(text)
    checked = run("check-config", path)
    assert checked.returncode == 2 and not checked.stdout
    told = checked.stderr.strip().split("\n")
    assert len(told) == 1 and told[0].startswith(f"{path}:{line}: {key}") and reason in told[0], told
    served = run("serve", "--config", path, "--data", tmp_path / "d", "--listen", "127.0.0.1:0")
    assert served.returncode == 2 and served.stderr == f"tranship: {told[0]}\n"
    assert not (tmp_path / "d").exists()


def test_all_mistakes_are_told_at_once(file):
    done = run("check-config", file.write('{"a": 1,\n"threads": "x",\n"registries": {"b c": {},\n"d.io": {"origin": 5}}}'))
    lines = [int(line.split(":")[1]) for line in done.stderr.strip().split("\n")]
    assert done.returncode == 2 and lines == [1, 2, 3, 4]


def test_a_file_that_cannot_be_had_is_told(tmp_path):
    large = tmp_path / "large.json"
    large.write_text("{" + " " * (1 << 20) + "}")
    for path in (tmp_path / "none.json", tmp_path, large):
        for words in (("check-config", path), ("serve", "--config", path, "--data", tmp_path / "d")):
            done = run(*words)
            assert done.returncode == 2 and str(path) in done.stderr and done.stderr.count("\n") == 1, done


def test_check_config_says_in_one_line_that_all_is_well(file):
    done = run("check-config", file.write({"registries": {"ghcr.io": {}}}))
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1) and str(file.path) in done.stdout


def test_the_sample_has_no_mistake():
    done = run("check-config", TOP / "etc/tranship.json")
    assert done.returncode == 0, done.stderr


# --- secrets ------------------------------------------------------------------------------------------------------------


def test_secrets_come_from_files_and_are_told_to_nobody(fake, begin, file, tmp_path, demo):
    secret = tmp_path / "hub.secret"
    secret.write_text("correct horse\n")
    secret.chmod(0o644)
    fake.auth = "basic"
    fake.users = {"me": "correct horse"}
    what = {"registries": {"docker.io": {"origin": fake.url, "username": "me", "password_file": str(secret)}}}
    mirror = begin(what)
    assert mirror.manifest("demo", "latest").body == demo.manifest
    mirror.wait_log(lambda e: e.get("file") == str(secret) and e["level"] == "warning")
    reload(mirror)
    checked = run("check-config", file.path)
    words = pathlib.Path(f"/proc/{mirror.process.pid}/cmdline").read_text()
    assert checked.returncode == 0
    for text in (mirror.stderr, checked.stdout, checked.stderr, words):
        assert "correct horse" not in text
    secret.unlink()
    noted = run("check-config", file.path)
    assert noted.returncode == 0 and str(secret) in noted.stderr
    assert reload(mirror, is_good=False)["mistakes"] == 1
    assert any("password_file" in e.get("mistake", "") for e in mirror.log())


def test_a_secret_that_only_its_owner_can_read_is_no_cause_for_a_warning(fake, begin, tmp_path):
    secret = tmp_path / "hub.secret"
    secret.write_text("x")
    secret.chmod(0o600)
    mirror = begin({"registries": {"docker.io": {"origin": fake.url, "username": "me", "password_file": str(secret)}}})
    assert not [e for e in mirror.log() if e.get("file") == str(secret)]


HELPER = """#!/bin/sh
read -r server || true
echo "$1 $server" >>"$0.asked"
%s
"""


@pytest.fixture
def helper(tmp_path):
    """helper(script): a credential helper named test; the environment that finds it."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def write(script, form=HELPER):
        path = folder / "docker-credential-test"
        path.write_text(form % script)
        path.chmod(0o755)
        return {"PATH": f"{folder}:{os.environ['PATH']}"}

    write.asked = folder / "docker-credential-test.asked"
    return write


def test_docker_login_s_file_is_understood(fake, begin, tmp_path, demo):
    fake.auth, fake.users = "bearer", {"me": "correct horse"}
    fake.private = {"library/demo"}
    login = tmp_path / "config.json"
    auth = base64.b64encode(b"me:correct horse").decode()
    login.write_text(json.dumps({"auths": {"https://index.docker.io/v1/": {"auth": auth}}}))
    login.chmod(0o600)
    mirror = begin(one_registry(fake.url, docker_config=login))
    assert mirror.manifest("demo", "latest").body == demo.manifest
    assert "correct horse" not in mirror.stderr and auth not in mirror.stderr


def test_a_token_of_a_password_that_was_changed_is_used_no_more(fake, begin, tmp_path, demo):
    """The registry took the right to that image from us: at the next reload what the old password bought is worth nothing."""
    secret = tmp_path / "hub.secret"
    secret.write_text("horse staple")
    secret.chmod(0o600)
    fake.auth, fake.users = "bearer", {"me": "horse staple"}
    mirror = begin(one_registry(fake.url, username="me", password_file=secret, tag_ttl="0s"))
    assert mirror.manifest("demo", "latest").body == demo.manifest
    for password, tokens in (("horse staple", 0), ("battery", 1), ("battery", 0)):
        fake.users = {"me": password}
        secret.write_text(password)
        fake.forget()
        reload(mirror)
        assert mirror.manifest("demo", "latest").status == 200
        assert len(fake.asked("token")) == tokens, password
        assert password not in mirror.stderr


@pytest.mark.parametrize("is_named_by_docker", [False, True])
def test_a_credential_helper_is_asked_at_the_start_and_at_sighup(fake, begin, tmp_path, helper, demo, is_named_by_docker):
    fake.auth, fake.users = "basic", {"me": "correct horse"}
    environment = helper("""echo '{"Username": "me", "Secret": "correct horse"}'""")
    login = tmp_path / "config.json"
    login.write_text('{"credHelpers": {"docker.io": "test"}}')
    keys = {"docker_config": login} if is_named_by_docker else {"credential_helper": "test"}
    mirror = begin(one_registry(fake.url, **keys), environment)
    assert mirror.manifest("demo", "latest").body == demo.manifest
    assert helper.asked.read_text() == "get https://index.docker.io/v1/\n"
    assert reload(mirror)["registries"] == "the same"
    assert helper.asked.read_text().count("\n") == 2
    helper("echo 'correct horse'; exit 1")
    assert reload(mirror, is_good=False)["mistakes"] == 1
    assert "correct horse" not in mirror.stderr


@pytest.mark.parametrize("script, form, reason", [
    ("echo hunter2; exit 3", HELPER, "exit status 3"), ("echo hunter2", HELPER, "no \"Username\""), ("", "not a program%s", "cannot be run"),
    ("yes hunter2", HELPER, "did not answer"), ("kill -9 $$", HELPER, "exit status -1"), ("exit 0", "#!/bin/sh\n%s\n", "no \"Username\"")])
def test_a_helper_that_fails_stops_the_start(file, tmp_path, helper, script, form, reason):
    path = file.write('{"registries": {"quay.io": {\n"credential_helper": "test"}}}')
    done = run("serve", "--config", path, "--data", tmp_path / "d", "--listen", "127.0.0.1:0", **helper(script, form))
    assert done.returncode == 2 and "hunter2" not in done.stderr
    assert f"{path}:2: registries.quay.io.credential_helper: docker-credential-test" in done.stderr and reason in done.stderr


@pytest.mark.parametrize("other", ["credential_helper", "token_file", "docker_config"])
def test_two_ways_to_one_credential_are_a_mistake(file, other):
    done = run("check-config", file.write('{"registries": {"a.io": {"username": "u",\n"%s": "x"}}}' % other))
    assert done.returncode == 2 and f"{file.path}:2: registries.a.io: only one of" in done.stderr


def test_a_token_of_a_file_is_sent_as_it_is_and_to_the_origin_alone(fake, other, begin, tmp_path, demo):
    """A token of a machine, as some clouds and Kubernetes hand out: no token service is asked."""
    fake.auth = "bearer"
    fake.token.issued["of-a-machine"] = ("repository:library/demo:pull", float("inf"))
    fake.use_cdn()
    secret = tmp_path / "token"
    secret.write_text("of-a-machine\n")
    mirror = begin({"registries": {"docker.io": {"origin": fake.url, "mirrors": [other.url], "token_file": str(secret)}}})
    assert mirror.manifest("demo", "latest").body == demo.manifest
    for digest, data in demo.blobs.items():
        assert mirror.blob("demo", digest).body == data
    assert not fake.asked("token ") and {r.header("authorization") for r in fake.asked("registry ")} == {"Bearer of-a-machine"}
    assert {r.header("authorization") for r in [*other.asked(), *fake.asked("cdn ")]} == {None}
    fake.token.revoke()
    refused = mirror.manifest("demo", "none")
    assert refused.status == 502 and "rejects the configured credential" in message_of(refused)
    assert "of-a-machine" not in mirror.stderr + refused.body.decode()
    secret.write_text("another\n")
    fake.token.issued["another"] = ("repository:library/demo:pull", float("inf"))
    assert reload(mirror)["registries"] != "the same"
    assert mirror.manifest("demo", "none").status == 404


# --- how a registry is reached ------------------------------------------------------------------------------------------


@pytest.fixture
def secure(certificate):
    """Over TLS; self-signed, so that its certificate is its authority and a client's, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.load_verify_locations(certificate[0])
    fake = FakeRegistry(tls=context)
    yield fake
    fake.heal()
    fake.stop()


def test_a_registry_is_checked_with_its_own_authorities_and_its_cdn_and_realm_too(secure, begin, certificate):
    demo = secure.add("library/demo", images.image([images.random_bytes(100_000, "tls")]), "latest")
    secure.auth = "bearer"
    secure.use_cdn()
    secure.fault("registry .*/manifests/", count=1, status=401)  # without a challenge: /v2/ is asked for one
    mirror = begin(one_registry(secure.url, ca_file=certificate[0]))
    assert mirror.manifest("demo", "latest").body == demo.manifest
    assert mirror.blob("demo", demo.layer).body == demo.blobs[demo.layer]
    assert secure.asked("cdn") and secure.asked("token")


def test_authorities_of_one_registry_are_not_those_of_another(secure, fake, begin, certificate):
    secure.add("library/demo", images.image([]), "latest")
    what = one_registry(fake.url, ca_file=certificate[0])
    what["registries"]["quay.io"] = {"origin": secure.url}
    mirror = begin(what)
    assert mirror.manifest("quay.io/library/demo", "latest").status == 502
    assert not secure.asked()


@pytest.mark.parametrize("is_given", [True, False])
def test_a_client_certificate_opens_a_registry_that_wants_one(secure, begin, certificate, is_given):
    demo = secure.add("library/demo", images.image([images.random_bytes(1000, "mtls")]), "latest")
    secure.tls.verify_mode = ssl.CERT_REQUIRED
    own = {"client_certificate": certificate[0], "client_key": certificate[1]} if is_given else {}
    mirror = begin(one_registry(secure.url, ca_file=certificate[0], **own))
    reply = mirror.manifest("demo", "latest")
    assert (reply.body == demo.manifest) if is_given else (reply.status == 502)


def test_a_client_certificate_is_not_shown_where_a_redirect_leads(secure, begin, certificate):
    """The fake's CDN and registry share the demand for a certificate; as another origin the CDN gets none."""
    demo = secure.add("library/demo", images.image([images.random_bytes(100_000, "cdn")]), "latest")
    secure.tls.verify_mode = ssl.CERT_REQUIRED
    secure.use_cdn()
    mirror = begin(one_registry(secure.url, ca_file=certificate[0], client_certificate=certificate[0], client_key=certificate[1]))
    assert mirror.manifest("demo", "latest").status == 200
    assert mirror.blob("demo", demo.layer).status == 502
    assert not secure.asked("cdn")


def test_a_registry_has_its_own_proxy(fake, other, begin, demo):
    what = one_registry("http://registry.invalid:5000", proxy=fake.url)
    what["registries"]["quay.io"] = {"origin": other.url}
    mirror = begin(what, {"http_proxy": "http://127.0.0.1:1", "no_proxy": "127.0.0.1"})
    assert mirror.manifest("demo", "latest").body == demo.manifest
    assert all(r.target.startswith("http://registry.invalid:5000/v2/") for r in fake.asked("registry"))
    assert mirror.manifest("quay.io/library/demo", "latest").status == 404 and other.asked()


# --- SIGHUP -------------------------------------------------------------------------------------------------------------


def test_sighup_changes_what_is_asked_next_and_leaves_what_is_in_flight(fake, other, begin, file):
    digest = fake.add_blob("a/b", DATA)
    theirs = other.add("a/b", images.image([images.random_bytes(1000, "theirs")]), "latest")
    fault = fake.fault("registry GET .*/blobs/", stall_at=1_000_000)
    mirror = begin(registries(docker_io=fake.url))
    client = mirror.wire()
    client.ask(f"/v2/a/b/blobs/{digest}")
    client.head()
    assert client.drain(999_999, DATA) == 999_999
    file.write(registries(docker_io=other.url))
    assert reload(mirror)["registries"] == "changed"
    assert mirror.manifest("a/b", "latest").body == theirs.manifest
    fault.release()
    rest = len(DATA) - 999_999
    assert client.drain(rest, DATA, 999_999) == rest
    client.close()


def test_a_broken_file_is_refused_with_every_mistake_and_the_old_stays(fake, begin, file, demo):
    mirror = begin(registries(docker_io=fake.url) | {"tag_ttl": "0s"})
    file.write('{"registries": {"quay.io": {}},\n"threads": "x",\n"lisen": 1}')
    assert reload(mirror, is_good=False)["mistakes"] == 2
    told = [e["mistake"] for e in mirror.log() if "mistake" in e]
    assert [line.removeprefix(f"{file.path}:").partition(" ")[0] for line in told] == ["2:", "3:"]
    assert mirror.manifest("demo", "latest").body == demo.manifest
    assert code_of(mirror.get("/v2/a/b/manifests/latest?ns=quay.io")) == "NAME_UNKNOWN"
    file.path.unlink()
    assert reload(mirror, is_good=False)["mistakes"] == 1
    assert mirror.manifest("demo", "latest").status == 200
    file.write(registries(docker_io=fake.url, quay_io=fake.url))
    assert reload(mirror)["registries"] == "changed"
    assert code_of(mirror.get("/v2/a/b/manifests/latest?ns=quay.io")) == "MANIFEST_UNKNOWN"


def test_what_only_a_restart_changes_is_told(fake, begin, file):
    what = registries(docker_io=fake.url)
    mirror = begin(what)
    file.write(what | {"threads": 3, "memory": "2MiB", "log_level": "error", "listen": [":1"]})
    assert reload(mirror)["registries"] == "the same"
    told = [e["option"] for e in mirror.log() if e["message"] == "a changed option needs a restart"]
    assert sorted(told) == ["memory", "threads"]  # listen and log_level are the command line's


def test_a_hundred_reloads_under_load_fail_no_request_and_keep_nothing(fake, other, begin, file, demo):
    here, there = registries(docker_io=fake.url), registries(docker_io=fake.url, quay_io=other.url)
    mirror = begin(here, log_level=None)  # the file's: a line for each of so many requests only delays the test
    over, failures, answered = threading.Event(), [], []

    def pull():
        with mirror.wire() as client:
            while not over.is_set():
                reply = client.exchange("/v2/docker.io/library/demo/manifests/latest?ns=docker.io")
                answered.append(1)
                if reply is None or reply.status != 200 or reply.body != demo.manifest:
                    failures.append(reply)
                    return

    def knows_quay():
        return code_of(mirror.get("/v2/a/b/manifests/latest?ns=quay.io")) != "NAME_UNKNOWN"

    clients = [threading.Thread(target=pull) for _ in range(2)]
    for client in clients:
        client.start()
    try:
        for k in range(100):
            if k == 20:
                descriptors, kilobytes = held_by(mirror)
            file.write((here if k % 2 else there) | {"log_level": "off"})
            mirror.process.send_signal(signal.SIGHUP)
            wait_until(lambda: knows_quay() == (k % 2 == 0), what="the new configuration")
        descriptors_then, kilobytes_then = held_by(mirror)
    finally:
        over.set()
        for client in clients:
            client.join()
    assert not failures and answered
    assert descriptors_then <= descriptors + 2
    if not is_instrumented():  # those keep freed memory for a while
        assert kilobytes_then < kilobytes + 8_000
