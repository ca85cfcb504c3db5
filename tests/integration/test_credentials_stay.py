# SPDX-License-Identifier: Apache-2.0
"""Where a credential goes: the origin it was given for, and that origin's own token service. Every request that any
server got is looked at, whatever mirrors, redirects and realms try, in whatever form the credential was given."""

import base64
import json
import ssl

import images
import pytest
from fake_registry import FakeRegistry
from harness import Tranship, at_once, message_of

NAME = "library/app"
USER, PASSWORD, TOKEN = "me", "s3cret-of-the-origin", "t0ken-of-the-origin"
PAIR = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
CLIENTS = "s3cret-of-the-client"
MIRROR_USER, MIRROR_PASSWORD = "mirror-user", "s3cret-of-the-mirror"


def blobs_at(url):
    return lambda digest: (307, f"{url}/v2/{NAME}/blobs/{digest}")


def bearer(realm):
    return {"WWW-Authenticate": f'Bearer realm="{realm}",service="fake.registry",scope="repository:{NAME}:pull"'}


class Trio:
    """An origin that wants a credential, a mirror that wants none (or its own), and a bystander that nobody named. The
    origin is http://localhost, so that the others are other hosts."""

    def __init__(self, registry, form="password", tls=None):
        self.registry, self.form = registry, form
        self.origin, self.mirror, self.stranger = FakeRegistry(tls=tls), FakeRegistry(), FakeRegistry()
        self.all = {"origin": self.origin, "mirror": self.mirror, "stranger": self.stranger}
        for server in [] if tls else self.origin.running:
            server.url = server.url.replace("127.0.0.1", "localhost")
        self.image = images.image([images.random_bytes(100_000, registry), b"small"], annotations={"of": registry})
        for fake in self.all.values():
            fake.add(NAME, self.image, "v1", "v2")
        self.origin.auth = "basic" if form == "basic" else "bearer"
        self.origin.users = {USER: PASSWORD}
        self.origin.private = {NAME}
        self.origin.token.issued[TOKEN] = (f"repository:{NAME}:pull", float("inf"))

    def config(self, folder, mirror=None, **more):
        words = {"password": PASSWORD, "basic": PASSWORD, "token": TOKEN,
                 "docker": json.dumps({"auths": {self.registry: {"auth": PAIR}}})}[self.form]
        secret = folder / f"{self.registry}.{self.form}"
        secret.write_text(words + "\n")
        secret.chmod(0o600)
        keys = {"token": {"token_file": str(secret)}, "docker": {"docker_config": str(secret)}}.get(
            self.form, {"username": USER, "password_file": str(secret)})
        return {self.registry: {"origin": self.origin.url, "mirrors": [mirror or self.mirror.url], **keys, **more}}

    @property
    def stranger_as(self):
        """Its port under another name."""
        return lambda host: self.stranger.url.replace("127.0.0.1", host)

    @property
    def strange_realm(self):
        return f"{self.stranger.token.server.url}/token"

    def mirror_challenges(self, realm):
        self.mirror.fault("registry (GET|HEAD)", status=401, headers=bearer(realm))

    def origin_challenges(self, realm):
        self.origin.challenge = bearer(realm)["WWW-Authenticate"]

    def lead_on(self, auth, **more):
        """The origin redirects to a host that wants to know who asks."""
        self.origin.redirect = blobs_at(self.stranger.url)
        self.stranger.auth = auth
        self.stranger.challenge = more.get("challenge")

    def urls_in_the_manifest(self):
        """Where a foreign layer is said to be."""
        document = json.loads(self.image.manifest)
        for layer in document["layers"]:
            layer["urls"] = [f"{self.stranger.url}/v2/{NAME}/blobs/{layer['digest']}"]
        self.image = images.Image(images.OCI_MANIFEST, document, self.image.blobs.values())
        for fake in self.all.values():
            fake.add(NAME, self.image, "v1", "v2")

    def seen(self, secrets):
        """The servers that were shown one of them: {(fake, server of it)}."""
        found = set()
        for name, fake in self.all.items():
            for request in fake.asked():
                text = repr((request.target, request.headers, request.body))
                if any(secret in text for secret in secrets):
                    found.add((name, request.server))
        return found

    @property
    def tokens(self):
        """Those that the credential bought. What anybody gets for nothing is no secret."""
        return [token for token, user in self.origin.token.owners.items() if user]

    def end(self):
        for fake in self.all.values():
            fake.stop()


