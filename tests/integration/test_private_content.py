# SPDX-License-Identifier: Apache-2.0
"""What was fetched with a credential is given under the repository that it came from, and nowhere else."""

import images
import pytest

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
