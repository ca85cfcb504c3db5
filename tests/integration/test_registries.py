# SPDX-License-Identifier: Apache-2.0
"""How a request finds its registry, and what a registry's own rules allow of it."""

import json
import re

import images
import pytest
from fake_registry import FakeRegistry
from harness import Tranship, code_of, message_of

HUB, GITHUB, OWN = "docker.io", "ghcr.io", "registry.example.org:8443"


class World:
    def __init__(self, folder):
        self.folder, self.begun = folder, []
        self.fakes = {name: FakeRegistry() for name in (HUB, GITHUB, OWN)}
        self.images = {}
        for name, fake in self.fakes.items():
            self.images[name] = fake.add("owner/app", images.image([name.encode() * 1000]), "v1", "1.2.3")
        self.fakes[HUB].add("library/app", self.images[HUB], "v1")

    def start(self, rules=None, **more):
        registries = {name: {"origin": fake.url, **(rules or {}).get(name, {})} for name, fake in self.fakes.items()}
        config = self.folder / "tranship.json"
        config.write_text(json.dumps({"registries": registries, **more}))
        one = Tranship(self.folder / "data", None, {"config": config}).ready()
        self.begun.append(one)
        return one

    def asked(self):
        return {name for name, fake in self.fakes.items() if fake.asked()}

    def forget(self):
        for fake in self.fakes.values():
            fake.forget()


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    for one in world.begun:
        one.stop()
    for fake in world.fakes.values():
        fake.stop()


# --- the four ways --------------------------------------------------------------------------------------------------
RULES = {GITHUB: {"hosts": ["github.mirror.lan", "GHCR.mirror.lan"]}, OWN: {"hosts": ["own.mirror.lan"]}}
WAYS = [
    (HUB, "/v2/owner/app", {}),
    (HUB, "/v2/app", {}),
    (HUB, "/v2/library/app", {}),
    (HUB, "/v2/docker.io/app", {}),
    (HUB, "/v2/owner/app", {"ns": "index.docker.io"}),
    (HUB, "/v2/app", {"ns": "registry-1.docker.io"}),
    (HUB, "/v2/docker.io/owner/app", {"ns": "docker.io"}),
    (HUB, "/docker.io/v2/owner/app", {}),
    (GITHUB, "/v2/owner/app", {"ns": "ghcr.io"}),
    (GITHUB, "/v2/owner/app", {"ns": "GHCR.IO"}),
    (GITHUB, "/v2/ghcr.io/owner/app", {}),
    (GITHUB, "/v2/ghcr.io/owner/app", {"ns": "ghcr.io"}),
    (GITHUB, "/ghcr.io/v2/owner/app", {}),
    (GITHUB, "/v2/owner/app", {"host": "github.mirror.lan"}),
    (GITHUB, "/v2/owner/app", {"host": "Github.Mirror.LAN:5000"}),
    (GITHUB, "/v2/owner/app", {"host": "ghcr.mirror.lan:80"}),
    (GITHUB, "/v2/ghcr.io/owner/app", {"host": "github.mirror.lan", "ns": "ghcr.io"}),
    (OWN, "/v2/owner/app", {"ns": "registry.example.org%3A8443"}),
    (OWN, "/v2/owner/app", {"ns": "registry.example.org:8443"}),
    (OWN, "/v2/owner/app", {"host": "own.mirror.lan"}),
]


def ask(mirror, path, end="manifests/v1", ns=None, host=None, headers=None):
    with mirror.wire() as client:
        more = dict(headers or {})
        if host:
            more["Host"] = host
        return client.exchange(f"{path}/{end}" + (f"?ns={ns}" if ns else ""), headers=more)


def test_every_way_reaches_its_registry_and_all_one_cache(world):
    mirror = world.start(RULES)
    for name, path, how in WAYS:
        reply = ask(mirror, path, **how)
        assert reply.status == 200 and reply.body == world.images[name].manifest, (name, path, how, reply)
        assert reply.header("oci-namespace") == (how["ns"].replace("%3A", ":") if "ns" in how else None), (path, how)
    for name, path, how in WAYS:  # all of it is held: no way asks again
        world.forget()
        assert ask(mirror, path, **how).body == world.images[name].manifest
        assert world.asked() == set(), (path, how)


@pytest.mark.parametrize("path, how", [
    ("/v2/ghcr.io/owner/app", {"ns": "docker.io"}),
    ("/v2/docker.io/owner/app", {"ns": "ghcr.io"}),
    ("/ghcr.io/v2/docker.io/owner/app", {}),
    ("/v2/owner/app", {"host": "github.mirror.lan", "ns": "docker.io"}),
    ("/v2/docker.io/owner/app", {"host": "github.mirror.lan"}),
])
def test_two_different_registries_in_one_request_are_a_mistake(world, path, how):
    reply = ask(world.start(RULES), path, **how)
    assert reply.status == 400 and code_of(reply) == "NAME_INVALID" and "two registries" in message_of(reply)
    assert world.asked() == set()