TRICKS = {
    "none": lambda w: None,
    # of a mirror
    "mirror wants a token of its own": lambda w: setattr(w.mirror, "auth", "bearer"),
    "mirror wants basic": lambda w: setattr(w.mirror, "auth", "basic"),
    "mirror names the origin's realm": lambda w: w.mirror_challenges(f"{w.origin.token.server.url}/token"),
    "mirror names a stranger's realm": lambda w: w.mirror_challenges(w.strange_realm),
    "mirror redirects to the origin": lambda w: setattr(w.mirror, "redirect", blobs_at(w.origin.url)),
    "mirror redirects to a stranger": lambda w: setattr(w.mirror, "redirect", blobs_at(w.stranger.url)),
    "mirror redirects to a stranger who names the origin's realm": lambda w: (
        setattr(w.mirror, "redirect", blobs_at(w.stranger.url)), setattr(w.stranger, "auth", "bearer"),
        setattr(w.stranger, "challenge", bearer(f"{w.origin.token.server.url}/token")["WWW-Authenticate"])),
    "mirror is gone": lambda w: w.mirror.fault("registry", hangup=True),
    "mirror lies": lambda w: w.mirror.fault("registry GET .*blobs", corrupt_at=5),
    # of an origin that was taken over, or of its storage
    "a CDN": lambda w: w.origin.use_cdn(),
    "a redirect to another host": lambda w: setattr(w.origin, "redirect", blobs_at(w.stranger.url)),
    "a redirect to another port": lambda w: setattr(w.origin, "redirect", blobs_at(w.stranger_as("localhost"))),
    "a redirect to a subdomain": lambda w: setattr(w.origin, "redirect", blobs_at(w.stranger_as("cdn.localhost"))),
    "a redirect to the mirror": lambda w: setattr(w.origin, "redirect", blobs_at(w.mirror.url)),
    "a redirect of a manifest": lambda w: w.origin.fault(
        "GET .*manifests/sha256", status=302, headers={"Location": f"{w.stranger.url}/v2/{NAME}/manifests/{w.image.digest}"}),
    "a redirect with a user in it": lambda w: setattr(w.origin, "redirect", blobs_at(w.stranger_as("localhost@127.0.0.1"))),
    "a redirect to who wants a token": lambda w: w.lead_on("bearer"),
    "a redirect to who wants basic": lambda w: w.lead_on("basic"),
    "a redirect to who names the origin's realm": lambda w: w.lead_on(
        "bearer", challenge=bearer(f"{w.origin.token.server.url}/token")["WWW-Authenticate"]),
    "a redirect to and fro": lambda w: (
        setattr(w.origin, "redirect", blobs_at(w.stranger.url)), setattr(w.stranger, "redirect", blobs_at(w.origin.url))),
    "a challenge in mid-pull": lambda w: w.origin.fault("registry GET .*blobs", count=1, status=401, headers=bearer(
        f"{w.origin.token.server.url}/token")),
    "a page of tags elsewhere": lambda w: w.origin.fault(
        "tags/list", count=1, headers={"Link": f'<{w.stranger.url}/v2/{NAME}/tags/list?last=v1>; rel="next"'}),
    "urls in the manifest": lambda w: w.urls_in_the_manifest(),
    # of realms
    "a realm on another host": lambda w: w.origin_challenges(w.strange_realm),
    "a realm on a subdomain": lambda w: w.origin_challenges(w.strange_realm.replace("127.0.0.1", "auth.localhost")),
    "a realm with a user in it": lambda w: w.origin_challenges(w.strange_realm.replace("127.0.0.1", "localhost@127.0.0.1")),
    "a realm without a scheme": lambda w: w.origin_challenges(w.strange_realm.removeprefix("http:")),
    "a realm that redirects": lambda w: w.origin.fault("token", status=307, headers={"Location": w.strange_realm}),
}
LEADS_AWAY = {trick for trick in TRICKS if trick.startswith("a redirect")} - {"a redirect to the mirror", "a redirect with a user in it"}
# What of the credential is shown to whom; a token that it bought goes to the origin's registry.
FORMS = {"password": ([PASSWORD, PAIR], {("origin", "token")}), "docker": ([PASSWORD, PAIR], {("origin", "token")}),
         "basic": ([PASSWORD, PAIR], {("origin", "registry")}), "token": ([TOKEN], {("origin", "registry")})}


def serve(folder, trios, **options):
    config = folder / "tranship.json"
    registries = {name: keys for trio in trios for name, keys in trio.config(folder).items()}
    config.write_text(json.dumps({"registries": registries, "default_registry": trios[0].registry}))
    return Tranship(folder / "data", None, {"config": config, "header-timeout": "2s", **options}).ready()


