# SPDX-License-Identifier: Apache-2.0
"""What people read to know why: `tranship status`, `tranship explain`, /api/explain."""

import json

import images
import pytest
from bundles import command, pull, refused
from fake_registry import FakeRegistry

LARGE = images.random_bytes(3_000_000, "explained")
SECRET = "hunter2-secret"


@pytest.fixture
def image(fake):
    return fake.add("library/demo", images.image([images.random_bytes(300_000, "small"), LARGE]), "latest")


@pytest.fixture
def mirror_registry():
    one = FakeRegistry()
    yield one
    one.heal()
    one.stop()


def explained(data, name, *more):
    return json.loads(command("explain", "--json", "--data", data, *more, name))


def states(image_held):
    """{digest: (state, bytes here)} of an image and what it names."""
    found = {image_held["digest"]: (image_held["state"], image_held["present"])}
    for child in image_held.get("children", ()):
        found |= states(child)
    return found


# --- status -----------------------------------------------------------------------------------------------------------

def test_status_shows_the_running_mirror_on_one_screen(start, fake, image, tmp_path):
    mirror = start()
    pull(mirror, "library/demo", "latest", image)
    screen = command("status", "--data", tmp_path / "data")
    for part in (f"127.0.0.1:{mirror.port}", str(tmp_path / "data"), fake.url, "held      3.1 MiB in 4 blobs", "fetched",
                 "10 registries that nobody has asked for yet"):
        assert part in screen, screen
    found = json.loads(command("status", "--json", "--data", tmp_path / "data"))
    assert found["held"]["blobs"] == 4


def test_status_shows_a_source_that_is_out_and_what_comes_in(start, fake, image, mirror_registry, tmp_path):
    mirror_registry.fault("registry GET", status=500)
    mirror = start(mirror=mirror_registry.url)
    mirror.manifest("library/demo", "latest")
    fault = fake.fault("registry GET .*/blobs/", stall_at=1_000_000)
    with mirror.wire() as client:
        client.ask(f"/v2/library/demo/blobs/{image.layer}")
        assert client.head().status == 200
        client.drain(900_000, LARGE)
        screen = command("status", "--data", tmp_path / "data")
        fault.release()
    assert "on their way in\n  docker.io/library/demo" in screen and " of 2.8 MiB" in screen
    line = next(line for line in screen.split("\n") if mirror_registry.url in line)
    assert "mirror" in line and "out " in line and "(error, 1 in a row)" in line


def test_status_says_that_nobody_runs_there(tmp_path):
    assert "no server runs on" in refused("status", "--data", tmp_path)
    refused("status", "--data", tmp_path, "more", status=2)


# --- explain ----------------------------------------------------------------------------------------------------------

def test_explain_tells_what_is_held_partial_and_missing_and_dials_nobody(start, fake, image, tmp_path):
    data = tmp_path / "data"
    _, small, large = image.blobs
    mirror = start(drain_timeout="0s")
    before = explained(data, "demo")
    assert before["tag"]["digest"] is None and before["image_held"]["state"] == "missing"
    assert before["tag"]["next"] == "the upstream is asked first" and not fake.asked()

    mirror.manifest("library/demo", "latest")
    mirror.blob("library/demo", small)
    for path in (f"blobs/{small}", f"manifests/{image.digest}"):
        mirror.wait_hit(f"/v2/library/demo/{path}")
    mirror.settle()
    fake.fault(f"registry GET .*/blobs/{large}", stall_at=2_000_000)
    with mirror.wire() as client:
        client.ask(f"/v2/library/demo/blobs/{large}")
        client.head()
        assert client.drain(1_900_000, LARGE) == 1_900_000
    asked = len(fake.asked())
    mirror.stop()  # what came of the large one is kept

    def check(found):
        assert (found["registry"], found["repository"]) == ("docker.io", "library/demo")
        assert found["tag"]["digest"] == image.digest and found["tag"]["confirmed_ago_s"] >= 0
        held = states(found["image_held"])
        assert [held[d][0] for d in (image.digest, small, large)] == ["held", "held", "partial"]
        assert 1_900_000 <= held[large][1] <= 2_000_000
        missing = sum(len(b) for d, b in image.blobs.items() if d != small) - held[large][1]
        assert found["sums"]["missing_bytes"] == missing and found["sums"]["held"] == 2

    stopped = explained(data, "demo")
    check(stopped)
    assert not stopped["is_running"] and "turn" not in stopped["sources"][0]
    start()
    running = explained(data, "demo")
    check(running)
    assert running["is_running"] and running["sources"][0]["turn"] == 1
    screen = command("explain", "--data", data, "demo")
    assert f"tag        latest is {image.digest}" in screen and "MiB of 2.8 MiB" in screen, screen
    assert len(fake.asked()) == asked


