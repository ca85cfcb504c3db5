# SPDX-License-Identifier: Apache-2.0
"""Tags, catalog, referrers: whole lists whatever the upstream's paging, pages of our own, and never a false empty one."""

import json
import re
import urllib.parse

import images
import pytest
from harness import code_of, wait_until

TAGS = ["1.0", "1.1", "2.0", "latest", "nightly", "v9"]
SIG, SBOM = "application/vnd.example.sig", "application/vnd.example.sbom"


@pytest.fixture
def tagged(fake):
    image = images.image()
    for tag in reversed(TAGS):
        fake.add("library/demo", image, tag)
    return image


@pytest.fixture
def signed(fake):
    subject = fake.add("library/demo", images.image([b"subject"]), "latest")
    subject.referrers = [fake.add("library/demo", images.artifact(subject, kind, f"{kind} {k}"))
                         for kind in (SIG, SBOM) for k in range(3)]
    return subject


def tags(reply):
    assert reply.status == 200 and reply.header("content-type") == "application/json", reply
    return json.loads(reply.body)["tags"]


def walk(tranship, path, key):
    """All pages by following Link, and how many there were."""
    items, pages = [], 0
    while path:
        reply = tranship.get(path)
        assert reply.status == 200, reply
        items += json.loads(reply.body)[key]
        pages += 1
        link = reply.header("link")
        if link:
            found = re.fullmatch(r'<(/[^>]*)>; *rel="?next"?', link)
            assert found, link
            path = found[1]
        else:
            path = None
    return items, pages


def test_tags_are_sorted_and_under_the_name_the_client_used(fake, tranship, tagged):
    for name in ("library/demo", "demo"):
        reply = tranship.get(f"/v2/{name}/tags/list")
        assert tags(reply) == TAGS and json.loads(reply.body)["name"] == name
        assert reply.header("link") is None
        assert reply.header("cache-control") == "no-cache"


def test_a_repository_without_tags_has_an_empty_list_and_not_null(fake, tranship):
    fake.add("a/b", images.image())
    assert tags(tranship.get("/v2/a/b/tags/list")) == []


@pytest.mark.parametrize("query, expected, more", [
    ("n=0", [], False), ("n=2", TAGS[:2], True), ("n=6", TAGS, False), ("n=5", TAGS[:5], True), ("n=100", TAGS, False),
    ("last=2.0", TAGS[3:], False), ("n=1&last=1.0", ["1.1"], True), ("n=3&last=2.0", TAGS[3:], False),
    ("last=zzz", [], False), ("last=1.05", TAGS[1:], False), ("last=", TAGS, False)])
def test_pages_of_tags(fake, tranship, tagged, query, expected, more):
    reply = tranship.get(f"/v2/library/demo/tags/list?{query}")
    assert tags(reply) == expected
    assert (reply.header("link") is not None) == more


@pytest.mark.parametrize("n", ["99999999999", "4294967297", "18446744073709551617", "-1", "x", "", "1e3", "%00", "2147483648"])
@pytest.mark.parametrize("path", ["/v2/library/demo/tags/list", "/v2/_catalog"])
def test_an_odd_n_is_clamped_or_refused(fake, tranship, tagged, path, n):
    reply = tranship.get(f"{path}?n={n}")
    assert reply.status in (200, 400), reply
    if reply.status == 400:
        assert code_of(reply) == "PAGINATION_NUMBER_INVALID"
    assert tranship.get("/v2/").status == 200


@pytest.mark.parametrize("name, query", [("library/demo", ""), ("demo", "&ns=docker.io"), ("docker.io/library/demo", "")])
def test_links_are_relative_and_keep_prefix_and_ns(fake, tranship, tagged, name, query):
    reply = tranship.get(f"/v2/{name}/tags/list?n=2{query}")
    link = reply.header("link")
    assert link.startswith(f"</v2/{name}/tags/list?") and 'rel="next"' in link
    assert ("ns=docker.io" in link) == bool(query)
    assert walk(tranship, f"/v2/{name}/tags/list?n=2{query}", "tags") == (TAGS, 3)


