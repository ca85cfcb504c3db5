# SPDX-License-Identifier: Apache-2.0
"""Manifests by tag and by digest: exact bytes, true types, the right headers, and nothing that cannot be proven."""

import json

import images
import pytest
from harness import code_of, message_of

KINDS = {
    "docker manifest": lambda: images.image([b"d" * 500], docker=True),
    "oci manifest": lambda: images.image([b"o" * 500]),
    "docker list": lambda: images.index([("amd64", images.image([b"1"], docker=True))], docker=True),
    "oci index": lambda: images.index([("amd64", images.image([b"1"])), ("arm64", images.image([b"2"]))]),
}
SAME = {"date", "x-request-id", "cache-status", "age", "connection"}  # may differ between two answers


@pytest.fixture(params=KINDS, ids=lambda k: k.replace(" ", "_"))
def image(request, fake):
    return fake.add("library/demo", KINDS[request.param](), "latest")


def settled(reply):
    return sorted((k.lower(), v) for k, v in reply.headers if k.lower() not in SAME)


def test_bytes_and_type_are_exact_by_tag_and_digest_cold_and_warm(fake, tranship, image):
    for reference in ("latest", "latest", image.digest, image.digest):
        reply = tranship.manifest("library/demo", reference)
        assert reply.status == 200 and reply.body == image.manifest
        assert reply.header("content-type") == image.media_type
        assert reply.length == len(image.manifest)
        assert reply.header("docker-content-digest") == image.digest
        assert reply.header("etag") == f'"{image.digest}"'
        assert reply.header("docker-distribution-api-version") == "registry/2.0"
        assert reply.header("content-encoding") is None and reply.header("transfer-encoding") is None
    assert len(fake.asked()) == 1


def test_a_digest_may_be_kept_for_a_year_and_a_tag_not_at_all(tranship, demo):
    assert tranship.manifest("demo", "latest").header("cache-control") == "no-cache"
    assert tranship.manifest("demo", demo.digest).header("cache-control") == "max-age=31536000"


def test_cold_by_digest_is_one_get(fake, tranship, image):
    assert tranship.manifest("library/demo", image.digest).body == image.manifest
    assert [r.method for r in fake.asked()] == ["GET"]


def test_cold_head_of_a_tag_asks_with_head_only(fake, tranship, image):
    reply = tranship.head("/v2/library/demo/manifests/latest")
    assert (reply.status, reply.body, reply.length) == (200, b"", len(image.manifest))
    assert reply.header("content-type") == image.media_type
    assert reply.header("docker-content-digest") == image.digest
    assert [r.method for r in fake.asked()] == ["HEAD"]


@pytest.mark.parametrize("by_digest", [False, True])
def test_warm_head_has_the_headers_of_get(fake, tranship, image, by_digest):
    path = f"/v2/library/demo/manifests/{image.digest if by_digest else 'latest'}"
    assert tranship.get(path).status == 200
    with tranship.wire() as wire:  # on one connection: a stray body byte would break the second answer
        head = wire.exchange(path, "HEAD")
        get = wire.exchange(path)
    assert (head.status, head.body) == (200, b"") and get.body == image.manifest
    assert settled(head) == settled(get)


def test_head_then_get_as_docker_and_containerd_do(fake, tranship, image):
    digest = tranship.head("/v2/demo/manifests/latest").header("docker-content-digest")
    assert tranship.manifest("demo", digest).body == image.manifest
    assert [r.method for r in fake.asked()] == ["HEAD", "GET"]
    assert tranship.head("/v2/demo/manifests/latest").status == 200
    assert len(fake.asked()) == 2


def test_a_warm_pull_asks_the_upstream_nothing(fake, tranship):
    image = fake.add("a/b", images.index([("amd64", images.image([b"layer" * 1000]))]), "v1")

    def pull():
        child = image.children[0]
        assert tranship.head("/v2/a/b/manifests/v1").status == 200
        assert tranship.manifest("a/b", image.digest).body == image.manifest
        assert tranship.manifest("a/b", child.digest).body == child.manifest
        for digest, data in child.blobs.items():
            assert tranship.blob("a/b", digest).body == data

    pull()
    fake.forget()
    pull()
    assert fake.asked() == []