@pytest.mark.parametrize("path, how", [
    ("/v2/owner/app", {"ns": "169.254.169.254"}), ("/v2/owner/app", {"ns": "quay.io"}), ("/v2/owner/app", {"ns": "127.0.0.1:1"}),
    ("/v2/quay.io/owner/app", {}), ("/quay.io/v2/owner/app", {}), ("/v2/registry.example.org/owner/app", {}),
])
def test_what_is_not_configured_is_never_dialled(world, path, how):
    for end in ("manifests/v1", "tags/list", f"blobs/{world.images[HUB].layer}"):
        reply = ask(world.start(RULES) if not world.begun else world.begun[0], path, end, **how)
        assert reply.status == 404 and code_of(reply) == "NAME_UNKNOWN" and "not one that this mirror serves" in message_of(reply)
    assert world.asked() == set()


def test_another_default(world):
    mirror = world.start(RULES, default_registry="ghcr.io")
    assert ask(mirror, "/v2/owner/app").body == world.images[GITHUB].manifest
    assert ask(mirror, "/v2/docker.io/app").body == world.images[HUB].manifest
    assert ask(mirror, "/v2/app").status == 404  # library/ is of docker.io alone


def test_ns_and_prefix_stay_in_the_links_of_pages_and_lead_to_the_end(world):
    tags = {name: sorted(f"{name[0]}{n}" for n in range(7)) for name in world.fakes}
    for name, fake in world.fakes.items():
        repository = fake.repository("owner/app")
        repository.tags = {tag: world.images[name].digest for tag in tags[name]}
        fake.repository("library/app").tags = dict(repository.tags)
    mirror = world.start(RULES)
    for name, path, how in WAYS:
        found, target = [], f"{path}/tags/list?n=3" + (f"&ns={how['ns']}" if "ns" in how else "")
        while target:
            with mirror.wire() as client:
                reply = client.exchange(target, headers={"Host": how["host"]} if "host" in how else {})
            assert reply.status == 200 and target.startswith(f"{path}/tags/list?") and ("ns=" in target) == ("ns" in how), (target, reply)
            found += json.loads(reply.body)["tags"]
            link = reply.header("link")
            target = link and re.fullmatch(r'<(/[^>]+)>; rel="next"', link)[1]
        assert found == tags[name], (name, path, how)


def test_a_version_in_the_middle_of_a_path_is_told_for_the_mistake_that_it_is(world):
    """What containerd asks of http://HOST:5000/v2/ghcr.io without override_path."""
    reply = ask(world.start(RULES), "/v2/ghcr.io/v2/owner/app")
    assert reply.status == 404 and "override_path" in message_of(reply) and world.asked() == set()


# --- rules ----------------------------------------------------------------------------------------------------------
def test_allow_and_deny_hold_for_all_of_a_repository(world):
    fake = world.fakes[HUB]
    image = world.images[HUB]
    for repository in ("library/app", "grafana/grafana", "team/deep/app", "team/deep/cryptominer", "other/app"):
        fake.add(repository, image, "v1")
    rules = {HUB: {"allow": ["library/*", "grafana/*", "team/*"], "deny": ["*/cryptominer"]}}
    mirror = world.start(rules)
    ends = ("manifests/v1", f"manifests/{image.digest}", f"blobs/{image.layer}", "tags/list", f"referrers/{image.digest}")
    for repository in ("app", "grafana/grafana", "team/deep/app", "docker.io/library/app"):
        assert [ask(mirror, f"/v2/{repository}", end).status for end in ends] == [200] * len(ends), repository
    world.forget()
    for repository, rule in (("other/app", "allow"), ("team/deep/cryptominer", '"*/cryptominer"'), ("docker.io/other/app", "allow")):
        for end in ends:
            reply = ask(mirror, f"/v2/{repository}", end)
            assert reply.status == 403 and code_of(reply) == "DENIED" and rule in message_of(reply), (repository, end)
    assert world.asked() == set()
    assert ask(mirror, "/v2/ghcr.io/other/app").status == 404  # the rules are docker.io's


def test_what_is_held_already_is_denied_too(world):
    mirror = world.start()
    assert ask(mirror, "/v2/owner/app").status == 200
    mirror.stop()
    mirror = world.start({HUB: {"deny": ["owner/*"]}}, mode="prefer-cache")
    assert ask(mirror, "/v2/owner/app").status == 403


def test_a_registrys_own_time_for_tags_and_tags_that_never_move(world):
    mirror = world.start({GITHUB: {"tag_ttl": "0s", "immutable_tags": ["[0-9]*.[0-9]*.[0-9]*"]}}, tag_ttl="1h")
    for registry in (HUB, GITHUB):
        for tag in ("v1", "1.2.3"):
            ask(mirror, f"/v2/{registry}/owner/app", f"manifests/{tag}")
    world.forget()
    for registry in (HUB, GITHUB):
        for tag in ("v1", "1.2.3"):
            assert ask(mirror, f"/v2/{registry}/owner/app", f"manifests/{tag}").status == 200
    assert not world.fakes[HUB].asked()
    assert [r.method for r in world.fakes[GITHUB].asked()] == ["HEAD"]
    assert len(world.fakes[GITHUB].asked("manifests/v1")) == 1
