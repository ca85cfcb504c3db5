# SPDX-License-Identifier: Apache-2.0
"""export, receipt, keygen: what a bundle holds, how it is signed and split, what other tools make of it."""

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys

import bundles
import images
import pytest
from bundles import command, refused
from harness import binary, clean_environment


@pytest.fixture
def open_side(fake, start, tmp_path):
    """A mirror that holds library/multi:1.0 (two platforms) with a signature, its tag, and an SBOM; and library/plain:2."""
    mirror = start(data=tmp_path / "open")
    mirror.multi = fake.add("library/multi", bundles.multi("open"), "1.0")
    mirror.plain = fake.add("library/plain", images.image([images.random_bytes(30_000, "plain")]), "2")
    mirror.beside = [fake.add("library/multi", images.artifact(mirror.multi, kind, f"a {kind}"))
                     for kind in ("application/vnd.example.signature", "application/vnd.example.sbom")]
    mirror.sig = fake.add("library/multi", images.image([b"cosign"]), mirror.multi.digest.replace(":", "-") + ".sig")
    bundles.pull(mirror, "library/multi", "1.0", mirror.multi)
    bundles.pull(mirror, "library/plain", "2", mirror.plain)
    for one in mirror.beside:
        bundles.pull(mirror, "library/multi", one.digest, one)
    bundles.pull(mirror, "library/multi", mirror.multi.digest.replace(":", "-") + ".sig", mirror.sig)
    for name, tag in (("multi", "1.0"), ("plain", "2")):
        mirror.wait_hit(f"/v2/library/{name}/manifests/{tag}")
    mirror.stop()
    return mirror


def export(side, to, *words, **more):
    return command("export", "--no-pull", "--data", side.data, "-o", to, *words, **more)


def test_a_bundle_holds_the_image_every_platform_and_what_refers_to_it(open_side, tmp_path):
    export(open_side, tmp_path / "b.tar", "multi:1.0")
    found = bundles.members(tmp_path / "b.tar")
    wanted = bundles.all_of(open_side.multi) | bundles.all_of(open_side.sig)
    for one in open_side.beside:
        wanted |= bundles.all_of(one)
    assert bundles.blobs_in(tmp_path / "b.tar") == set(wanted)
    for digest, data in wanted.items():
        assert found["blobs/" + digest.replace(":", "/")] == data
    assert list(found)[:2] == ["tranship/bundle.json", "tranship/volume"]
    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    said = json.loads(found["tranship/bundle.json"])
    assert [(r["registry"], r["name"]) for r in said["repositories"]] == [("docker.io", "library/multi")]
    assert {t["name"]: t["digest"] for t in said["repositories"][0]["tags"]} == {
        "1.0": open_side.multi.digest, open_side.multi.digest.replace(":", "-") + ".sig": open_side.sig.digest}


def test_the_index_of_the_layout_names_only_what_was_asked_for(open_side, tmp_path):
    export(open_side, tmp_path / "b.tar", "multi:1.0")
    index = json.loads(bundles.members(tmp_path / "b.tar")["index.json"])
    assert index["manifests"] == [open_side.multi.descriptor(annotations={
        "org.opencontainers.image.ref.name": "1.0", "io.containerd.image.name": "docker.io/library/multi:1.0"})]


@pytest.mark.parametrize("words, is_here", [([], True), (["--platform", "linux/riscv64"], False)])
def test_docker_gets_the_image_of_this_machine_if_it_is_in_the_bundle(fake, start, tmp_path, words, is_here):
    """Its manifest.json has one image for a name; the index may name others before."""
    here = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    mirror = start()
    image = fake.add("library/many", bundles.multi("many", "riscv64", here), "1")
    mirror.hold("library/many", "1", image)
    for child in image.children:
        mirror.hold("library/many", child.digest, child)
    command("export", "--no-pull", "--data", mirror.data, "-o", tmp_path / "b.tar", *words, "many:1")
    said = json.loads(bundles.members(tmp_path / "b.tar")["manifest.json"])
    config, layer = image.children[is_here].blobs
    assert said == [{"Config": "blobs/" + config.replace(":", "/"), "RepoTags": ["many:1"],
                     "Layers": ["blobs/" + layer.replace(":", "/")]}]


