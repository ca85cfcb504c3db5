# SPDX-License-Identifier: Apache-2.0
"""Ahead of the client: who took an image's manifest finds its layers on their way, or here; nothing that a client waits
for is slower for it, and nothing comes that nobody will ask for."""

import json

import images
import pytest
from harness import wait_until

BLOB = "registry GET .*/blobs/"
AHEAD = {"prefetch": "yes"}
OTHER = images.random_bytes(200_000, "another blob")


def layers(name, count=3, size=300_000):
    return [images.random_bytes(size, f"{name} {k}") for k in range(count)]


@pytest.fixture
def image(fake):
    return fake.add("a/b", images.image(layers("ahead")), "v1")


@pytest.fixture
def other(fake):
    return fake.add_blob("a/b", OTHER)


def asked(fake):
    """How often which blob was asked for."""
    found = [r.path.rsplit("/", 1)[1] for r in fake.asked(BLOB)]
    return {digest: found.count(digest) for digest in found}


def test_config_and_layers_come_before_they_are_asked_for_and_come_once(fake, start, image):
    mirror = start(**AHEAD)
    assert mirror.manifest("a/b", "v1").status == 200
    for digest in image.blobs:
        mirror.wait_held(digest)
    assert mirror.metric("prefetch_begun_total") == len(image.blobs)
    for digest, data in image.blobs.items():
        assert mirror.blob("a/b", digest).body == data
    assert asked(fake) == {digest: 1 for digest in image.blobs}
    wait_until(lambda: mirror.metric("prefetch_asked_total") == len(image.blobs), what="all counted as asked for")


def test_who_asks_meanwhile_follows_what_is_coming(fake, start, image):
    fault = fake.fault(f"{BLOB}{image.layer}", stall_at=100_000)
    mirror = start(**AHEAD)
    assert mirror.manifest("a/b", "v1").status == 200
    fake.wait_asked(f"{BLOB}{image.layer}")
    with mirror.wire() as client:
        client.ask(f"/v2/a/b/blobs/{image.layer}")
        reply = client.head()
        assert reply.header("cache-status") == "tranship; fwd=uri-miss; collapsed"
        fault.release()
        assert client.rest(reply).body == image.blobs[image.layer]
    assert asked(fake)[image.layer] == 1


def test_neither_a_head_nor_an_index_makes_anything_come(fake, start, other):
    one, two = (images.image(layers(name)) for name in ("one", "two"))
    index = fake.add("a/b", images.index([("amd64", one), ("arm64", two)]), "v1")
    mirror = start(**AHEAD)
    mirror.head("/v2/a/b/manifests/v1")
    mirror.head(f"/v2/a/b/manifests/{two.digest}")
    assert mirror.manifest("a/b", "v1").body == index.manifest
    assert mirror.blob("a/b", other).body == OTHER
    assert mirror.manifest("a/b", one.digest).status == 200
    for digest in one.blobs:
        mirror.wait_held(digest)
    assert set(asked(fake)) == {other, *one.blobs}


@pytest.mark.parametrize("how", ["option", "registry", "scarce", "limited"])
def test_nothing_comes_ahead_where_that_is_off_or_the_source_is_to_be_spared(fake, start, image, other, tmp_path, how):
    options = dict(AHEAD)
    if how == "option":
        options["prefetch"] = "no"
    elif how == "registry":
        options["config"] = tmp_path / "tranship.json"
        options["config"].write_text(json.dumps({"registries": {"docker.io": {"prefetch": "no"}}}))
    elif how == "scarce":
        fake.fault("GET .*manifests", headers={"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "5;w=21600"})
    mirror = start(**options)
    if how == "limited":
        fake.fault("GET .*/tags/list", status=429, headers={"Retry-After": "60"})
        mirror.get("/v2/a/b/tags/list")
    assert mirror.manifest("a/b", "v1").status == 200
    assert mirror.blob("a/b", other).body == OTHER
    assert set(asked(fake)) == {other} and mirror.metric("prefetch_begun_total") == 0


def test_so_many_at_once_and_no_more(fake, start):
    image = fake.add("a/b", images.image(layers("many", 8)), "v1")
    fault = fake.fault(BLOB, stall_at=1000)
    mirror = start(prefetch_flows=2, **AHEAD)
    assert mirror.manifest("a/b", "v1").status == 200
    fake.wait_asked(BLOB, 2)
    assert mirror.metric("prefetch_begun_total") == 2
    fault.release()
    fake.heal()
    for digest in image.blobs:
        mirror.wait_held(digest)


def test_no_more_bytes_ahead_than_the_option_says(fake, start):
    image = fake.add("a/b", images.image(layers("bytes", 5, 900_000)), "v1")
    mirror = start(prefetch_size="2MiB", **AHEAD)
    assert mirror.manifest("a/b", "v1").status == 200
    wait_until(lambda: sum(len(image.blobs[d]) for d in mirror.held() if d in image.blobs) > 1_800_000, what="two layers")
    assert len(asked(fake)) <= 3
    for digest, data in image.blobs.items():  # each that is asked for makes room
        assert mirror.blob("a/b", digest).body == data


def test_it_makes_way_for_what_a_client_waits_for_and_goes_on_later(fake, start, other):
    data = images.random_bytes(20 << 20, "a large layer")
    image = fake.add("a/b", images.image([data]), "v1")
    fake.fault(f"{BLOB}{image.layer}", count=1, stall_at=10 << 20)
    mirror = start(max_per_host=1, **AHEAD)
    assert mirror.manifest("a/b", "v1").status == 200
    fake.wait_sent(image.layer, 10 << 20)
    assert mirror.blob("a/b", other).body == OTHER
    assert mirror.metric("prefetch_dropped_total") >= 1
    fake.forget()
    assert mirror.blob("a/b", image.layer).body == data
    assert [r.header("range") for r in fake.asked(f"{BLOB}{image.layer}")][0] is not None
    assert fake.sent(image.layer) < 12 << 20
