# SPDX-License-Identifier: Apache-2.0
"""import --prune: what the bundle does not name goes once all of it is in, never what is pinned; with a mirror running on
the data folder and without."""

import contextlib
import json
import random
import signal
import sqlite3
import subprocess

import bundles
import images
import pytest
from bundles import archive, command, content, layout, refused, state
from harness import binary, clean_environment

SHARED = images.random_bytes(30_000, "a layer of both")
OLD = images.image([SHARED, images.random_bytes(20_000, "old")])
NEW = images.image([SHARED, images.random_bytes(20_000, "new")])
OTHER = images.image([images.random_bytes(25_000, "other")])
PINNED = images.image([images.random_bytes(10_000, "pinned")])
BY_DIGEST = bundles.multi("pinned by digest")


def pack(path, **named):
    """A bundle of ours with these images, {"docker.io/library/app:1": image}."""
    source = path.with_suffix(".side")
    command("import", "--data", source, archive(path.with_suffix(".oci"), layout([(i, n) for n, i in named.items()])))
    command("export", "--data", source, "-o", path, "--all")
    return path


def pin(data, repository, reference, digest=None):
    with contextlib.closing(sqlite3.connect(data / "tranship.db")) as db:
        key = b"\1" + bytes.fromhex(digest.split(":")[1]) if digest else None
        db.execute("INSERT INTO pin SELECT id, ?, ?, 1 FROM repository WHERE name = ?", (reference, key, repository))
        db.commit()


@pytest.fixture
def site(tmp_path):
    """A data folder with the images of before, two of them pinned."""
    data = tmp_path / "data"
    command("import", "--data", data, pack(tmp_path / "before.tar", **{
        "docker.io/library/app:1": OLD, "images.example/team/other:1": OTHER, "docker.io/library/kept:1": PINNED,
        "docker.io/library/fixed:1": BY_DIGEST}))
    pin(data, "library/kept", "1")
    pin(data, "library/fixed", BY_DIGEST.digest, BY_DIGEST.digest)
    return data


@pytest.fixture
def bundle(tmp_path):
    return pack(tmp_path / "b.tar", **{"docker.io/library/app:2": NEW})


def everything(*some):
    return {digest for image in some for digest in bundles.all_of(image)}


STAYS = everything(NEW, PINNED, BY_DIGEST)
GOES = everything(OLD, OTHER) - STAYS


@pytest.fixture(params=["running", "stopped"])
def mirror(request, site, start):
    """What serves it afterwards, and what runs on it meanwhile or not."""
    if request.param == "running":
        one = start(data=site, mode="offline")
        assert one.manifest("library/app", "1").status == 200  # and is remembered
        assert one.manifest("library/app", OLD.digest).status == 200
        assert one.blob("library/app", OLD.layer).status == 200
        assert one.manifest("images.example/team/other", "1").status == 200
        return lambda: one
    return lambda: start(data=site, mode="offline")


def check(site, one):
    assert content(site) == STAYS
    for name, image in (("library/app:2", NEW), ("library/kept:1", PINNED)):
        assert one.manifest(*name.split(":")).body == image.manifest
        for digest, data in image.blobs.items():
            assert one.blob(name.split(":")[0], digest).body == data
    assert one.manifest("library/fixed", BY_DIGEST.digest).body == BY_DIGEST.manifest
    for child in BY_DIGEST.children:
        assert one.manifest("library/fixed", child.digest).body == child.manifest
    for name, reference in (("library/app", "1"), ("library/app", OLD.digest), ("images.example/team/other", "1"),
                            ("images.example/team/other", OTHER.digest)):
        assert one.manifest(name, reference).status == 404
    for digest in GOES:
        assert one.blob("library/app", digest).status == 404
        assert one.blob("images.example/team/other", digest).status == 404
    assert json.loads(one.get("/v2/_catalog").body)["repositories"] == ["library/app", "library/fixed", "library/kept"]
    assert json.loads(one.get("/v2/library/app/tags/list").body)["tags"] == ["2"]


def test_what_the_bundle_does_not_name_goes_and_what_is_pinned_stays(site, bundle, mirror):
    said = command("import", "--data", site, "--prune", bundle)
    assert f"3 tags and {len(GOES)} blobs that it does not name are gone" in said, said
    check(site, mirror())
    assert "not name" not in command("import", "--data", site, "--prune", bundle)
    assert content(site) == STAYS