@pytest.mark.parametrize("is_whole", [True, False])
def test_an_index_that_names_the_same_ones_again_and_again_is_looked_into_once(fake, start, tmp_path, is_whole):
    """50 times 50 times … : looked into each time, this would not end before the sun does."""
    mirror = start()
    bottom = fake.add("library/deep", images.image([b"bottom"]), "0")
    mirror.hold("library/deep", "0", bottom)
    levels = [bottom]
    for level in range(1, 8):
        levels.append(images.index([("amd64", levels[-1])] * 50))
        levels[-1].children = []  # they are held already
        mirror.hold("library/deep", str(level), fake.add("library/deep", levels[-1], str(level)))
    mirror.stop()
    words = ["--no-pull", "--data", mirror.data, "-o", tmp_path / "b.tar", "deep:7"]
    if is_whole:
        command("export", *words)
        assert bundles.blobs_in(tmp_path / "b.tar") == {d for one in levels for d in (one.digest, *one.blobs)}
    else:
        mirror.blob_path(bottom.layer).unlink()
        assert "1 of 2 blobs" in refused("export", *words)


def test_without_referrers_none_come_along(open_side, tmp_path):
    export(open_side, tmp_path / "b.tar", "--no-referrers", "multi:1.0")
    assert bundles.blobs_in(tmp_path / "b.tar") == set(bundles.all_of(open_side.multi))


def test_a_platform_is_taken_alone_and_the_index_stays_as_it_was(open_side, tmp_path):
    export(open_side, tmp_path / "b.tar", "--no-referrers", "--platform", "linux/arm64", "multi:1.0")
    arm = open_side.multi.children[1]
    assert bundles.blobs_in(tmp_path / "b.tar") == {open_side.multi.digest, *bundles.all_of(arm)}


def test_a_platform_that_is_not_held_is_refused(open_side, tmp_path):
    assert "linux/s390x" in refused("export", "--no-pull", "--data", open_side.data, "-o", tmp_path / "b.tar", "--platform",
                                    "linux/s390x", "multi:1.0")
    assert not (tmp_path / "b.tar").exists() and not (tmp_path / "b.tar.part").exists()


def test_all_takes_every_image(open_side, tmp_path):
    assert "2 images" in export(open_side, tmp_path / "b.tar", "--all")
    assert bundles.blobs_in(tmp_path / "b.tar") == {
        f"{p.parent.name}:{p.name}" for p in open_side.data.glob("blobs/*/*")}


def test_all_takes_what_was_pulled_by_digest_alone_too(fake, start, tmp_path):
    mirror = start()
    image = fake.add("library/pinned", images.image([b"pinned"]))
    bundles.pull(mirror, "library/pinned", image.digest, image)
    mirror.wait_hit(f"/v2/library/pinned/manifests/{image.digest}")
    mirror.stop()
    command("export", "--data", mirror.data, "-o", tmp_path / "b.tar", "--all")
    assert bundles.blobs_in(tmp_path / "b.tar") == set(bundles.all_of(image))
    assert json.loads(bundles.members(tmp_path / "b.tar")["index.json"])["manifests"] == [image.descriptor()]
    command("import", "--data", tmp_path / "closed", tmp_path / "b.tar")
    closed = start(data=tmp_path / "closed", upstream="http://127.0.0.1:1", mode="offline")
    assert closed.manifest("library/pinned", image.digest).body == image.manifest
    assert closed.blob("library/pinned", image.layer).body == b"pinned"


def test_an_image_that_is_not_held_is_refused_and_names_itself(open_side, tmp_path):
    assert "docker.io/library/other:latest" in refused("export", "--no-pull", "--data", open_side.data, "-o", tmp_path / "b.tar", "other")
    assert list(tmp_path.glob("b.tar*")) == []


