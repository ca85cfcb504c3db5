# SPDX-License-Identifier: Apache-2.0
"""What was fetched with a credential is given under the repository that it came from, and nowhere else."""

import json

import images
import pytest
from fake_registry import FakeRegistry
from harness import Tranship

SECRET = images.random_bytes(200_000, "secret")


@pytest.fixture
def mirror(fake, known_to_upstream):
    fake.auth = "bearer"
    fake.users = {"me": "secret"}
    fake.private = {"team/private"}
    return known_to_upstream("me", "secret")


def test_a_manifest_that_names_anothers_layer_does_not_open_it(fake, mirror):
    """Whoever can push to one repository can write the digest of a layer of another into a manifest."""
    private = fake.add("team/private", images.image([SECRET]), "v1")
    assert mirror.blob("team/private", private.layer).body == SECRET
    mirror.wait_held(private.layer)
    thief = fake.add("team/open", images.image([SECRET]), "v1")
    del fake.repository("team/open").blobs[private.layer]
    assert mirror.manifest("team/open", "v1").body == thief.manifest
    refused = mirror.blob("team/open", private.layer)
    assert refused.status == 404 and SECRET[:100] not in refused.body
    assert mirror.get(f"/v2/team/open/blobs/{private.layer}", {"Range": "bytes=0-9"}).status == 404
    assert mirror.blob("team/private", private.layer).body == SECRET


def test_what_the_upstream_confirms_is_proven_once_and_outlives_a_restart(fake, mirror, known_to_upstream):
    image = fake.add("team/private", images.image([SECRET]), "v1")
    other = fake.add("team/open", images.image([SECRET]), "v1")
    assert mirror.blob("team/private", image.layer).body == SECRET
    mirror.wait_held(image.layer)
    mirror.manifest("team/open", "v1")
    fake.forget()
    for _ in range(3):
        assert mirror.blob("team/open", other.layer).body == SECRET
    asked = fake.asked(f"registry .*team/open/blobs/{other.layer}")
    assert {r.method for r in asked} == {"HEAD"} and sum(r.status == 200 for r in asked) == 1
    assert fake.sent(other.layer) == 0
    mirror.stop()
    fake.forget()
    assert known_to_upstream("me", "secret").blob("team/open", other.layer).body == SECRET
    assert not fake.asked()


def test_a_cold_pull_asks_no_more_than_without_a_credential(fake, mirror):
    image = fake.add("team/private", images.image([SECRET, b"small"]), "v1")
    assert mirror.manifest("team/private", "v1").body == image.manifest
    fake.forget()
    for digest, data in image.blobs.items():
        assert mirror.blob("team/private", digest).body == data
    assert [r.method for r in fake.asked("registry") if r.status == 200] == ["GET"] * len(image.blobs)


def test_without_a_credential_a_manifests_children_are_its_own(fake, tranship):
    image = fake.add("a/one", images.image([SECRET]), "v1")
    assert tranship.blob("a/one", image.layer).body == SECRET
    tranship.wait_held(image.layer)
    fake.add("a/two", images.image([SECRET]), "v1")
    tranship.manifest("a/two", "v1")
    fake.forget()
    assert tranship.blob("a/two", image.layer).body == SECRET
    assert not fake.asked()


# --- by every way to a registry -----------------------------------------------------------------------------------------

ROUTES = {"default": ("/v2", {}), "ns": ("/v2", {"ns": "corp.example"}), "prefix": ("/v2/corp.example", {}),
          "prefix before": ("/corp.example/v2", {}), "host": ("/v2", {"host": "corp.mirror.lan"})}


@pytest.fixture
def corporate(tmp_path, fake):
    """corporate(**options): a mirror to which corp.example, the default, is known by a credential, and public.example not."""
    public, begun = FakeRegistry(), []
    secret = tmp_path / "secret"
    secret.write_text("secret")
    fake.auth, fake.users, fake.private = "bearer", {"me": "secret"}, {"team/private"}
    config = tmp_path / "tranship.json"
    config.write_text(json.dumps({"default_registry": "corp.example", "registries": {
        "corp.example": {"origin": fake.url, "username": "me", "password_file": str(secret), "hosts": ["corp.mirror.lan"]},
        "public.example": {"origin": public.url}}}))
    public.add("team/open", images.image([b"public"]), "v1")

    def begin(**options):
        for one in begun:
            one.stop()
        begun.append(Tranship(tmp_path / "data", None, {"config": config, "negative-ttl": "0s", "tag-ttl": "0s", **options}))
        return begun[-1].ready()

    begin.public = public
    yield begin
    for one in begun:
        one.stop()
    public.stop()


def ask(mirror, base, repository, what, method="GET", ns=None, host=None, headers=None):
    with mirror.wire() as client:
        more = dict(headers or {}, **({"Host": host} if host else {}))
        return client.exchange(f"{base}/{repository}/{what}" + (f"?ns={ns}" if ns else ""), method, headers=more)