def test_sha512_is_verified_and_echoed(fake, tranship):
    image = fake.add("a/b", images.image([b"x" * 100], algorithm="sha512"))
    reply = tranship.manifest("a/b", image.digest)
    assert reply.body == image.manifest and reply.header("docker-content-digest") == image.digest
    for digest, data in image.blobs.items():
        assert tranship.blob("a/b", digest).body == data
    wrong = "sha512:" + "0" * 128
    fake.add_manifest("a/b", image.manifest, image.media_type, digest=wrong)
    assert tranship.manifest("a/b", wrong).status == 502


@pytest.mark.parametrize("accept", [
    [], ["*/*"], [images.OCI_MANIFEST], [images.DOCKER_MANIFEST], [images.DOCKER_LIST + "," + images.OCI_INDEX],
    [images.DOCKER_MANIFEST, images.DOCKER_LIST, images.OCI_MANIFEST, images.OCI_INDEX], ["text/html;q=0.1 , */* "],
    [",".join([images.SCHEMA1, images.DOCKER_MANIFEST])], ["nonsense"]])
def test_whatever_is_accepted_the_same_is_served(fake, tranship, image, accept):
    reply = tranship.manifest("library/demo", "latest", [("Accept", a) for a in accept])
    assert reply.status == 200 and reply.body == image.manifest
    assert reply.header("content-type") == image.media_type


def test_the_upstream_is_always_asked_for_all_types_and_identity(fake, tranship, image):
    client = [("Accept", images.OCI_MANIFEST), ("Accept-Encoding", "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5")]
    reply = tranship.manifest("library/demo", "latest", client)
    assert reply.body == image.manifest and reply.header("content-encoding") is None
    tranship.head("/v2/library/demo/manifests/other")
    for request in fake.asked("manifests"):
        accept = request.header("accept")
        for kind in (images.DOCKER_MANIFEST, images.DOCKER_LIST, images.OCI_MANIFEST, images.OCI_INDEX):
            assert kind in accept
        assert request.header("accept-encoding") in (None, "identity")
        assert request.header("user-agent").startswith("tranship/")


# --- what is not believed ----------------------------------------------------------------------------------------


def refused(tranship, name, reference, statuses=(502,)):
    held = tranship.held()
    reply = tranship.manifest(name, reference)
    assert reply.status in statuses, reply
    code_of(reply)
    assert tranship.held() == held
    return reply


def test_bytes_that_differ_from_the_digest_are_not_served(fake, tranship, image):
    fault = fake.fault("manifests", corrupt_at=20)
    refused(tranship, "library/demo", image.digest)
    fault.count = 0
    assert tranship.manifest("library/demo", image.digest).body == image.manifest


def test_a_tag_whose_bytes_differ_from_the_digest_header_is_not_served(fake, tranship, image):
    fake.fault("manifests", headers={"Docker-Content-Digest": images.digest_of(b"other")})
    refused(tranship, "library/demo", "latest")


def test_an_upstream_without_digest_headers_works(fake, tranship, image):
    fake.sends_digest = False
    head = tranship.head("/v2/library/demo/manifests/latest")
    assert head.status == 200 and head.length == len(image.manifest)
    assert head.header("docker-content-digest") == image.digest
    reply = tranship.manifest("library/demo", "latest")
    assert reply.body == image.manifest and reply.header("docker-content-digest") == image.digest


def test_an_html_page_is_no_manifest(fake, tranship, demo):
    page = b"<html><body>Sign in to the hotel's network</body></html>"
    fake.fault("manifests", status=200, body=page)
    refused(tranship, "library/demo", "latest")
    refused(tranship, "library/demo", demo.digest)