@pytest.mark.parametrize("is_mirror_out", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_a_credential_and_the_tokens_that_it_bought_stay_with_the_origin(tmp_path, form, is_mirror_out):
    """The client shows one, too: of whoever is asked next, nobody sees that."""
    trios = {trick: Trio(f"t{n}.example", form) for n, trick in enumerate(TRICKS)}
    for trick, trio in trios.items():
        TRICKS[trick](trio)
        if is_mirror_out:  # so that the origin's own tricks are played to the end
            trio.mirror.fault("registry .*(blobs|manifests)", status=404)
    mirror = serve(tmp_path, list(trios.values()))

    def check(trick):
        trio = trios[trick]
        digests = list(trio.image.blobs)
        for path in ("manifests/v1", f"manifests/{trio.image.digest}", *(f"blobs/{digest}" for digest in digests), "tags/list"):
            reply = mirror.get(f"/v2/{trio.registry}/{NAME}/{path}", {"Authorization": f"Basic {CLIENTS}"})
            assert reply.status in (200, 404, 502, 503), (path, reply)
            if reply.status == 200 and "blobs" in path and reply.is_whole:
                assert reply.body == trio.image.blobs[path.split("/")[1]]
        secrets, wanted = FORMS[form]
        is_for_nobody = trick.startswith("a realm") and trick != "a realm that redirects" and form != "token"
        also = {("origin", "token")} if form == "basic" else set()  # where the origin asks for a token after all
        shown = trio.seen(secrets)
        assert shown == set() if is_for_nobody else wanted <= shown <= wanted | also, shown
        if is_mirror_out and trick in LEADS_AWAY:
            assert trio.stranger.asked(), "nobody went there: this shows nothing"
        assert trio.seen(trio.tokens) <= {("origin", "registry")}
        assert trio.seen([CLIENTS]) == set()
        for secret in [*secrets, *trio.tokens]:
            assert secret not in mirror.stderr

    try:
        at_once(check, TRICKS)
        mirror.stop()
    finally:
        mirror.kill()
        for trio in trios.values():
            trio.end()


@pytest.fixture
def trio(tmp_path):
    """One of them, with start(): a mirror before it."""
    trio = Trio("docker.io")
    begun = []

    def start(mirror=None, **more):
        config = tmp_path / "tranship.json"
        config.write_text(json.dumps({"registries": trio.config(tmp_path, mirror, **more)}))
        begun.append(Tranship(tmp_path / "data", None, {"config": config, "header-timeout": "2s"}).ready())
        return begun[-1]

    trio.start = start
    yield trio
    for one in begun:
        one.stop()
    trio.end()


def test_a_realm_of_another_host_that_the_configuration_names_gets_it(trio):
    """And that one alone."""
    trio.origin_challenges(f"{trio.origin.token.server.url}/token".replace("localhost", "127.0.0.1"))
    trio.mirror.fault("registry", status=404)
    first = trio.start()
    refused = first.manifest("app", "v1")
    first.stop()
    assert refused.status == 502 and "none of the realms that may see the credential" in message_of(refused)
    assert trio.seen([PASSWORD, PAIR]) == set()
    mirror = trio.start(realms=["127.0.0.1"])
    assert mirror.manifest("app", "v1").body == trio.image.manifest
    assert trio.seen([PASSWORD, PAIR]) == {("origin", "token")}


def test_a_mirrors_credential_is_its_own(trio, tmp_path):
    """Each source is shown what was given for it."""
    trio.mirror.auth = "basic"
    trio.mirror.users = {MIRROR_USER: MIRROR_PASSWORD}
    trio.mirror.redirect = lambda digest: (307, f"{trio.stranger.url}/v2/{NAME}/blobs/{digest}")
    (tmp_path / "mirror-secret").write_text(MIRROR_PASSWORD)
    mirror = trio.start({"url": trio.mirror.url, "username": MIRROR_USER, "password_file": str(tmp_path / "mirror-secret")})
    assert mirror.blob("app", trio.image.layer).body == trio.image.blobs[trio.image.layer]
    assert mirror.manifest("app", "v1").body == trio.image.manifest
    pair = base64.b64encode(f"{MIRROR_USER}:{MIRROR_PASSWORD}".encode()).decode()
    assert trio.seen([MIRROR_PASSWORD, pair]) == {("mirror", "registry")}
    assert trio.seen([PASSWORD, PAIR]) == {("origin", "token")}
    assert trio.stranger.asked("blobs") and not trio.origin.asked("blobs")


@pytest.mark.parametrize("trick", ["realm", "redirect", "redirect of a token"])
def test_what_was_given_for_https_never_goes_out_in_the_clear(tmp_path, certificate, trick):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    trio = Trio("docker.io", tls=context)
    clear = f"http://127.0.0.1:{trio.stranger.token.server.port}/token"
    if trick == "realm":
        trio.origin_challenges(clear)
    elif trick == "redirect":
        trio.origin.redirect = blobs_at(trio.stranger.url)
    else:
        trio.origin.fault("token", status=307, headers={"Location": clear})
    config = tmp_path / "tranship.json"
    config.write_text(json.dumps({"registries": trio.config(tmp_path, ca_file=str(certificate[0]), mirrors=[trio.mirror.url])}))
    trio.mirror.fault("registry", status=404)
    mirror = Tranship(tmp_path / "data", None, {"config": config}).ready()
    try:
        assert mirror.manifest("app", "v1").status == (200 if trick == "redirect" else 502)
        assert mirror.blob("app", trio.image.layer).status == 502
        assert not trio.stranger.asked()
        assert trio.seen([PASSWORD, PAIR]) == (set() if trick == "realm" else {("origin", "token")})
        mirror.stop()
    finally:
        mirror.kill()
        trio.end()