def test_a_dry_run_tells_what_would_go_and_nothing_goes(site, bundle, mirror):
    running = mirror()
    before = state(site)[0], state(site)[2]
    done = subprocess.run([binary(), "import", "--data", site, "--prune", "--dry-run", bundle], capture_output=True, text=True,
                          env=clean_environment(), check=True)
    assert f"3 tags and {len(GOES)} blobs that it does not name would go" in done.stdout
    assert done.stderr.splitlines() == [f"tranship: {name} would go" for name in (
        "docker.io/library/app:1", "docker.io/library/fixed:1", "images.example/team/other:1")]
    assert (state(site)[0], state(site)[2]) == before
    assert running.manifest("library/app", "1").body == OLD.manifest


def test_without_it_nothing_goes(site, bundle):
    before = content(site)
    command("import", "--data", site, bundle)
    assert content(site) == before | everything(NEW)


def test_a_refused_import_prunes_nothing(site, bundle, tmp_path):
    before = state(site)
    data = bytearray(bundle.read_bytes())
    data[-3000] ^= 1
    (tmp_path / "bad.tar").write_bytes(data)
    refused("import", "--data", site, "--prune", tmp_path / "bad.tar")
    assert state(site) == before


def test_nothing_goes_before_all_volumes_were_there(site, tmp_path):
    pack(tmp_path / "b.tar", **{"docker.io/library/app:2": images.image([images.random_bytes(2_500_000, "large")])})
    command("export", "--data", tmp_path / "b.side", "-o", tmp_path / "v.tar", "--all", "--volume-size", "2MB")
    volumes = sorted(tmp_path.glob("v.tar.*"))
    before = content(site)
    for path in volumes[1:]:
        command("import", "--data", site, "--prune", path, status=75)
        assert content(site) == before
    assert "are gone" in command("import", "--data", site, "--prune", volumes[0])


def test_what_a_delta_leaves_out_stays(site, tmp_path, start):
    side = tmp_path / "b.side"
    pack(tmp_path / "b.tar", **{"docker.io/library/app:1": OLD, "docker.io/library/app:2": NEW})
    command("receipt", "--data", site, "-o", tmp_path / "receipt")
    command("export", "--data", side, "-o", tmp_path / "delta.tar", "--all", "--since", tmp_path / "receipt")
    assert bundles.blobs_in(tmp_path / "delta.tar") == everything(NEW) - everything(OLD)
    command("import", "--data", site, "--prune", tmp_path / "delta.tar")
    assert content(site) == everything(OLD, NEW, PINNED, BY_DIGEST)
    assert start(data=site, mode="offline").manifest("library/app", "1").body == OLD.manifest


def test_the_archive_of_another_tool_prunes_too(site, tmp_path):
    command("import", "--data", site, "--prune", archive(tmp_path / "a.tar", layout([(NEW, "docker.io/library/app:2")])))
    assert content(site) == STAYS


def test_a_second_bundle_is_not_taken_for_it_would_prune_the_first(site, bundle, tmp_path):
    more = pack(tmp_path / "more.tar", **{"docker.io/library/more:1": OTHER})
    assert "one bundle" in command("import", "--data", site, "--prune", bundle, more, status=2)
    assert content(site) == STAYS


def test_a_bundle_of_nothing_prunes_nothing(site, bundle, tmp_path):
    members = bundles.members(bundle)
    said = json.loads(members["tranship/bundle.json"])
    said.update(repositories=[])
    before = state(site)
    assert "names no image" in refused("import", "--data", site, "--prune", bundles.ours(tmp_path / "none.tar", {
        **members, "tranship/bundle.json": json.dumps(said).encode()}), status=2)
    assert state(site) == before


def test_a_client_that_reads_what_goes_gets_all_of_it(site, bundle, start, tmp_path):
    large = images.image([images.random_bytes(20_000_000, "being read")])
    command("import", "--data", site, pack(tmp_path / "large.tar", **{"docker.io/library/large:1": large}))
    mirror = start(data=site, mode="offline")
    with mirror.wire(receive_buffer=4096) as client:
        client.ask(f"/v2/library/large/blobs/{large.layer}")
        reply = client.head()
        command("import", "--data", site, "--prune", bundle)
        assert content(site) == STAYS
        client.rest(reply)
        assert reply.is_whole and reply.body == large.blobs[large.layer]
    assert mirror.blob("library/large", large.layer).status == 404


def test_killed_at_any_moment_it_ends_as_an_undisturbed_one(site, bundle):
    dice = random.Random(7)
    for _ in range(15):
        process = subprocess.Popen([binary(), "import", "--data", site, "--prune", bundle], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, env=clean_environment())
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=dice.uniform(0.002, 0.06))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert everything(PINNED, BY_DIGEST) <= content(site)
        if everything(OLD, OTHER) - content(site):  # it has begun to prune: by then all of it was in
            assert STAYS <= content(site)
    command("import", "--data", site, "--prune", bundle)
    assert content(site) == STAYS
    assert not list(site.glob("import/*"))