def test_a_document_that_is_both_index_and_manifest_is_refused(fake, tranship):
    both = json.loads(images.image().manifest) | {"manifests": []}
    for media_type in (images.OCI_MANIFEST, images.OCI_INDEX):
        digest = fake.add_manifest("a/b", images.to_json(both), media_type, "both")
        refused(tranship, "a/b", "both")
        refused(tranship, "a/b", digest)


def test_a_media_type_against_the_content_type_is_refused(fake, tranship):
    image = images.image()
    digest = fake.add_manifest("a/b", image.manifest, images.OCI_INDEX, "v1")
    refused(tranship, "a/b", "v1")
    refused(tranship, "a/b", digest)


def test_schema_1_is_neither_cached_nor_served(fake, tranship):
    old = images.to_json({"schemaVersion": 1, "name": "a/b", "tag": "v1", "fsLayers": [], "history": [], "signatures": []})
    fake.strict_accept = False
    for media_type in (images.SCHEMA1, "application/json"):
        fake.add_manifest("a/b", old, media_type, "v1")
        refused(tranship, "a/b", "v1", (404, 502))


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b'"text"', b"{}", b'{"schemaVersion":2', b"\xff\xfe{}",
                                  b"[" * 100_000, b'{"a":' * 100_000])
def test_what_is_no_manifest_document_is_refused(fake, tranship, data):
    fake.add_manifest("a/b", data, images.OCI_MANIFEST, "v1")
    refused(tranship, "a/b", "v1")
    refused(tranship, "a/b", images.digest_of(data))


@pytest.mark.parametrize("stated", ["application/json", "text/plain; charset=utf-8", "application/octet-stream", None,
                                    "{} ; charset=utf-8", "{};q=1"])
def test_parameters_and_generic_types_give_way_to_the_true_type(fake, tranship, image, stated):
    fake.fault("manifests", headers={"Content-Type": stated and stated.format(image.media_type)})
    for reference in ("latest", image.digest):
        reply = tranship.manifest("library/demo", reference)
        assert reply.status == 200 and reply.header("content-type") == image.media_type


@pytest.mark.parametrize("made, expected", [(images.image(), images.OCI_MANIFEST),
                                            (images.index([("amd64", images.image())]), images.OCI_INDEX)])
def test_a_document_that_names_no_type_is_inferred(fake, tranship, made, expected):
    document = json.loads(made.manifest)
    del document["mediaType"]
    fake.add_manifest("a/b", images.to_json(document), "application/json", "v1")
    assert tranship.manifest("a/b", "v1").header("content-type") == expected


@pytest.mark.parametrize("made", [
    images.artifact(images.image(), "application/vnd.dev.cosign.artifact.sig.v1+json", "sig"),
    images.image([b"chart"], config=b'{"name":"x"}', artifactType="application/vnd.cncf.helm.config.v1+json"),
    images.image([b"\0asm"], annotations={"org.x": "é\n\"\\"}), images.image([], somethingNew={"a": [1, 2.5, None, True]})])
def test_artifacts_of_any_type_pass_unchanged(fake, tranship, made):
    fake.add("a/b", made, "v1")
    reply = tranship.manifest("a/b", "v1")
    assert reply.body == made.manifest and reply.header("docker-content-digest") == made.digest


def padded(size):
    empty = images.to_json(json.loads(images.image().manifest) | {"annotations": {"x": ""}})
    data = empty.replace(b'"x": ""', b'"x": "' + b"p" * (size - len(empty)) + b'"')
    assert len(data) == size
    return data


def test_a_manifest_of_4_mib_passes_and_a_larger_one_is_refused_unread(fake, tranship):
    whole = padded(4 << 20)
    fake.add_manifest("a/b", whole, images.OCI_MANIFEST, "whole")
    assert tranship.manifest("a/b", "whole").body == whole
    tranship.wait_held(images.digest_of(whole))
    for size, how in ((len(whole) + 1, {}), (64 << 20, {}), (64 << 20, {"chunked": True})):
        digest = fake.add_manifest("a/b", padded(size), images.OCI_MANIFEST, "large")
        fault = fake.fault("manifests", **how)
        reply = refused(tranship, "a/b", "large")
        assert "manifest" in message_of(reply)
        refused(tranship, "a/b", digest)
        assert all(r.sent < 24 << 20 for r in fake.asked("manifests"))  # the rest of it stayed in the sockets' buffers
        fault.count = 0