def test_explain_tells_the_order_and_why(start, fake, image, mirror_registry, tmp_path):
    """The mirror broke: it stands behind the origin, and the reason says so."""
    mirror_registry.fault("registry GET", status=500)
    mirror = start(mirror=mirror_registry.url)
    first = explained(tmp_path / "data", "demo")["sources"]
    assert [(s["role"], s["turn"], s["reason"]) for s in first] == [("mirror", 1, "not measured yet"),
                                                                      ("origin", 2, "not measured yet")]
    mirror.manifest("library/demo", "latest")
    broken, origin = explained(tmp_path / "data", "demo")["sources"]
    assert (broken["turn"], broken["state"], broken["reason"]) == (2, "out", "left out after failing")
    assert (origin["turn"], origin["reason"]) == (1, "answers well")
    screen = command("explain", "--data", tmp_path / "data", "demo")
    assert screen.index(f" 2. {mirror_registry.url}") < screen.index(f" 1. {fake.url}"), screen


def test_explain_tells_which_credential_and_token_but_shows_neither(start, fake, image, known_to_upstream, tmp_path):
    fake.auth, fake.users, fake.private = "bearer", {"ann": SECRET}, {"library/demo"}
    mirror = known_to_upstream("ann", SECRET)
    pull(mirror, "library/demo", "latest", image)
    found = explained(tmp_path / "data", "demo")
    assert found["sources"][0]["login"] == "password" and 0 < found["sources"][0]["token_ms"] <= 300_000
    texts = [json.dumps(found), command("explain", "--data", tmp_path / "data", "demo"),
             command("status", "--data", tmp_path / "data"), mirror.get("/api/explain?image=demo").body.decode()]
    for text in texts:
        assert SECRET not in text and "ann" not in text.split() and not [t for t in fake.token.issued if t in text]


def test_explain_tells_the_rules_of_a_registry(start, fake, image, tmp_path):
    config = tmp_path / "t.json"
    config.write_text(json.dumps({"registries": {
        "docker.io": {"origin": fake.url, "deny": ["*/miner"], "allow": ["library/*", "*/miner"],
                      "immutable_tags": ["1.*"], "tag_ttl": "5m", "hosts": ["hub.lan"]},
        "quay.io": {}}}))
    data, more = tmp_path / "data", ("--config", config)
    assert explained(data, "demo", *more)["allowed_by"] == "library/*"
    denied = explained(data, "owner/miner", *more)
    assert (denied["is_allowed"], denied["allowed_by"], denied.get("sources")) == (False, "*/miner", None)
    assert "a pull     is refused" in command("explain", "--data", data, *more, "owner/miner")
    assert (explained(data, "owner/other", *more)["is_allowed"]) is False
    fixed = explained(data, "demo:1.2", *more)
    assert fixed["tag"]["is_immutable"] and fixed["tag"]["ttl_ms"] == 300_000
    assert "http://hub.lan/v2/library/demo/" in fixed["ways"] and "/v2/library/demo/" in fixed["ways"]
    other = explained(data, "quay.io/o/r", *more)
    assert other["ways"] == ["/v2/quay.io/o/r/", "/v2/o/r/…?ns=quay.io"] and not other["is_running"]
    assert explained(data, "ghcr.io/o/r", *more)["is_known"] is False
    assert "never asked" in command("explain", "--data", data, *more, "ghcr.io/o/r")
    assert not data.exists()


