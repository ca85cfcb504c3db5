# SPDX-License-Identifier: Apache-2.0
"""Across the air gap: what was pulled on one side is exported, imported on the other, and served there with no upstream."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tarfile

import bundles
import images
import pytest
from bundles import command, content, refused, state
from harness import Tranship, binary, clean_environment, wait_until

KILLS = int(os.environ.get("KILLS", "50"))
SEED = os.environ.get("SEED", "1")
NOWHERE = "http://127.0.0.1:1"


class OpenSide:
    """library/multi:1.0 (two platforms, a referrer, a signature's tag) and library/plain:2, held; a key pair."""

    def __init__(self, fake, start, folder):
        self.folder, self.fake = folder, fake
        self.mirror = start(data=folder / "open")
        self.data = self.mirror.data
        self.multi = fake.add("library/multi", bundles.multi("open"), "1.0")
        self.plain = fake.add("library/plain", images.image([images.random_bytes(30_000, "plain")]), "2")
        self.sbom = fake.add("library/multi", images.artifact(self.multi, "application/vnd.example.sbom", "an SBOM"))
        self.sig_tag = self.multi.digest.replace(":", "-") + ".sig"
        self.sig = fake.add("library/multi", images.image([b"cosign"]), self.sig_tag)
        for name, reference, image in (("multi", "1.0", self.multi), ("plain", "2", self.plain),
                                       ("multi", self.sbom.digest, self.sbom), ("multi", self.sig_tag, self.sig)):
            self.pull(name, reference, image)
        command("keygen", "-o", folder / "site")

    def pull(self, name, reference, image):
        bundles.pull(self.mirror, f"library/{name}", reference, image)
        self.mirror.wait_hit(f"/v2/library/{name}/manifests/{reference}")

    def export(self, to="b.tar", *words):
        command("export", "--data", self.data, "-o", self.folder / to, "--sign", self.folder / "site", *(words or ["--all"]))
        return self.folder / to

    def everything(self):
        return {d: b for i in (self.multi, self.plain, self.sbom, self.sig) for d, b in bundles.all_of(i).items()}


@pytest.fixture
def open_side(fake, start, tmp_path):
    return OpenSide(fake, start, tmp_path)


@pytest.fixture
def closed(tmp_path):
    return tmp_path / "closed"


def take(closed, *files, verify=None, **more):
    words = ["--verify", verify] if verify else []
    return command("import", "--data", closed, *words, *files, **more)


def check_served(mirror, side):
    """Every route to every image, with no upstream."""
    assert mirror.manifest("library/multi", "1.0").body == side.multi.manifest
    for child in side.multi.children:
        assert mirror.manifest("library/multi", child.digest).body == child.manifest
        for digest, data in child.blobs.items():
            assert mirror.blob("library/multi", digest).body == data
    assert mirror.manifest("docker.io/library/plain", "2").body == side.plain.manifest
    assert mirror.get("/v2/library/plain/manifests/2?ns=docker.io").body == side.plain.manifest
    assert mirror.manifest("library/multi", side.sig_tag).body == side.sig.manifest
    listed = json.loads(mirror.get(f"/v2/library/multi/referrers/{side.multi.digest}").body)["manifests"]
    assert [d["digest"] for d in listed] == [side.sbom.digest]
    assert json.loads(mirror.get("/v2/library/multi/tags/list").body)["tags"] == sorted(["1.0", side.sig_tag])
    assert mirror.manifest("library/other", "latest").status == 404


def test_what_was_pulled_is_served_on_the_other_side_without_an_upstream(open_side, closed, start):
    bundle = open_side.export()
    take(closed, bundle, verify=open_side.folder / "site.pub")
    assert content(closed) == set(open_side.everything())
    assert list(closed.glob("import/*")) == []
    check_served(start(data=closed, upstream=NOWHERE, mode="offline"), open_side)


def test_a_folder_crosses_as_a_file_does(open_side, closed, start):
    bundle = open_side.export("folder/")
    take(closed, bundle, verify=open_side.folder / "site.pub")
    check_served(start(data=closed, upstream=NOWHERE, mode="offline"), open_side)


@pytest.mark.parametrize("tool", ["gzip", "zstd"])
def test_a_bundle_packed_by_others_is_unpacked(open_side, closed, tool):
    if not shutil.which(tool):
        pytest.skip(f"not installed: {tool}")
    bundle = open_side.export()
    subprocess.run([tool, "-q", bundle], check=True)
    take(closed, next(open_side.folder.glob("b.tar.*z*")), verify=open_side.folder / "site.pub")
    assert content(closed) == set(open_side.everything())


def test_importing_again_changes_nothing(open_side, closed):
    bundle = open_side.export()
    take(closed, bundle)
    before = content(closed)
    assert "0 were new" in take(closed, bundle)
    assert content(closed) == before and list(closed.glob("import/*")) == []


def test_a_closed_side_that_lost_its_index_gets_its_names_back_without_a_blob(open_side, closed, start, tmp_path):
    take(closed, open_side.export())
    for file in closed.glob("tranship.db*"):
        file.unlink()
    command("receipt", "--data", closed, "-o", tmp_path / "receipt")
    names = open_side.export("names.tar", "--all", "--since", tmp_path / "receipt")
    assert bundles.blobs_in(names) == set()
    take(closed, names)
    check_served(start(data=closed, upstream=NOWHERE, mode="offline"), open_side)


def test_a_dry_run_tells_what_would_come_and_leaves_nothing(open_side, closed):
    bundle = open_side.export()
    assert "would be new" in take(closed, "--dry-run", bundle)
    assert content(closed) == set() and list(closed.glob("import/*")) == [] and not (closed / "tranship.db").exists()
    take(closed, bundle)
    assert content(closed) == set(open_side.everything())


def test_offline_a_disk_that_others_fill_drives_out_nothing(open_side, closed, start):
    take(closed, open_side.export())
    mirror = start(data=closed, upstream=NOWHERE, mode="offline", keep_free="99%")
    take(closed, open_side.folder / "b.tar")  # once that is answered the ledger has looked for what may go
    check_served(mirror, open_side)
    assert mirror.metric("evicted_blobs_total") == 0
    mirror.stop()
    mirror = start(data=closed, upstream=NOWHERE, keep_free="99%")
    wait_until(lambda: not content(closed), 20, "online, all of it going")


# --- beside a running mirror -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["index.json", "oci-layout", "manifest.json"])
def test_a_signed_folder_of_which_a_file_was_changed_is_refused(open_side, closed, tmp_path, name):
    (folder := tmp_path / "folder").mkdir()
    open_side.export("folder", "--all")
    data = bytearray((folder / name).read_bytes())
    data[-2] ^= 1
    (folder / name).write_bytes(data)
    assert name in refused("import", "--data", closed, "--verify", tmp_path / "site.pub", folder)
    (folder / name).unlink()
    assert name in refused("import", "--data", closed, "--verify", tmp_path / "site.pub", folder)
    assert content(closed) == set() and not list(closed.glob("import/*"))


@pytest.mark.parametrize("is_running", [False, True])
def test_what_the_budget_would_drive_out_again_is_refused(open_side, closed, tmp_path, start, is_running):
    """Nobody at a closed site could bring it once more."""
    large = images.image([images.random_bytes(700_000, f"large{i}") for i in range(3)])
    open_side.fake.add("library/large", large, "1")
    open_side.pull("large", "1", large)
    bundle = open_side.export()
    if is_running:  # what it was started with counts
        start(data=closed, upstream=NOWHERE, mode="offline", budget="2MB")
        said = refused("import", "--data", closed, bundle)
    else:
        (tmp_path / "small.json").write_text(json.dumps({"budget": "2MB"}))
        said = refused("import", "--data", closed, "--config", tmp_path / "small.json", bundle)
    assert "budget" in said and "evicted" in said
    assert content(closed) == set() and not list(closed.glob("import/*"))


def test_an_import_beside_a_running_mirror_is_served_at_once(open_side, closed, start):
    mirror = start(data=closed, upstream=NOWHERE, mode="offline")
    assert mirror.manifest("library/multi", "1.0").status == 404
    assert json.loads(mirror.get("/v2/_catalog").body)["repositories"] == []
    take(closed, open_side.export(), verify=open_side.folder / "site.pub")
    check_served(mirror, open_side)
    assert json.loads(mirror.get("/v2/_catalog").body)["repositories"] == ["library/multi", "library/plain"]
    assert list(closed.glob("import/*")) == []


def test_a_tag_that_an_import_moves_is_served_as_moved_at_once(open_side, closed, start, tmp_path):
    take(closed, open_side.export())
    mirror = start(data=closed, upstream=NOWHERE, mode="offline")
    assert mirror.manifest("library/multi", "1.0").body == open_side.multi.manifest
    new = moved_on(open_side)
    again = start(data=open_side.data, tag_ttl="0s")
    bundles.pull(again, "library/multi", "1.0", new)
    again.wait_tag("library/multi", "1.0", new.digest)
    again.stop()
    take(closed, open_side.export("new.tar"))
    assert mirror.manifest("library/multi", "1.0").body == new.manifest


def test_a_running_mirror_admits_only_what_was_staged(closed, start):
    mirror = start(data=closed, upstream=NOWHERE, mode="offline")
    for body in ("", "x", "../blobs", "0" * 64, "0" * 63 + "/"):
        assert mirror.ask_local("/control/import", "POST", body=body.encode()).status in (400, 404, 500), body
    assert mirror.get("/v2/").status == 200


def test_a_mirror_that_is_stopped_during_imports_ends_in_order(open_side, closed, start):
    bundle = open_side.export()
    for turn in range(5):
        mirror = start(data=closed, upstream=NOWHERE, mode="offline", drain_timeout="0s")
        imports = [subprocess.Popen([binary(), "import", "--data", closed, bundle], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                    env=clean_environment()) for _ in range(2)]
        mirror.get("/v2/")
        mirror.stop()
        for one in imports:
            one.wait(30)
    take(closed, bundle)
    assert content(closed) == set(open_side.everything())


# --- signatures ----------------------------------------------------------------------------------------------------------
def test_unsigned_and_wrongly_signed_bundles_are_refused(open_side, closed, tmp_path):
    command("keygen", "-o", tmp_path / "other")
    bundle = open_side.export()
    assert "not signed by that key" in refused("import", "--data", closed, "--verify", tmp_path / "other.pub", bundle)
    command("export", "--data", open_side.data, "-o", tmp_path / "u.tar", "--all")
    assert "is not signed" in refused("import", "--data", closed, "--verify", tmp_path / "site.pub", tmp_path / "u.tar")
    assert content(closed) == set() and list(closed.glob("import/*")) == []


def test_a_key_file_that_is_none_verifies_nothing(open_side, closed, tmp_path):
    bundle = open_side.export()
    (tmp_path / "empty").write_text("")
    assert "key" in refused("import", "--data", closed, "--verify", tmp_path / "empty", bundle, status=2)
    assert "no such file" in refused("import", "--data", closed, "--verify", tmp_path / "none", bundle)
    assert content(closed) == set()


# --- deltas --------------------------------------------------------------------------------------------------------------
def moved_on(side):
    """library/multi:1.0 gets a new child; the old layers stay."""
    new = images.index([("amd64", side.multi.children[0]), ("arm64", images.image([images.random_bytes(2_000_000, "new")], architecture="arm64"))])
    side.fake.add("library/multi", new, "1.0")
    side.mirror.stop()
    return new


def test_a_delta_is_as_large_as_what_is_new_and_makes_the_other_side_equal(open_side, closed, start, tmp_path):
    take(closed, open_side.export())
    command("receipt", "--data", closed, "-o", tmp_path / "receipt")
    new = moved_on(open_side)
    again = start(data=open_side.data, tag_ttl="0s")
    bundles.pull(again, "library/multi", "1.0", new)
    again.wait_tag("library/multi", "1.0", new.digest)
    again.stop()
    delta = open_side.export("delta.tar", "--all", "--since", tmp_path / "receipt")
    fresh = {new.digest: new.manifest, **bundles.all_of(new.children[1])}
    assert bundles.blobs_in(delta) == set(fresh)
    assert delta.stat().st_size <= 1.01 * sum(map(len, fresh.values()))
    take(closed, delta, verify=tmp_path / "site.pub")
    offline = start(data=closed, upstream=NOWHERE, mode="offline")
    assert offline.manifest("library/multi", "1.0").body == new.manifest
    for digest, data in bundles.all_of(new).items():
        assert closed.joinpath("blobs", *digest.split(":")).read_bytes() == data


def test_a_delta_is_refused_where_what_it_leaves_out_is_missing(open_side, closed, tmp_path):
    take(closed, open_side.export())
    command("receipt", "--data", closed, "-o", tmp_path / "receipt")
    delta = open_side.export("delta.tar", "--all", "--since", tmp_path / "receipt")
    closed.joinpath("blobs", *open_side.plain.layer.split(":")).unlink()
    before = state(closed)
    said = command("import", "--data", closed, delta, status=1)
    assert f"not held: {open_side.plain.layer}" in said and "new receipt" in said
    assert state(closed) == before


# --- volumes -------------------------------------------------------------------------------------------------------------
@pytest.fixture
def volumes(open_side):
    """A bundle in volumes; the last layer is larger than one."""
    large = open_side.fake.add("library/large", images.image([images.random_bytes(n, f"v{n}") for n in (700_000, 900_000, 4_000_000)]), "1")
    open_side.pull("large", "1", large)
    open_side.large = large
    open_side.export("v.tar", "--all", "--volume-size", "2MB")
    found = sorted(open_side.folder.glob("v.tar.*"))
    assert len(found) >= 4
    return found


def test_volumes_come_in_any_order_and_in_one_go(volumes, open_side, closed):
    take(closed, *random.Random(3).sample(volumes, len(volumes)), verify=open_side.folder / "site.pub")
    assert content(closed) == set(open_side.everything() | bundles.all_of(open_side.large))
    assert list(closed.glob("import/*")) == []


@pytest.mark.parametrize("lacks", [False, True])
def test_a_dry_run_judges_the_volumes_of_one_command_together(volumes, open_side, closed, tmp_path, lacks):
    """In any order, one of them twice; and none of it counts for the next."""
    given = random.Random(5).sample(volumes[lacks:], len(volumes) - lacks)
    said = take(closed, "--dry-run", given[0], *given, verify=tmp_path / "site.pub", status=75 if lacks else 0)
    assert ("would be new" in said) != lacks
    assert content(closed) == set() and not list(closed.glob("import/*"))
    take(closed, "--dry-run", volumes[0], status=75)
    take(closed, *volumes)
    assert content(closed) == set(open_side.everything() | bundles.all_of(open_side.large))


@pytest.mark.parametrize("number", range(4))
def test_a_dry_run_finds_the_bad_volume_among_good_ones_and_leaves_nothing(volumes, closed, tmp_path, number):
    """Of a blob that is cut in pieces too, which nobody can judge before the last of them."""
    data = bytearray(volumes[number].read_bytes())
    data[-2000] ^= 1
    volumes[number].write_bytes(data)
    refused("import", "--data", closed, "--dry-run", "--verify", tmp_path / "site.pub", *volumes)
    assert content(closed) == set() and not list(closed.glob("import/*"))


def test_volumes_that_came_before_may_come_again_in_any_place(volumes, open_side, closed, tmp_path):
    """Whoever repeats the command for all of them gets the end of it, wherever it was interrupted."""
    take(closed, *volumes[1:], status=75)
    said = take(closed, *volumes, verify=tmp_path / "site.pub")
    assert "missing" not in said and said.count("0 were new") == len(volumes) - 1
    assert content(closed) == set(open_side.everything() | bundles.all_of(open_side.large)) and not list(closed.glob("import/*"))


def test_volumes_come_one_by_one_and_the_missing_are_told(volumes, open_side, closed):
    for path in volumes[:0:-1]:
        left = ", ".join(str(n) for n in range(1, int(path.suffix[1:])))
        assert take(closed, path, status=75) == f"{path}: taken; still missing: volumes {left} of {len(volumes)}\n"
        assert content(closed) == set()
    take(closed, volumes[0])
    assert content(closed) == set(open_side.everything() | bundles.all_of(open_side.large))


def test_volumes_that_are_missing_are_told_whatever_came_after_them(volumes, open_side, closed):
    take(closed, volumes[0], open_side.export("other.tar", "plain:2"), status=75)
    assert content(closed) == set(bundles.all_of(open_side.plain))
    take(closed, *volumes[1:], open_side.folder / "other.tar")
    assert content(closed) == set(open_side.everything() | bundles.all_of(open_side.large))


def test_a_bad_volume_is_refused_and_the_good_ones_stay_for_a_better_one(volumes, open_side, closed, tmp_path):
    take(closed, *volumes[1:], status=75)
    bad = bytearray(volumes[0].read_bytes())
    bad[-2000] ^= 1
    (tmp_path / "bad").write_bytes(bad)
    refused("import", "--data", closed, tmp_path / "bad")
    assert content(closed) == set()
    take(closed, volumes[0])
    assert content(closed) == set(open_side.everything() | bundles.all_of(open_side.large))


def test_pieces_that_do_not_make_the_blob_are_refused_with_all_of_it(volumes, open_side, closed, tmp_path):
    """Of a piece alone nobody can tell."""
    with tarfile.open(volumes[-2]) as tar:
        at = next(entry.offset_data for entry in tar if entry.name.startswith("tranship/pieces/"))
    data = bytearray(volumes[-2].read_bytes())
    data[at + 1000] ^= 1
    (tmp_path / "bad").write_bytes(data)
    command("import", "--data", closed, *volumes[:-2], tmp_path / "bad", volumes[-1], status=1)
    assert content(closed) == set() and list(closed.glob("import/*")) == []
    take(closed, *volumes)
    assert content(closed) == set(open_side.everything() | bundles.all_of(open_side.large))


# --- corruption ----------------------------------------------------------------------------------------------------------
def corrupted(data, dice):
    """One random harm: a bit, a cut, padding, a swap of two stretches, a stretch left out or doubled."""
    kind = dice.randrange(6)
    at = dice.randrange(len(data))
    if kind <= 1:
        changed = bytearray(data)
        changed[at] ^= 1 << dice.randrange(8)
        return bytes(changed)
    if kind == 2:
        return data[:at]
    if kind == 3:
        return data + dice.choice([b"\0", b"\0" * 512, b"\0" * 10240, dice.randbytes(700), data])
    size = dice.choice([1, 100, 512, 1024])
    other = dice.randrange(len(data))
    a, b = sorted((at, other))
    if kind == 4 and data[a:a + size] != data[b:b + size] and b - a >= size and b + size <= len(data):
        return data[:a] + data[b:b + size] + data[a + size:b] + data[a:a + size] + data[b + size:]
    return data[:at] + data[at + size:] if kind == 5 and at + size < len(data) else data[:at] + data[at:at + size] + data[at:]


def test_no_harm_done_to_a_signed_bundle_gets_in(open_side, closed, tmp_path):
    """CORRUPTIONS=1000 for the long story."""
    dice = random.Random(SEED)
    open_side.export("first.tar", "plain:2")
    take(closed, tmp_path / "first.tar")
    data = open_side.export("b.tar", "multi:1.0").read_bytes()
    before = state(closed)
    for turn in range(int(os.environ.get("CORRUPTIONS", "150"))):
        bad = corrupted(data, dice)
        assert bad != data
        (tmp_path / "bad.tar").write_bytes(bad)
        said = command("import", "--data", closed, "--verify", tmp_path / "site.pub", tmp_path / "bad.tar", status=1)
        assert said.startswith("tranship: ") and said.count("\n") == 1, said
        assert content(closed) == {f"sha256:{name}" for name in before[0]} and list(closed.glob("import/*")) == [], turn
    assert state(closed) == before


def without_times(dump):
    return re.sub(r"\b1[0-9]{9}\b", "TIME", dump)


# --- kills ---------------------------------------------------------------------------------------------------------------
def test_an_import_killed_at_any_moment_goes_on_and_ends_as_an_undisturbed_one(open_side, closed, tmp_path):
    """KILLS says how often. Until it is done no tag is seen."""
    dice = random.Random(SEED)
    many = images.image([images.random_bytes(20_000, f"k{i}") for i in range(60)])
    open_side.fake.add("library/many", many, "1")
    open_side.pull("many", "1", many)
    bundle = open_side.export()
    undisturbed = tmp_path / "undisturbed"
    take(undisturbed, bundle)
    wanted = state(undisturbed)
    kills = 0
    for turn in range(40 * KILLS):
        if kills == KILLS:
            break
        process = subprocess.Popen([binary(), "import", "--data", closed, bundle], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                   env=clean_environment())
        try:
            said = process.communicate(timeout=dice.uniform(0.002, 0.15))
            assert process.returncode == 0, said
            shutil.rmtree(closed)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            for path in closed.glob("blobs/*/*"):
                assert images.digest_of(path.read_bytes()) == f"{path.parent.name}:{path.name}"
    assert kills == KILLS
    take(closed, bundle)
    found = state(closed)
    assert found[0] == wanted[0] and found[2] == []
    assert without_times(found[1]) == without_times(wanted[1])


def test_a_mirror_killed_while_it_admits_serves_all_or_nothing_and_the_import_goes_on(open_side, closed):
    dice = random.Random(SEED)
    bundle = open_side.export()
    for _ in range(12):
        mirror = Tranship(closed, NOWHERE, {"mode": "offline"}).ready()
        process = subprocess.Popen([binary(), "import", "--data", closed, bundle], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   env=clean_environment())
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(dice.uniform(0.005, 0.12))
        mirror.kill()
        process.kill()
        process.wait()
        mirror = Tranship(closed, NOWHERE, {"mode": "offline"}).ready()
        try:
            is_in = mirror.manifest("library/multi", "1.0").status == 200
            if is_in:
                check_served(mirror, open_side)
            mirror.stop()
        finally:
            mirror.kill()
        if is_in:  # once more, from nothing
            shutil.rmtree(closed)
    mirror = Tranship(closed, NOWHERE, {"mode": "offline"}).ready()
    try:
        take(closed, bundle)
        check_served(mirror, open_side)
        mirror.stop()
    finally:
        mirror.kill()
    assert content(closed) == set(open_side.everything()) and not list(closed.glob("import/*"))


def test_volumes_whose_imports_are_killed_end_as_undisturbed_ones(volumes, open_side, closed):
    """In any order; what was marked as taken in is not asked for again."""
    dice = random.Random(SEED)
    for _ in range(15):
        process = subprocess.Popen([binary(), "import", "--data", closed, *dice.sample(volumes[1:], 2)], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, env=clean_environment())
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(dice.uniform(0.002, 0.1))
        process.kill()
        process.wait()
        assert content(closed) == set()
    command("import", "--data", closed, *volumes)
    assert content(closed) == set(open_side.everything() | bundles.all_of(open_side.large)) and not list(closed.glob("import/*"))
