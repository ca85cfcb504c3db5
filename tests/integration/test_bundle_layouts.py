# SPDX-License-Identifier: Apache-2.0
"""Layouts as other tools write them: names, referrers, what they leave out."""

import json

import bundles
import images
import pytest
from bundles import archive, command, layout

HUB = "docker.io/library/demo:1"


@pytest.fixture
def serve(start, tmp_path):
    """serve(members, *words): a site that imported such an archive, offline; what it noted in serve.notes."""
    def serve(members, *words):
        path = archive(tmp_path / "a.tar", members)
        command("import", "--data", tmp_path / "site", *words, path)
        return start(data=tmp_path / "site", upstream="http://127.0.0.1:1", mode="offline")
    return serve


def index_json(entries):
    return "index.json", json.dumps({"schemaVersion": 2, "manifests": entries}).encode()


def with_index(members, entries):
    return [index_json(entries) if name == "index.json" else (name, data) for name, data in members]


def referrers(mirror, name, subject):
    return [d["digest"] for d in json.loads(mirror.get(f"/v2/{name}/referrers/{subject.digest}").body)["manifests"]]


DEMO = images.image([b"demo"])


@pytest.mark.parametrize("annotations, path", [
    ({bundles.NAME: "docker.io/library/demo:1"}, "library/demo"),
    ({bundles.NAME: "demo:1"}, "library/demo"),
    ({bundles.NAME: "quay.io/some/demo:1", "org.opencontainers.image.ref.name": "9"}, "quay.io/some/demo"),
    ({"org.opencontainers.image.ref.name": "ghcr.io/some/demo:1"}, "ghcr.io/some/demo"),
    ({"org.opencontainers.image.ref.name": "demo:1"}, "library/demo")])
def test_names_come_from_containerd_then_from_the_reference(serve, annotations, path):
    members = with_index(layout([(DEMO, None)]), [DEMO.descriptor(annotations=annotations)])
    assert serve(members).manifest(path, "1").body == DEMO.manifest


def test_a_bare_tag_and_an_image_without_a_name_take_the_one_that_is_given(serve):
    other = images.image([b"other"])
    members = with_index(layout([(DEMO, None), (other, None)]),
                         [DEMO.descriptor(annotations={"org.opencontainers.image.ref.name": "1"}), other.descriptor()])
    mirror = serve(members, "--name", "quay.io/some/demo")
    assert mirror.manifest("quay.io/some/demo", "1").body == DEMO.manifest
    assert mirror.manifest("quay.io/some/demo", other.digest).body == other.manifest


@pytest.mark.parametrize("name, path, tag", [("quay.io/some/demo:7", "quay.io/some/demo", "7"), ("demo", "library/demo", "latest")])
def test_the_only_image_without_a_name_takes_the_tag_too(serve, name, path, tag):
    """As one of docker save does. What refers to it takes none, though it comes first."""
    sbom = images.artifact(DEMO, "application/vnd.example.sbom", "an SBOM")
    mirror = serve(layout([(sbom, None), (DEMO, None)]), "--name", name)
    assert mirror.manifest(path, tag).body == DEMO.manifest
    assert json.loads(mirror.get(f"/v2/{path}/tags/list").body)["tags"] == [tag]
    assert referrers(mirror, path, DEMO) == [sbom.digest]


def test_of_several_images_without_a_name_none_takes_the_tag(serve):
    """Nobody said for which of them it is."""
    other = images.image([b"other"])
    mirror = serve(layout([(DEMO, None), (other, None)]), "--name", "quay.io/some/demo:7")
    for image in (DEMO, other):
        assert mirror.manifest("quay.io/some/demo", image.digest).body == image.manifest
    assert mirror.manifest("quay.io/some/demo", "7").status == 404


def test_referrers_without_a_name_follow_their_subject(serve):
    """As oras and containerd list them."""
    sbom = images.artifact(DEMO, "application/vnd.example.sbom", "an SBOM")
    signature = images.artifact(sbom, "application/vnd.example.signature", "of the SBOM")
    members = layout([(DEMO, HUB), (sbom, None), (signature, None)])
    mirror = serve(members)
    assert referrers(mirror, "library/demo", DEMO) == [sbom.digest]
    assert referrers(mirror, "library/demo", sbom) == [signature.digest]


def test_referrers_under_a_fallback_tag_are_listed(serve):
    """As regclient writes them: an index named sha256-<hex>."""
    sbom = images.artifact(DEMO, "application/vnd.example.sbom", "an SBOM")
    fallback = images.index([("amd64", sbom)])
    tag = DEMO.digest.replace(":", "-")
    members = with_index(layout([(DEMO, HUB), (fallback, None)]),
                         [DEMO.descriptor(annotations={bundles.NAME: HUB}),
                          fallback.descriptor(annotations={"org.opencontainers.image.ref.name": tag})])
    mirror = serve(members)
    assert referrers(mirror, "library/demo", DEMO) == [sbom.digest]
    assert mirror.manifest("library/demo", tag).body == fallback.manifest


def test_a_sparse_layout_brings_what_it_has(serve):
    multi = bundles.multi("sparse")
    amd, arm = multi.children
    lacks = set(bundles.all_of(arm))
    members = [(n, d) for n, d in layout([(multi, HUB)]) if n.replace("blobs/", "").replace("/", ":") not in lacks]
    mirror = serve(members)
    assert mirror.manifest("library/demo", "1").body == multi.manifest
    assert mirror.blob("library/demo", amd.layer).status == 200
    assert mirror.manifest("library/demo", arm.digest).status == 404


def test_unknown_content_and_unknown_types_are_no_error(serve):
    unknown = {"mediaType": "application/vnd.example.unknown", "digest": images.digest_of(b"unknown"), "size": 7}
    members = with_index(layout([(DEMO, HUB)], ("blobs/sha256/" + unknown["digest"].split(":")[1], b"unknown"),
                                ("blobs/blake3/abc", b"1"), ("README", b"read me"), ("a/b/c", b"1")),
                         [unknown, DEMO.descriptor(annotations={bundles.NAME: HUB})])
    assert serve(members).manifest("library/demo", "1").body == DEMO.manifest


def test_members_may_begin_with_a_dot_and_come_in_any_order(serve):
    members = [(f"./{name}", data) for name, data in reversed(layout([(DEMO, HUB)]))]
    assert serve(members).manifest("library/demo", "1").body == DEMO.manifest


def test_sha512_is_as_good_as_sha256(serve):
    image = images.image([b"of another algorithm"], algorithm="sha512")
    mirror = serve(layout([(image, HUB)]))
    assert mirror.manifest("library/demo", "1").body == image.manifest
    assert mirror.blob("library/demo", image.layer).body == b"of another algorithm"
    data = mirror.data
    mirror.stop()
    command("export", "--data", data, "-o", data.parent / "b.tar", "--all")
    command("import", "--data", data.parent / "again", data.parent / "b.tar")
    assert bundles.content(data.parent / "again") == bundles.content(data)