def test_explain_tells_that_content_is_held_for_another_name_only(start, fake, image, tmp_path):
    """What that content names is not for whoever knows its digest."""
    mirror = start()
    pull(mirror, "library/demo", "latest", image)
    assert explained(tmp_path / "data", "demo")["image_held"]["is_of_repository"]
    name = f"quay.io/o/r@{image.digest}"

    def check():
        found = explained(tmp_path / "data", name)
        assert (found["image_held"]["state"], found["image_held"]["is_of_repository"]) == ("held", False)
        texts = json.dumps(found), command("explain", "--data", tmp_path / "data", name)
        assert "under another name" in texts[1]
        assert not [d for d in image.blobs for text in texts if d[:19] in text]

    check()
    mirror.stop()
    check()


def test_explain_tells_nothing_of_what_a_stranger_only_names(start, fake, image, known_to_upstream, tmp_path):
    """An index in a repository of his own names a private image; that index is no proof that the image is his."""
    fake.auth, fake.users, fake.private = "bearer", {"ann": SECRET}, {"library/demo", "his/own"}
    mirror = known_to_upstream("ann", SECRET)
    pull(mirror, "library/demo", "latest", image)
    fake.add("his/own", images.Image(images.OCI_INDEX, {"schemaVersion": 2, "mediaType": images.OCI_INDEX,
                                                        "manifests": [image.descriptor()]}, []), "latest")
    mirror.manifest("his/own", "latest")
    mirror.settle()
    found = explained(tmp_path / "data", "his/own")["image_held"]
    assert found["is_of_repository"] and [c["digest"] for c in found["children"]] == [image.digest]
    assert "children" not in found["children"][0]


def test_explain_counts_once_what_two_platforms_share(start, fake, tmp_path):
    shared = images.random_bytes(200_000, "shared")
    children = [(arch, images.image([shared, images.random_bytes(50_000, arch)], architecture=arch))
                for arch in ("amd64", "arm64")]
    top = fake.add("library/many", images.index(children), "latest")
    mirror = start()
    mirror.manifest("library/many", "latest")
    for _, child in children:
        mirror.manifest("library/many", child.digest)
    mirror.settle()
    found = explained(tmp_path / "data", "many")
    blobs = {d: len(b) for _, child in children for d, b in child.blobs.items()}
    of_each = [sum(map(len, child.blobs.values())) for _, child in children]
    assert (found["sums"]["missing"], found["sums"]["missing_bytes"]) == (len(blobs), sum(blobs.values()))
    assert [c["missing_bytes"] for c in found["image_held"]["children"]] == of_each
    assert sum(of_each) > sum(blobs.values())
    assert "linux/arm64, of all of it " in command("explain", "--data", tmp_path / "data", "many")


def test_explain_looks_into_an_index(start, fake, tmp_path):
    children = [(arch, images.image([images.random_bytes(50_000, arch)], architecture=arch)) for arch in ("amd64", "arm64")]
    top = fake.add("library/many", images.index(children), "latest")
    mirror = start()
    mirror.manifest("library/many", "latest")
    pull(mirror, "library/many", children[0][1].digest, children[0][1])
    mirror.settle()
    held, missing = explained(tmp_path / "data", "many")["image_held"]["children"]
    assert (held["platform"], held["state"], held["missing_bytes"]) == ("linux/amd64", "held", 0)
    assert (missing["platform"], missing["state"]) == ("linux/arm64", "missing")
    assert held["held_bytes"] == len(children[0][1].manifest) + sum(map(len, children[0][1].blobs.values()))


def test_what_a_stranger_wrote_moves_no_cursor(start, fake, tmp_path):
    child = images.image()
    top = fake.add("library/odd", images.index([("\x1b[2J\nheld \u009b1m\x7f", child)]), "latest")
    mirror = start()
    mirror.manifest("library/odd", "latest")
    mirror.settle()
    screen = command("explain", "--data", tmp_path / "data", "odd")
    assert "linux/?[2J?held ??1m?\n" in screen and not set(screen) & set("\x1b\x7f\u009b")


def test_explain_refuses_what_is_no_image(start, tmp_path):
    mirror = start()
    refused("explain", "--data", tmp_path / "data", "UPPER", status=2)
    refused("explain", "--data", tmp_path / "data", status=2)
    refused("explain", "--data", tmp_path / "data", "one", "two", status=2)
    assert mirror.get("/api/explain").status == mirror.get("/api/explain?image=UPPER").status == 400
    assert mirror.get("/api/explain?image=nowhere.example/x").status == 200
