# SPDX-License-Identifier: Apache-2.0
"""A real docker-registry as the origin, and one as a client behind the mirror."""

import json

import bundles
import images
import parts
import pytest
from harness import Tranship
from test_pull import Pull, held

pytestmark = pytest.mark.skipif(not parts.find("docker-registry"), reason="docker-registry is not installed")


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    registry = parts.Registry(tmp_path_factory.mktemp("origin"))
    yield registry
    registry.stop()


@pytest.fixture(scope="module")
def image(origin):
    """library/multi:latest with two platforms."""
    children = [(arch, images.image([images.random_bytes(2_000_000, arch), images.random_bytes(3000, arch)], docker=True,
                                    architecture=arch)) for arch in ("amd64", "arm64")]
    return origin.push("library/multi", images.index(children, docker=True), "latest", "1.0")


@pytest.fixture
def before(tmp_path):
    """before(registry, **options) begins a mirror in front of it."""
    begun = []

    def before(registry, **options):
        words = {name.replace("_", "-"): value for name, value in options.items()}
        begun.append(Tranship(tmp_path / "data", registry.url, words))
        return begun[-1].ready()

    yield before
    for mirror in begun:
        try:
            mirror.stop()
        finally:
            mirror.kill()


@pytest.fixture
def mirror(origin, image, before):
    return before(origin)


def pull(port_of, index, name="library/multi"):
    assert port_of.manifest(name, "latest").body == index.manifest
    for child in index.children:
        reply = port_of.manifest(name, child.digest)
        assert reply.body == child.manifest and reply.header("content-type") == child.media_type
        for digest, data in child.blobs.items():
            assert port_of.blob(name, digest).body == data


def test_a_whole_multi_arch_pull_is_exact_and_then_needs_no_origin(origin, image, mirror):
    pull(mirror, image)
    before = origin.count(r"\"(GET|HEAD) /v2/")
    pull(mirror, image)
    assert origin.count(r"\"(GET|HEAD) /v2/") == before


def test_tags_and_missing_things_are_told_as_they_are(origin, image, mirror):
    assert json.loads(mirror.get("/v2/multi/tags/list").body)["tags"] == ["1.0", "latest"]
    assert mirror.manifest("multi", "none").status == 404
    assert mirror.blob("multi", images.digest_of(b"none")).status == 404
    assert mirror.get("/v2/no/such/tags/list").status == 404
    assert mirror.head("/v2/multi/manifests/1.0").header("docker-content-digest") == image.digest


def test_oci_images_with_unknown_types_pass(origin, mirror):
    made = origin.push("tests/oci", images.image([b"chart"], artifactType="application/x.chart"), "v1")
    reply = mirror.manifest("tests/oci", "v1")
    assert reply.body == made.manifest and reply.header("content-type") == images.OCI_MANIFEST
    assert mirror.blob("tests/oci", made.layer).body == b"chart"


def test_a_moved_tag_is_seen(origin, before):
    first = origin.push("tests/moves", images.image([b"1"]), "latest")
    mirror = before(origin, tag_ttl="0s")
    assert mirror.manifest("tests/moves", "latest").body == first.manifest
    second = origin.push("tests/moves", images.image([b"2"]), "latest")
    assert mirror.manifest("tests/moves", "latest").body == second.manifest


def test_ranges_cold_from_a_real_registry(origin, image, mirror):
    child = image.children[0]
    data = list(child.blobs.values())[1]
    digest = list(child.blobs)[1]
    reply = mirror.blob("multi", digest, {"Range": "bytes=1000000-"})
    assert reply.status == 206 and reply.body == data[1_000_000:]
    mirror.wait_held(digest)


def test_an_origin_that_stops_and_comes_back(before, tmp_path):
    registry = parts.Registry(tmp_path / "origin")
    try:
        made = registry.push("tests/x", images.image([images.random_bytes(100_000)]), "v1")
        mirror = before(registry, tag_ttl="0s")
        assert mirror.manifest("tests/x", "v1").status == 200
        registry.stop()
        reply = mirror.manifest("tests/x", "v1")
        assert reply.body == made.manifest and reply.header("warning")
        assert mirror.blob("tests/x", made.layer).status in (502, 504)
        registry = parts.Registry(tmp_path / "origin", port=registry.port)
        assert mirror.blob("tests/x", made.layer).body == made.blobs[made.layer]
    finally:
        registry.stop()


def test_a_docker_registry_chained_behind_pulls_through(origin, image, mirror, tmp_path):
    chained = parts.Registry(tmp_path / "chained", remote=f"http://127.0.0.1:{mirror.port}")
    try:
        behind = Tranship.__new__(Tranship)  # only its questions are wanted
        behind.port = chained.port
        accept = {"Accept": images.DOCKER_LIST}
        assert behind.manifest("library/multi", "latest", accept).body == image.manifest
        for child in image.children:
            assert behind.manifest("library/multi", child.digest, {"Accept": images.DOCKER_MANIFEST}).body == child.manifest
            for digest, data in child.blobs.items():
                assert behind.blob("library/multi", digest).body == data
                mirror.wait_held(digest)
    finally:
        chained.stop()


def test_images_come_ahead_of_use_from_a_registry_without_referrers(origin, image, tmp_path):
    signed = origin.push("library/multi", images.image([b"signed"]), image.digest.replace(":", "-") + ".sig")
    run = Pull(tmp_path / "data", origin.url, "--json", "--platform", "all", "multi:>=1").end()
    assert held(tmp_path / "data") == set(bundles.all_of(image) | bundles.all_of(signed))
    assert [i["image"] for i in json.loads(run.out)["images"]] == ["docker.io/library/multi:1.0"]
    before = origin.count(r"\"GET /v2/.*/blobs/")
    run = Pull(tmp_path / "data", origin.url, "--json", "--platform", "all", "multi:1.0").end()
    assert json.loads(run.out)["images"][0]["came"]["objects"] == 0 and origin.count(r"\"GET /v2/.*/blobs/") == before
