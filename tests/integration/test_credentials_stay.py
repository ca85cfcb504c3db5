# SPDX-License-Identifier: Apache-2.0
"""Where a credential goes: the origin it was given for, and that origin's own token service. Every request that any
server got is looked at, whatever mirrors, redirects and realms try."""

import base64
import json

import images
import pytest
from fake_registry import FakeRegistry
from harness import Tranship

USER, PASSWORD = "me", "s3cret-of-the-origin"
PAIR = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
MIRROR_USER, MIRROR_PASSWORD = "mirror-user", "s3cret-of-the-mirror"
IMAGE = images.image([images.random_bytes(300_000, "credentials"), b"small"])


class World:
    """An origin that wants a credential, a mirror that wants none (or its own), and a bystander that nobody named."""

    def __init__(self, folder):
        self.folder, self.begun = folder, []
        self.origin, self.mirror, self.stranger = FakeRegistry(), FakeRegistry(), FakeRegistry()
        self.all = {"origin": self.origin, "mirror": self.mirror, "stranger": self.stranger}
        for fake in self.all.values():
            fake.add("library/app", IMAGE, "v1")
        self.origin.auth = "bearer"
        self.origin.users = {USER: PASSWORD}
        self.origin.private = {"library/app"}

    def start(self, mirror=None, **more):
        (self.folder / "secret").write_text(PASSWORD + "\n")
        config = self.folder / "tranship.json"
        config.write_text(json.dumps({"registries": {"docker.io": {
            "origin": self.origin.url, "mirrors": [mirror or self.mirror.url], "username": USER,
            "password_file": str(self.folder / "secret"), **more}}}))
        one = Tranship(self.folder / "data", None, {"config": config, "header-timeout": "2s"}).ready()
        self.begun.append(one)
        return one

    def seen(self, secrets):
        """The servers that were shown one of them: {(fake, server of it)}."""
        found = set()
        for name, fake in self.all.items():
            for request in fake.asked():
                text = repr((request.target, request.headers, request.body))
                if any(secret in text for secret in secrets):
                    found.add((name, request.server))
        return found

    def tokens(self):
        """Those that the credential bought. What anybody gets for nothing is no secret."""
        return [token for token, user in self.origin.token.owners.items() if user]

    def end(self):
        for one in self.begun:
            one.stop()
        for fake in self.all.values():
            fake.stop()


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.end()


def bearer(realm, service="fake.registry"):
    return {"WWW-Authenticate": f'Bearer realm="{realm}",service="{service}",scope="repository:library/app:pull"'}


def challenge(world, realm, service="fake.registry"):
    world.mirror.fault("registry GET|registry HEAD", status=401, headers=bearer(realm, service))


TRICKS = {
    "none": lambda w: None,
    "mirror_wants_a_token_of_its_own": lambda w: setattr(w.mirror, "auth", "bearer"),
    "mirror_wants_basic": lambda w: setattr(w.mirror, "auth", "basic"),
    "mirror_names_the_origins_realm": lambda w: challenge(w, f"{w.origin.token.server.url}/token"),
    "mirror_names_a_strangers_realm": lambda w: challenge(w, f"{w.stranger.token.server.url}/token"),
    "mirror_redirects_to_the_origin": lambda w: w.mirror.fault(
        "registry GET .*blobs", status=307, headers={"Location": f"{w.origin.url}/v2/library/app/blobs/{IMAGE.layer}"}),
    "mirror_redirects_to_a_stranger": lambda w: w.mirror.fault(
        "registry GET", status=307, headers={"Location": f"{w.stranger.url}/v2/library/app/blobs/{IMAGE.layer}"}),
    "mirror_is_gone": lambda w: w.mirror.fault("registry", hangup=True),
    "mirror_lies": lambda w: w.mirror.fault("registry GET .*blobs", corrupt_at=5),
    "origin_has_a_cdn": lambda w: w.origin.use_cdn(),
    "origin_redirects_to_a_stranger": lambda w: w.origin.fault(
        "registry GET .*blobs", status=307, headers={"Location": f"{w.stranger.url}/v2/library/app/blobs/{IMAGE.layer}"}),
    "origin_redirects_to_the_mirror": lambda w: w.origin.fault(
        "registry GET .*blobs", status=302, headers={"Location": f"{w.mirror.url}/v2/library/app/blobs/{IMAGE.layer}"}),
    "origin_challenges_in_mid_pull": lambda w: w.origin.fault("registry GET .*blobs", count=1, status=401, headers=bearer(
        f"{w.origin.token.server.url}/token")),
}