def test_an_image_that_lacks_a_layer_is_refused_and_all_leaves_it_out(open_side, tmp_path):
    open_side.blob_path(open_side.plain.layer).unlink()
    assert "1 of 2 blobs" in refused("export", "--no-pull", "--data", open_side.data, "-o", tmp_path / "b.tar", "plain:2")
    assert "1 images" in export(open_side, tmp_path / "b.tar", "--all")
    assert open_side.plain.digest not in bundles.blobs_in(tmp_path / "b.tar")


def test_a_blob_that_rotted_on_disk_ends_the_export(open_side, tmp_path):
    path = open_side.blob_path(open_side.plain.layer)
    path.write_bytes(b"x" + path.read_bytes()[1:])
    assert open_side.plain.layer in refused("export", "--no-pull", "--data", open_side.data, "-o", tmp_path / "b.tar", "plain:2")
    assert list(tmp_path.glob("b.tar*")) == []


def test_it_is_written_beside_a_running_mirror(fake, start, tmp_path):
    mirror = start()
    image = fake.add("library/demo", images.image(), "latest")
    bundles.pull(mirror, "library/demo", "latest", image)
    mirror.wait_hit("/v2/library/demo/manifests/latest")
    command("export", "--no-pull", "--data", mirror.data, "-o", tmp_path / "b.tar", "demo")
    assert bundles.blobs_in(tmp_path / "b.tar") == set(bundles.all_of(image))


def test_a_folder_bundle_is_a_layout(open_side, tmp_path):
    export(open_side, f"{tmp_path}/layout/", "plain:2")
    for digest, data in bundles.all_of(open_side.plain).items():
        assert (tmp_path / "layout/blobs" / digest.replace(":", "/")).read_bytes() == data
    assert json.loads((tmp_path / "layout/index.json").read_text())["manifests"][0]["digest"] == open_side.plain.digest
    assert "not empty" in refused("export", "--no-pull", "--data", open_side.data, "-o", tmp_path / "layout", "plain:2", status=2)
    assert not (tmp_path / "layout.part").exists()


def test_what_a_killed_export_left_of_a_folder_is_in_nobodys_way(open_side, tmp_path):
    part = tmp_path / "layout.part"
    words = [binary(), "export", "--no-pull", "--data", open_side.data, "-o", f"{tmp_path}/layout/", "--all"]
    for _ in range(50):  # one may be through before the kill
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, env=clean_environment())
        while process.poll() is None and not part.exists():
            pass
        process.kill()
        process.wait(20)
        if part.exists():
            break
        shutil.rmtree(tmp_path / "layout", ignore_errors=True)
    (part / "blobs/sha256").mkdir(parents=True, exist_ok=True)
    (part / "blobs/sha256" / open_side.plain.layer.split(":")[1]).write_bytes(b"half of")
    (part / ".index.json.1-1.tmp").write_bytes(b"")
    export(open_side, f"{tmp_path}/layout/", "plain:2")
    assert not part.exists() and {p.name for p in (tmp_path / "layout").iterdir()} == {
        "tranship", "blobs", "oci-layout", "index.json", "manifest.json"}
    for digest, data in bundles.all_of(open_side.plain).items():
        assert (tmp_path / "layout/blobs" / digest.replace(":", "/")).read_bytes() == data


def test_a_folder_that_no_export_left_stays_and_is_named(open_side, tmp_path):
    (tmp_path / "layout.part").mkdir()
    (tmp_path / "layout.part/mine").write_text("mine")
    assert "layout.part has mine in it" in refused("export", "--no-pull", "--data", open_side.data, "-o", f"{tmp_path}/layout/", "plain:2",
                                                   status=2)
    assert (tmp_path / "layout.part/mine").read_text() == "mine"


