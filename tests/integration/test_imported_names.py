# SPDX-License-Identifier: Apache-2.0
"""What was imported is served under the name that it came with, by every route and whatever the configuration names, and
for such a name nobody is ever dialled."""

import json

import bundles
import images
import pytest
from bundles import archive, command, layout
from harness import code_of, message_of, wait_until

NAMES = ["images.example/owner/app", "registry.lan:5000/team/app", "localhost/app"]
CONFIGURED = ["docker.io/owner/app", "quay.io/owner/app"]  # without a word of ours
OTHER, HUB = NAMES[0], CONFIGURED[0]
IMAGES = {name: images.image([name.encode() * 500]) for name in NAMES + CONFIGURED}


@pytest.fixture
def carried(tmp_path):
    """An archive with all of them."""
    return archive(tmp_path / "a.tar", layout([(image, f"{name}:1") for name, image in IMAGES.items()]))


def ways(name):
    """(path, Host, ns) of every way to ask for it."""
    registry, repository = name.split("/", 1)
    if ":" not in registry:  # no component of a name has a port
        yield f"/v2/{name}", None, None
    yield f"/{registry}/v2/{repository}", None, None
    yield f"/v2/{repository}", None, registry
    yield f"/v2/{repository}", registry, None
    if ":" not in registry:
        yield f"/v2/{repository}", f"{registry}:443", None
    if registry == "docker.io":
        yield f"/v2/{repository}", None, None


def dialled(fake):
    return sum(server.accepted for server in fake.running)


def ask(mirror, path, end, host=None, ns=None):
    with mirror.wire() as client:
        return client.exchange(f"{path}/{end}" + (f"?ns={ns}" if ns else ""), headers={"Host": host} if host else {})


def check_served(mirror):
    for name, image in IMAGES.items():
        for path, host, ns in ways(name):
            for reference in ("1", image.digest):
                reply = ask(mirror, path, f"manifests/{reference}", host, ns)
                assert reply.body == image.manifest, (path, host, ns, reply)
            for digest, data in image.blobs.items():
                assert ask(mirror, path, f"blobs/{digest}", host, ns).body == data
            if name in NAMES or mirror.mode == "offline":
                assert json.loads(ask(mirror, path, "tags/list", host, ns).body)["tags"] == ["1"]
                assert json.loads(ask(mirror, path, f"referrers/{image.digest}", host, ns).body)["manifests"] == []


@pytest.fixture
def site(start, tmp_path, fake):
    """site(mode): a mirror with the registries that are configured without a word of ours."""
    def site(mode):
        mirror = start(data=tmp_path / "data", mode=mode)
        mirror.mode = mode
        return mirror
    return site


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_every_route_leads_to_what_was_imported_before_the_start(site, carried, tmp_path, mode, fake):
    command("import", "--data", tmp_path / "data", carried)
    check_served(site(mode))
    assert dialled(fake) == 0


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_every_route_leads_to_what_is_imported_beside_a_running_mirror(site, carried, tmp_path, mode, fake):
    mirror = site(mode)
    for name in NAMES:
        registry, repository = name.split("/", 1)
        assert ask(mirror, f"/{registry}/v2/{repository}", "manifests/1").status == 404
    command("import", "--data", tmp_path / "data", carried)
    check_served(mirror)
    mirror.stop()
    check_served(site(mode))
    assert dialled(fake) == 0


@pytest.mark.parametrize("mode, why", [("offline", "offline mode"), ("online", "not configured")])
def test_what_is_missing_under_an_imported_name_is_told_at_once_and_nobody_is_dialled(site, carried, tmp_path, mode, why, fake):
    command("import", "--data", tmp_path / "data", carried)
    mirror = site(mode)
    digest = images.digest_of(b"never held")
    for path, ns in (("/v2/images.example/owner/app", None), ("/v2/owner/app", "images.example"), ("/images.example/v2/owner/other", None)):
        for end, code in (("manifests/2", "MANIFEST_UNKNOWN"), (f"manifests/{digest}", "MANIFEST_UNKNOWN"), (f"blobs/{digest}", "BLOB_UNKNOWN")):
            reply = ask(mirror, path, end, ns=ns)
            assert reply.status == 404 and code_of(reply) == code and why in message_of(reply), reply
    assert ask(mirror, "/images.example/v2/owner/other", "tags/list").status == 404
    wait_until(lambda: mirror.metric("requests_total", registry="images.example") >= 10, what="all of them counted")
    assert dialled(fake) == 0