@pytest.mark.parametrize("is_mirror_out", [False, True])
@pytest.mark.parametrize("trick", TRICKS)
def test_the_origins_credential_and_tokens_stay_with_it(world, trick, is_mirror_out):
    TRICKS[trick](world)
    if is_mirror_out:  # so that the origin's own tricks are played to the end
        world.mirror.fault("registry .*(blobs|manifests)", status=404)
    mirror = world.start()
    for path in ("manifests/v1", f"manifests/{IMAGE.digest}", *(f"blobs/{digest}" for digest in IMAGE.blobs), "tags/list"):
        reply = mirror.get(f"/v2/library/app/{path}", {"Authorization": f"Basic {PAIR}"})
        assert reply.status in (200, 404, 502, 503), (path, reply)
        if reply.status == 200 and "blobs" in path and reply.is_whole:
            assert reply.body == IMAGE.blobs[path.split("/")[1]]
    assert world.tokens(), "the origin gave no token: this story shows nothing"
    assert world.seen([PASSWORD, PAIR]) == {("origin", "token")}
    assert world.seen(world.tokens()) <= {("origin", "registry")}
    assert PASSWORD not in mirror.stderr and PAIR not in mirror.stderr
    assert not any(token in mirror.stderr for token in world.tokens())


def test_a_strangers_realm_at_the_origin_gets_no_password(world):
    world.stranger.token.service = world.origin.token.service
    world.origin.challenge = bearer("https://auth.example.org/token")["WWW-Authenticate"]
    mirror = world.start()
    mirror.get("/v2/library/app/manifests/v1")
    assert world.seen([PASSWORD, PAIR]) == set()


def test_a_realm_of_another_host_that_the_configuration_names_gets_it(world):
    """And that one alone: the bystander's does not."""
    realm = world.origin.token.server.url.replace("127.0.0.1", "localhost")
    world.origin.challenge = bearer(f"{realm}/token")["WWW-Authenticate"]
    assert world.start().manifest("app", "v1").status in (404, 502)
    assert world.seen([PASSWORD, PAIR]) == set()
    world.begun.pop().stop()
    mirror = world.start(realms=["localhost"])
    assert mirror.manifest("app", "v1").body == IMAGE.manifest
    assert world.seen([PASSWORD, PAIR]) == {("origin", "token")}


def test_a_mirrors_credential_is_its_own(world):
    """Each source is shown what was given for it."""
    world.mirror.auth = "basic"
    world.mirror.users = {MIRROR_USER: MIRROR_PASSWORD}
    (world.folder / "mirror-secret").write_text(MIRROR_PASSWORD)
    mirror = world.start({"url": world.mirror.url, "username": MIRROR_USER,
                          "password_file": str(world.folder / "mirror-secret")})
    assert mirror.blob("app", IMAGE.layer).body == IMAGE.blobs[IMAGE.layer]
    assert mirror.manifest("app", "v1").body == IMAGE.manifest
    pair = base64.b64encode(f"{MIRROR_USER}:{MIRROR_PASSWORD}".encode()).decode()
    assert world.seen([MIRROR_PASSWORD, pair]) == {("mirror", "registry")}
    assert world.seen([PASSWORD, PAIR]) == {("origin", "token")}
    assert world.mirror.sent(IMAGE.layer) == len(IMAGE.blobs[IMAGE.layer])