def test_a_folder_that_another_export_writes_is_left_to_it(open_side, tmp_path):
    part = tmp_path / "layout.part"
    (part / "blobs").mkdir(parents=True)
    folder = os.open(part, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        assert "another export" in refused("export", "--no-pull", "--data", open_side.data, "-o", f"{tmp_path}/layout/", "plain:2")
    finally:
        os.close(folder)
    assert (part / "blobs").exists() and not (tmp_path / "layout").exists()


@pytest.mark.parametrize("words, nearest", [(["export", "--sinc", "x"], "--since"), (["import", "--verfy", "x"], "--verify"),
                                            (["receipt", "--dta", "x"], "--data"), (["keygen", "--confg", "x"], "--config")])
def test_a_mistyped_option_is_answered_with_the_nearest(words, nearest):
    assert f"the nearest is {nearest}" in refused(*words, status=2)


@pytest.mark.parametrize("words", [["export"], ["export", "-o", "x"], ["export", "-o", "x", "--all", "image"], ["export", "-o"],
                                   ["import"], ["keygen"], ["keygen", "name"], ["receipt", "image"], ["export", "-o", "x", "UPPER"]])
def test_a_command_line_that_is_wrong_is_told_so(words):
    refused(*words, status=2)


# --- keys ----------------------------------------------------------------------------------------------------------------
def test_keygen_keeps_the_private_key_private_and_overwrites_nothing(tmp_path):
    command("keygen", "-o", tmp_path / "site")
    assert (tmp_path / "site").stat().st_mode & 0o777 == 0o600
    before = (tmp_path / "site").read_bytes(), (tmp_path / "site.pub").read_bytes()
    assert "never overwritten" in refused("keygen", "-o", tmp_path / "site")
    (tmp_path / "site.pub").unlink()
    assert "never overwritten" in refused("keygen", "-o", tmp_path / "site")
    assert (tmp_path / "site").read_bytes() == before[0] and not (tmp_path / "site.pub").exists()


def test_openssl_agrees_with_the_signature(open_side, tmp_path):
    command("keygen", "-o", tmp_path / "site")
    export(open_side, tmp_path / "b.tar", "--sign", tmp_path / "site", "plain:2")
    found = bundles.members(tmp_path / "b.tar")
    (tmp_path / "said").write_bytes(found["tranship/bundle.json"])
    (tmp_path / "sig").write_bytes(found["tranship/bundle.sig"])
    subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", tmp_path / "site.pub", "-rawin", "-in", tmp_path / "said",
                    "-sigfile", tmp_path / "sig"], check=True, capture_output=True)


@pytest.mark.parametrize("text", ["rubbish", ""])
def test_what_is_no_key_signs_nothing(open_side, tmp_path, text):
    (tmp_path / "rubbish").write_text(text)
    assert "the key" in refused("export", "--no-pull", "--data", open_side.data, "-o", tmp_path / "b.tar", "--sign", tmp_path / "rubbish",
                                "plain:2", status=2)
    assert list(tmp_path.glob("b.tar*")) == []


# --- receipts ------------------------------------------------------------------------------------------------------------
def test_a_receipt_names_every_blob_that_is_held(open_side, tmp_path):
    command("receipt", "--data", open_side.data, "-o", tmp_path / "r")
    said = json.loads((tmp_path / "r").read_text())
    assert said["schema"] == "tranship-receipt/1" and said["site"] == os.uname().nodename
    assert set(said["blobs"]) == {f"{p.parent.name}:{p.name}" for p in open_side.data.glob("blobs/*/*")}
    assert json.loads(command("receipt", "--data", open_side.data))["blobs"] == said["blobs"]


def test_what_a_receipt_names_is_left_out_and_told(open_side, tmp_path):
    there = [open_side.plain.layer, open_side.plain.digest]
    receipt = json.dumps({"schema": "tranship-receipt/1", "site": "closed", "created_at": "2026-01-01T00:00:00Z", "blobs": there})
    (tmp_path / "r").write_text(receipt)
    export(open_side, tmp_path / "b.tar", "--since", tmp_path / "r", "plain:2")
    assert bundles.blobs_in(tmp_path / "b.tar") == set(bundles.all_of(open_side.plain)) - set(there)
    said = bundles.contents(tmp_path / "b.tar")
    assert {b["digest"] for b in said["absent"]} == set(there)
    assert said["receipt"] == {"site": "closed", "created_at": "2026-01-01T00:00:00Z",
                               "digest": "sha256:" + hashlib.sha256(receipt.encode()).hexdigest()}