@pytest.mark.parametrize("style", ["relative", "absolute", "cursor"])
def test_the_upstreams_pages_are_gathered_whatever_their_links(fake, tranship, tagged, style):
    fake.page_size, fake.page_style = 2, style
    reply = tranship.get("/v2/library/demo/tags/list")
    assert tags(reply) == TAGS and reply.header("link") is None
    assert walk(tranship, "/v2/library/demo/tags/list?n=4", "tags") == (TAGS, 2)


def test_a_link_to_another_host_is_not_followed(fake, tranship, tagged):
    fake.page_size, fake.page_style = 2, "foreign"
    reply = tranship.get("/v2/library/demo/tags/list")
    assert not any("localhost" in (r.header("host") or "") for r in fake.asked())
    assert reply.status in (200, 502)


def test_pages_that_lead_in_a_circle_end(fake, tranship, tagged):
    fake.fault("tags/list", headers={"Link": '</v2/library/demo/tags/list?last=1.0>; rel="next"'})
    reply = tranship.get("/v2/library/demo/tags/list", timeout=60)
    assert reply.status in (200, 502)
    assert len(fake.asked()) <= 501
    assert tranship.get("/v2/").status == 200


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'{"tags":7}', b'{"name":"x"}', b'{"tags":[1,{}]}', b"{" * 50_000])
def test_a_list_that_is_none_is_an_error_or_harmless(fake, tranship, tagged, body):
    fake.fault("tags/list", status=200, body=body)
    reply = tranship.get("/v2/library/demo/tags/list")
    assert reply.status in (200, 502), reply
    if reply.status == 200:
        assert all(isinstance(tag, str) for tag in tags(reply))


def test_many_tags_are_one_list(fake, tranship):
    digest = fake.add("big/one", images.image()).digest
    names = sorted(f"t{k:05}" for k in range(20_000))
    fake.repository("big/one").tags.update({name: digest for name in names})
    fake.page_size = 1000
    got, _ = walk(tranship, "/v2/big/one/tags/list", "tags")
    assert got == names


def test_tags_of_an_unknown_repository_are_404(fake, tranship):
    reply = tranship.get("/v2/no/such/tags/list")
    assert reply.status == 404 and code_of(reply) == "NAME_UNKNOWN"


@pytest.mark.parametrize("kind", ["tags", "referrers"])
def test_a_list_once_seen_is_served_or_refused_when_the_upstream_fails_but_never_empty(fake, tranship, signed, kind):
    path = {"tags": "/v2/library/demo/tags/list", "referrers": f"/v2/library/demo/referrers/{signed.digest}"}[kind]
    before = tranship.get(path)
    assert before.status == 200
    fake.fault("registry", status=503)
    after = tranship.get(path)
    assert after.body == before.body if after.status == 200 else after.status in (502, 503, 504)


# --- referrers -----------------------------------------------------------------------------------------------------------


def referrers(reply):
    assert reply.status == 200, reply
    assert reply.header("content-type") == images.OCI_INDEX
    document = json.loads(reply.body)
    assert document["schemaVersion"] == 2 and document["mediaType"] == images.OCI_INDEX
    return document["manifests"]


def test_referrers_are_listed_with_type_size_and_annotations(fake, tranship, signed):
    reply = tranship.get(f"/v2/library/demo/referrers/{signed.digest}")
    listed = referrers(reply)
    assert reply.header("oci-filters-applied") is None
    assert {d["digest"] for d in listed} == {r.digest for r in signed.referrers}
    for made in signed.referrers:
        entry = next(d for d in listed if d["digest"] == made.digest)
        document = json.loads(made.manifest)
        assert entry["artifactType"] == document["artifactType"] and entry["annotations"] == document["annotations"]
        assert entry["mediaType"] == made.media_type and entry["size"] == len(made.manifest)
    for entry in listed:
        assert tranship.manifest("library/demo", entry["digest"]).status == 200


def test_nobody_refers_to_it_is_an_empty_list(fake, tranship, signed):
    for digest in (signed.referrers[0].digest, images.digest_of(b"unknown")):
        assert referrers(tranship.get(f"/v2/library/demo/referrers/{digest}")) == []