@pytest.mark.parametrize("digest", ["sha256:totallywrong", "sha256:", "sha256:" + "A" * 64, "sha256:" + "a" * 63, ":" + "a" * 64,
                                    "sha256:" + "a" * 65, "sha512:" + "a" * 64, "SHA256:" + "a" * 64, "sha256:..%2f..%2fx"])
@pytest.mark.parametrize("kind", ["manifests", "blobs"])
def test_malformed_digests_are_refused_unasked(fake, tranship, kind, digest):
    reply = tranship.get(f"/v2/a/b/{kind}/{digest}")
    assert reply.status in (400, 404)
    assert code_of(reply) == "DIGEST_INVALID" or reply.status == 404
    assert fake.asked() == []


@pytest.mark.parametrize("kind", ["manifests", "blobs"])
def test_an_algorithm_we_cannot_verify_is_404(fake, tranship, kind):
    fake.add("a/b", images.image())
    assert tranship.get(f"/v2/a/b/{kind}/blake3:" + "a" * 64).status == 404
    assert tranship.get(f"/v2/a/b/{kind}/md5:" + "a" * 32).status == 404


def test_what_the_upstream_has_not_is_404(fake, tranship, demo):
    missing = images.digest_of(b"nowhere")
    for reference in ("v9", missing):
        reply = tranship.manifest("library/demo", reference)
        assert reply.status == 404 and code_of(reply) == "MANIFEST_UNKNOWN"
        head = tranship.head(f"/v2/library/demo/manifests/{reference}")
        assert (head.status, head.body) == (404, b"")
    assert code_of(tranship.manifest("no/such", "v1")) in ("NAME_UNKNOWN", "MANIFEST_UNKNOWN")


# --- conditional, children, repositories ----------------------------------------------------------------------------


@pytest.mark.parametrize("form", ['"{}"', "{}", 'W/"{}"', '"x", "{}"', "*", ' "{}" '])
def test_if_none_match_is_304_without_a_body(tranship, demo, form):
    value = {"If-None-Match": form.format(demo.digest)}
    assert tranship.manifest("demo", "latest").status == 200
    for reference in ("latest", demo.digest):
        path = f"/v2/demo/manifests/{reference}"
        with tranship.wire() as wire:
            for method in ("GET", "HEAD"):
                reply = wire.exchange(path, method, value)
                assert reply.status == 304 and reply.header("etag") == f'"{demo.digest}"'
            assert wire.exchange(path).body == demo.manifest
            assert wire.exchange(path, headers={"If-None-Match": '"other"'}).body == demo.manifest


def test_an_index_child_is_served_without_asking_for_any_tag(fake, tranship):
    index = fake.add("a/b", images.index([("amd64", images.image([b"1"])), ("arm64", images.image([b"2"]))]), "v1")
    tranship.manifest("a/b", "v1")
    for child in index.children:
        assert tranship.manifest("a/b", child.digest).body == child.manifest
    assert len(fake.asked("manifests/v1")) == 1
    assert all("sha256:" in r.path for r in fake.asked()[1:])


def test_a_manifest_is_not_served_to_a_repository_that_never_had_it(fake, tranship, demo):
    fake.add("other/repo", images.image([b"else"]), "v1")
    assert tranship.manifest("library/demo", "latest").status == 200
    reply = tranship.manifest("other/repo", demo.digest)
    assert reply.status == 404
    assert fake.asked("other/repo/manifests/")


def test_a_manifest_that_another_repository_also_has_is_only_confirmed(fake, tranship, demo):
    fake.add("other/repo", demo, "v1")
    assert tranship.manifest("library/demo", demo.digest).status == 200
    assert tranship.manifest("other/repo", demo.digest).body == demo.manifest
    assert [r.method for r in fake.asked("other/repo")] == ["HEAD"]