@pytest.mark.parametrize("text", ["", "rubbish", "[]", "{}", '{"schema": "tranship-receipt/2", "blobs": []}',
                                  '{"schema": "tranship-receipt/1", "site": "a", "created_at": "b", "blobs": ["x"]}',
                                  '{"schema": "tranship-receipt/1", "site": "a", "created_at": "b", "blobs": [1]}'])
def test_a_receipt_that_is_none_is_refused(open_side, tmp_path, text):
    (tmp_path / "r").write_text(text)
    assert "receipt" in refused("export", "--no-pull", "--data", open_side.data, "-o", tmp_path / "b.tar", "--since", tmp_path / "r", "--all")
    assert list(tmp_path.glob("b.tar*")) == []


# --- volumes -------------------------------------------------------------------------------------------------------------
def test_volumes_keep_to_their_size_and_make_one_layout(fake, start, tmp_path):
    mirror = start()
    layers = [images.random_bytes(size, f"v{i}") for i, size in enumerate((700_000, 700_000, 5_000_000, 100))]
    image = fake.add("library/large", images.image(layers), "1")
    bundles.pull(mirror, "library/large", "1", image)
    mirror.wait_hit("/v2/library/large/manifests/1")
    mirror.stop()
    command("export", "--no-pull", "--data", mirror.data, "-o", tmp_path / "b.tar", "--volume-size", "2MB", "large:1")
    volumes = sorted(tmp_path.glob("b.tar*"), key=lambda p: int(p.suffix[1:]))
    assert len(volumes) == 4 and all(p.stat().st_size <= 2_000_000 for p in volumes)
    whole, pieces = {}, {}
    for number, path in enumerate(volumes, 1):
        found = bundles.members(path)
        assert found["tranship/volume"] == f"{number} of 4\n".encode()
        for name, data in found.items():
            if name.startswith("blobs/"):
                whole[name.split("/")[-1]] = data
            elif name.startswith("tranship/pieces/"):
                _, _, _, encoded, offset = name.split("/")
                pieces.setdefault(encoded, {})[int(offset)] = data
    for encoded, parts in pieces.items():
        whole[encoded] = b"".join(parts[at] for at in sorted(parts))
    assert {f"sha256:{k}": v for k, v in whole.items()} == bundles.all_of(image)


def test_a_volume_too_small_for_its_head_is_refused(open_side, tmp_path):
    assert "a volume needs" in refused("export", "--no-pull", "--data", open_side.data, "-o", tmp_path / "b.tar", "--volume-size", "1MB", "--all",
                                       status=2)


def test_memory_does_not_grow_with_the_size_of_blobs(fake, start, tmp_path):
    """Instrumented builds keep what is freed for a while."""
    mirror = start()
    image = fake.add("library/large", images.image([images.random_bytes(100 << 20, n) for n in "ab"]), "1")
    bundles.pull(mirror, "library/large", "1", image)
    mirror.wait_hit("/v2/library/large/manifests/1")
    mirror.stop()
    measure = "import os, sys; print(os.wait4(os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:]), 0)[1:])"
    for words in (["export", "--data", mirror.data, "-o", tmp_path / "b.tar", "--all"],
                  ["import", "--data", tmp_path / "closed", tmp_path / "b.tar"]):
        done = subprocess.run([sys.executable, "-c", measure, binary(), *words], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1].startswith("(0, "), done
        most = int(re.search(r"ru_maxrss=(\d+)", done.stdout)[1]) << 10
        assert most < (64 << 20) * (8 if b"__sanitizer" in binary().read_bytes() else 1)