@pytest.mark.parametrize("types", [[SIG], [SBOM], [SIG, SBOM], ["application/other"], [SIG, "application/other"]])
def test_referrers_are_filtered_by_any_of_the_types(fake, tranship, signed, types):
    query = "&".join("artifactType=" + urllib.parse.quote(t, safe="") for t in types)
    reply = tranship.get(f"/v2/library/demo/referrers/{signed.digest}?{query}")
    listed = referrers(reply)
    assert reply.header("oci-filters-applied") == "artifactType"
    wanted = {r.digest for r in signed.referrers if json.loads(r.manifest)["artifactType"] in types}
    assert {d["digest"] for d in listed} == wanted


@pytest.mark.parametrize("style", ["relative", "absolute", "cursor"])
def test_referrers_are_gathered_from_all_pages(fake, tranship, signed, style):
    fake.page_size, fake.page_style = 2, style
    items, _ = walk(tranship, f"/v2/library/demo/referrers/{signed.digest}", "manifests")
    assert len(items) == 6


@pytest.mark.parametrize("digest", ["sha256:bad", "latest", "sha256", "sha256:" + "A" * 64])
def test_referrers_of_a_malformed_digest_are_400(fake, tranship, digest):
    assert tranship.get(f"/v2/library/demo/referrers/{digest}").status == 400
    assert fake.asked() == []


def test_without_the_api_the_fallback_tag_speaks(fake, tranship, signed):
    fake.has_referrers = False
    listing = images.index([])
    listing_document = json.loads(listing.manifest) | {
        "manifests": [r.descriptor(artifactType=SIG) for r in signed.referrers[:2]]}
    fake.add_manifest("library/demo", images.to_json(listing_document), images.OCI_INDEX, signed.digest.replace(":", "-"))
    reply = tranship.get(f"/v2/library/demo/referrers/{signed.digest}")
    if reply.status == 404:  # then the client asks for the tag itself
        assert code_of(reply) != "NAME_UNKNOWN"
    else:
        assert {d["digest"] for d in referrers(reply)} == {r.digest for r in signed.referrers[:2]}
    tag = tranship.manifest("library/demo", signed.digest.replace(":", "-"))
    assert json.loads(tag.body) == listing_document


def test_without_the_api_and_the_fallback_tag_it_is_empty_or_404(fake, tranship, signed):
    fake.has_referrers = False
    reply = tranship.get(f"/v2/library/demo/referrers/{signed.digest}")
    assert (reply.status == 404 and code_of(reply) != "NAME_UNKNOWN") or referrers(reply) == []


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 429}, {"hangup": True}, {"status": 200, "body": b"<html>"}])
def test_a_failure_never_reads_as_unsigned(fake, tranship, signed, fault):
    fake.fault("registry", **fault)
    for what in (f"referrers/{signed.digest}", f"manifests/{signed.digest.replace(':', '-')}.sig",
                 f"manifests/{signed.digest.replace(':', '-')}.att"):
        assert tranship.get(f"/v2/library/demo/{what}").status in (502, 503, 504), what


def test_a_failure_of_the_fallback_tag_never_reads_as_unsigned(fake, tranship, signed):
    fake.has_referrers = False
    fake.fault("manifests", status=503)
    assert tranship.get(f"/v2/library/demo/referrers/{signed.digest}").status in (502, 503, 504)


def test_an_unsigned_image_is_404_on_its_signature_tag(fake, tranship, signed):
    reply = tranship.manifest("library/demo", signed.digest.replace(":", "-") + ".sig")
    assert reply.status == 404 and code_of(reply) == "MANIFEST_UNKNOWN"


# --- catalog ----------------------------------------------------------------------------------------------------------------


def test_the_catalog_lists_what_is_held_in_pages(fake, tranship):
    assert json.loads(tranship.get("/v2/_catalog").body) == {"repositories": []}
    names = ["a/b", "library/demo", "library/zoo", "x/y/z"]
    for name in reversed(names):
        fake.add(name, images.image(), "v1")
        assert tranship.manifest(name, "v1").status == 200
    fake.stop()
    wait_until(lambda: json.loads(tranship.get("/v2/_catalog").body)["repositories"] == names, what="the whole catalog")
    reply = tranship.get("/v2/_catalog")
    assert reply.status == 200 and reply.header("content-type") == "application/json" and reply.header("link") is None
    assert json.loads(reply.body)["repositories"] == names
    assert walk(tranship, "/v2/_catalog?n=3", "repositories") == (names, 2)
    assert json.loads(tranship.get("/v2/_catalog?last=b&n=1").body)["repositories"] == ["library/demo"]