def test_offline_a_registry_of_which_nothing_was_imported_is_told_with_the_mode(site, carried, tmp_path, fake):
    command("import", "--data", tmp_path / "data", carried)
    reply = ask(site("offline"), "/v2/other.example/owner/app", "manifests/1")
    assert reply.status == 404 and code_of(reply) == "NAME_UNKNOWN" and "other.example" in message_of(reply) and "offline mode" in message_of(reply)
    assert dialled(fake) == 0


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_the_catalog_and_docker_search_tell_all_that_was_imported(site, carried, tmp_path, mode):
    command("import", "--data", tmp_path / "data", carried)
    mirror = site(mode)
    shown = [name.removeprefix("docker.io/") for name in sorted(IMAGES)]
    assert json.loads(mirror.get("/v2/_catalog").body)["repositories"] == shown
    paged, link = [], "/v2/_catalog?n=1"
    while link:
        reply = mirror.get(link)
        paged += json.loads(reply.body)["repositories"]
        link = reply.header("link") and reply.header("link").split("<")[1].split(">")[0]
    assert paged == shown
    assert [r["name"] for r in json.loads(mirror.get("/v1/search?q=app").body)["results"]] == shown
    assert [r["name"] for r in json.loads(mirror.get("/v1/search?q=images.example").body)["results"]] == ["images.example/owner/app"]


def test_the_mirror_s_own_address_in_an_image_s_name_does_not_close_the_other_names(start, tmp_path):
    """docker save of what was pulled as MIRROR/owner/app tells such names."""
    mirror = start(data=tmp_path / "data", mode="offline")
    own = images.image([b"tagged with the mirror's address"])
    command("import", "--data", tmp_path / "data", archive(tmp_path / "own.tar", layout(
        [(own, f"127.0.0.1:{mirror.port}/mine/app:1"), (IMAGES[HUB], "docker.io/owner/app:1")])))
    assert mirror.manifest("owner/app", "1").body == IMAGES[HUB].manifest
    assert mirror.manifest("mine/app", "1").body == own.manifest


def test_a_name_that_a_bundle_gives_to_a_registry_takes_no_repository_from_another(start, tmp_path):
    """A registry named like a repository's first component would get what is asked of the default one."""
    image = images.image([b"library"])
    command("import", "--data", tmp_path / "other", archive(tmp_path / "a.tar", layout([(image, "docker.io/library/app:1")])))
    command("export", "--data", tmp_path / "other", "-o", tmp_path / "b.tar", "--all")
    members = bundles.members(tmp_path / "b.tar")
    said = json.loads(members["tranship/bundle.json"])
    said["repositories"][0].update(registry="library", name="app")
    mirror = start(data=tmp_path / "data", mode="offline")
    command("import", "--data", tmp_path / "data", bundles.ours(tmp_path / "c.tar", {
        **members, "tranship/bundle.json": json.dumps(said).encode()}))
    reply = mirror.manifest("library/app", "1")
    assert reply.status == 404 and "offline mode" in message_of(reply)
    assert mirror.wait_log(lambda e: e.get("registry") == "library" and "not served" in e.get("message", ""))


def test_a_registry_that_is_taken_out_of_the_configuration_is_closed_unless_something_of_it_was_imported(start, tmp_path, fake):
    (tmp_path / "both.json").write_text(json.dumps({"registries": {"docker.io": {"origin": fake.url}, "images.example": {"origin": fake.url}}}))
    image = fake.add("owner/pulled", images.image([b"pulled"]), "1")
    mirror = start(upstream=[], config=tmp_path / "both.json")
    bundles.pull(mirror, "images.example/owner/pulled", "1", image)
    mirror.wait_hit("/v2/images.example/owner/pulled/manifests/1")
    mirror.stop()
    mirror = start()
    assert "not one that this mirror serves" in message_of(mirror.manifest("images.example/owner/pulled", "1"))
    command("import", "--data", mirror.data, archive(tmp_path / "a.tar", layout([(IMAGES[OTHER], "images.example/owner/app:1")])))
    assert mirror.manifest("images.example/owner/app", "1").body == IMAGES[OTHER].manifest


@pytest.mark.parametrize("is_running", [True, False])
def test_explain_tells_of_a_registry_that_is_only_held(site, carried, tmp_path, is_running):
    command("import", "--data", tmp_path / "data", carried)
    mirror = site("online")
    if not is_running:
        mirror.stop()
    said = command("explain", "--data", tmp_path / "data", "images.example/owner/app:1")
    assert "not configured" in said and IMAGES[OTHER].digest in said