@pytest.mark.parametrize("mode", ["online", "prefer-cache", "offline"])
def test_nothing_private_is_given_under_another_name_by_any_way(fake, corporate, mode):
    image = fake.add("team/private", images.image([SECRET, b"small secret"]), "v1")
    signature = fake.add("team/private", images.artifact(image, "application/x.signature", "signed"))
    thief = fake.add("team/open", images.Image(image.media_type, json.loads(image.manifest) | {"annotations": {"a": "b"}}, []), "v1")
    mirror = corporate()
    paths = {f"manifests/{i.digest}": i.manifest for i in (image, signature)}
    paths |= {f"blobs/{digest}": data for digest, data in image.blobs.items()}
    for what, data in paths.items():
        assert mirror.get(f"/v2/team/private/{what}").body == data
        mirror.wait_hit(f"/v2/team/private/{what}")
    assert mirror.manifest("team/private", "v1").body == image.manifest
    assert signature.digest in mirror.get(f"/v2/team/private/referrers/{image.digest}").body.decode()
    assert mirror.manifest("team/open", "v1").body == thief.manifest  # it names all of the private blobs
    mirror.wait_hit(f"/v2/team/open/manifests/{thief.digest}")
    mirror = corporate(mode=mode)
    others = [("team/open", how) for how in ROUTES.values()] + [("team/open", ("/v2/public.example", {})), ("team/none", ROUTES["default"])]
    for repository, (base, how) in others:
        for what, data in paths.items():
            for method, headers in (("GET", {}), ("HEAD", {}), ("GET", {"Range": "bytes=0-9"})):
                reply = ask(mirror, base, repository, what, method, headers=headers, **how)
                assert reply.status == 404 and data[:10] not in reply.body, (base, repository, what, reply)
        reply = ask(mirror, base, repository, f"referrers/{image.digest}", **how)
        assert signature.digest.encode() not in reply.body, (base, repository, reply)
        for what in ("tags/list", "manifests/v1"):
            assert image.digest not in repr(ask(mirror, base, repository, what, **how).headers)
    for base, how in ROUTES.values():  # and under its own it is, by each of them
        for what, data in paths.items():
            assert ask(mirror, base, "team/private", what, **how).body == data
        assert ask(mirror, base, "team/private", "manifests/v1", **how).body == image.manifest
        assert b'"v1"' in ask(mirror, base, "team/private", "tags/list", **how).body


def test_a_stranger_at_an_open_registry_opens_nothing_by_naming_it(fake, corporate):
    """Whoever can push anywhere can write the digests of private layers into a manifest."""
    image = fake.add("team/private", images.image([SECRET, b"small secret"]), "v1")
    mirror = corporate()
    open_registry = corporate.public
    thief = open_registry.add("evil/open", images.Image(image.media_type, json.loads(image.manifest) | {"annotations": {"a": "b"}}, []), "v1")
    pulled = {digest: data for digest, data in image.blobs.items() if data != b"small secret"}
    assert mirror.manifest("team/private", "v1").body == image.manifest
    for digest, data in pulled.items():
        assert mirror.blob("team/private", digest).body == data
        mirror.wait_hit(f"/v2/team/private/blobs/{digest}")
    assert mirror.manifest("public.example/evil/open", "v1").body == thief.manifest
    mirror.wait_hit(f"/v2/public.example/evil/open/manifests/{thief.digest}")
    for mode in ("online", "prefer-cache", "offline"):
        one = corporate(mode=mode)
        for digest, data in pulled.items():
            for method, headers in (("GET", {}), ("HEAD", {}), ("GET", {"Range": "bytes=0-9"})):
                with one.wire() as client:
                    reply = client.exchange(f"/v2/public.example/evil/open/blobs/{digest}", method, headers=headers)
                assert reply.status == 404 and data[:10] not in reply.body, (digest, method, reply)


def test_what_an_open_registry_gave_is_open_to_all_that_name_it(fake, corporate):
    """A shared base layer costs no question, although another registry is known by a credential."""
    mirror = corporate()
    open_registry = corporate.public
    one = open_registry.add("a/one", images.image([SECRET, b"one"]), "v1")
    two = open_registry.add("a/two", images.image([SECRET, b"two"]), "v1")
    shared = next(d for d, b in one.blobs.items() if b is SECRET)
    assert mirror.blob("public.example/a/one", shared).body == SECRET
    mirror.wait_hit(f"/v2/public.example/a/one/blobs/{shared}")
    assert mirror.manifest("public.example/a/two", "v1").body == two.manifest
    open_registry.forget()
    for _ in range(2):
        assert mirror.blob("public.example/a/two", shared).body == SECRET
    assert not open_registry.asked()


def test_what_the_upstream_no_longer_gives_us_is_no_longer_given_by_tag(fake, corporate):
    """A credential that lost its right: tags are asked again, and believed."""
    image = fake.add("team/private", images.image([SECRET]), "v1")
    mirror = corporate()
    assert mirror.manifest("team/private", "v1").body == image.manifest
    fake.fault("registry", status=403)
    assert mirror.manifest("team/private", "v1").status == 404
    assert mirror.get("/v2/team/private/tags/list").status == 404
