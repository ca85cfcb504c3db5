# SPDX-License-Identifier: Apache-2.0
"""Archives that nobody should take: each is refused with one clear line, and content and index are as before."""

import gzip
import json
import subprocess
import tarfile

import bundles
import images
import parts
import pytest
from bundles import archive, command, layout, ours, refused, state
from harness import Tranship, binary, clean_environment


@pytest.fixture
def site(tmp_path):
    """A data folder that holds something already."""
    image = images.image([b"was here before"])
    archive(tmp_path / "before.tar", layout([(image, "docker.io/library/before:1")]))
    command("import", "--data", tmp_path / "data", tmp_path / "before.tar")
    return tmp_path / "data"


def special(name, kind, target=""):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry, b""


def check_refused(site, path, *words, status=1):
    before = state(site)
    said = refused("import", "--data", site, path, status=status)
    assert state(site) == before
    for word in words:
        assert word in said, said


GOOD = images.image([b"a layer"])
GOOD_NAME = "docker.io/library/good:1"
OTHER = images.image([b"another layer"])


def test_the_archive_that_the_bad_ones_are_made_from_is_good(site, tmp_path):
    command("import", "--data", site, archive(tmp_path / "a.tar", layout([(GOOD, GOOD_NAME)])))


@pytest.mark.parametrize("member, word", [
    (("../x", b"1"), "points outside"),
    (("a/../../x", b"1"), "points outside"),
    (("/etc/x", b"1"), "points outside"),
    (("a" * 5000, b"1"), "too long"),
    (special("link", tarfile.SYMTYPE, "/etc/passwd"), "points outside"),
    (special("a/link", tarfile.SYMTYPE, "../../x"), "points outside"),
    (special("hard", tarfile.LNKTYPE, "oci-layout"), "hard link"),
    (special("device", tarfile.CHRTYPE), "neither"),
    (special("disk", tarfile.BLKTYPE), "neither"),
    (special("pipe", tarfile.FIFOTYPE), "neither"),
    (("index.json", b"{}"), "two members"),
], ids=["up", "up-later", "absolute", "overlong", "link-absolute", "link-up", "hard-link", "device", "disk", "pipe", "duplicate"])
def test_members_that_no_layout_has_are_refused(site, tmp_path, member, word):
    check_refused(site, archive(tmp_path / "a.tar", layout([(GOOD, GOOD_NAME)], member)), word)


@pytest.mark.parametrize("size", [2**63 - 1, 2**62, 2**63, 2**64 + 1])
def test_a_claimed_size_beyond_any_disk_is_refused(site, tmp_path, size):
    """As GNU tar says it, in base 256."""
    entry = bytearray(tarfile.TarInfo("large").tobuf(tarfile.GNU_FORMAT))
    entry[124:136] = b"\x80" + size.to_bytes(11, "big")
    entry[148:156] = b" " * 8
    entry[148:156] = b"%06o\0 " % sum(entry)
    good = archive(tmp_path / "a.tar", layout([(GOOD, GOOD_NAME)])).read_bytes()
    (tmp_path / "b.tar").write_bytes(entry + good)
    check_refused(site, tmp_path / "b.tar")


def test_very_many_members_are_refused_without_reading_them_all(site, tmp_path):
    empty = tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT)
    with gzip.open(tmp_path / "a.tar.gz", "wb", 1) as out:
        for _ in range(300):
            out.write(empty * 1000)
    check_refused(site, tmp_path / "a.tar.gz", "more than 200000 members")


def test_what_unpacks_to_hundreds_of_times_its_size_is_refused(site, tmp_path):
    entry = tarfile.TarInfo("zeros")
    entry.size = 400 << 20
    with gzip.open(tmp_path / "a.tar.gz", "wb", 1) as out:
        out.write(entry.tobuf(tarfile.GNU_FORMAT))
        for _ in range(400):
            out.write(bytes(1 << 20))
        out.write(bytes(1024))
    check_refused(site, tmp_path / "a.tar.gz", "unpacks to more than 200 times")


def test_a_blob_under_a_wrong_name_is_refused(site, tmp_path):
    members = [(name, data + b" " if name.endswith(GOOD.layer.split(":")[1]) else data) for name, data in layout([(GOOD, GOOD_NAME)])]
    check_refused(site, archive(tmp_path / "a.tar", members), GOOD.layer)


def test_an_index_that_names_what_is_not_there_is_refused(site, tmp_path):
    members = [(name, data) for name, data in layout([(GOOD, GOOD_NAME)]) if not name.endswith(GOOD.digest.split(":")[1])]
    check_refused(site, archive(tmp_path / "a.tar", members), GOOD.digest, "not there")


def test_indexes_nested_without_end_are_refused(site, tmp_path):
    nested = GOOD
    for _ in range(12):
        nested = images.index([("amd64", nested)])
    check_refused(site, archive(tmp_path / "a.tar", layout([(nested, GOOD_NAME)])), "nested")


def test_two_images_of_one_name_are_refused(site, tmp_path):
    check_refused(site, archive(tmp_path / "a.tar", layout([(GOOD, GOOD_NAME), (OTHER, GOOD_NAME)])), "two images")


@pytest.mark.parametrize("files, word", [
    ({"index.json": b"rubbish"}, "index.json"), ({"oci-layout": b'{"imageLayoutVersion": "2.0.0"}'}, "2.0.0"),
    ({"oci-layout": b"[]"}, "version"), ({"index.json": b'{"manifests": [{}]}'}, "without a digest"),
    ({"index.json": b'{"manifests": []}'}, "no image"), ({"index.json": None}, "index.json")])
def test_layouts_that_say_rubbish_are_refused(site, tmp_path, files, word):
    members = [(name, files.get(name, data)) for name, data in layout([(GOOD, GOOD_NAME)])]
    check_refused(site, archive(tmp_path / "a.tar", [m for m in members if m[1] is not None]), word)


@pytest.mark.parametrize("data", [b"", b"rubbish", b"\x1f\x8b rubbish", bytes(10240), b"\x28\xb5\x2f\xfd rubbish"])
def test_what_is_no_archive_is_refused(site, tmp_path, data):
    (tmp_path / "a.tar").write_bytes(data)
    check_refused(site, tmp_path / "a.tar")


def test_a_file_that_is_not_there_is_told(site, tmp_path):
    check_refused(site, tmp_path / "none", "no such file")


def docker(config, layers, named=("good:1",), **files):
    said = [{"Config": "config.json", "RepoTags": named and list(named), "Layers": list(layers)}]
    return [("manifest.json", json.dumps(said).encode()), ("config.json", json.dumps(config).encode()), *files.items()]


def config_of(*layers):
    return {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [images.digest_of(l) for l in layers]}}


def test_a_classic_archive_with_links_for_repeated_layers_is_taken(site, tmp_path):
    members = [*docker(config_of(b"tar", b"tar"), ["a/layer.tar", "b/layer.tar"]), ("a/layer.tar", b"tar"),
               special("b/layer.tar", tarfile.SYMTYPE, "../a/layer.tar")]
    command("import", "--data", site, archive(tmp_path / "a.tar", members))


@pytest.mark.parametrize("members, word", [
    (docker(config_of(b"tar"), ["layer.tar"]), "not there"),
    ([*docker(config_of(b"tar"), ["layer.tar"]), ("layer.tar", b"other")], "not what the image names"),
    ([*docker(config_of(b"tar", b"tar"), ["layer.tar"]), ("layer.tar", b"tar")], "1 layers for an image of 2"),
    ([*docker(config_of(b"tar"), ["layer.tar"]), special("layer.tar", tarfile.SYMTYPE, "layer.tar")], "not there"),
    ([*docker(config_of(b"tar"), ["layer.tar"], ("UPPER:1",)), ("layer.tar", b"tar")], "UPPER"),
    ([("manifest.json", b"{}")], "no list"),
], ids=["no-layer", "wrong-layer", "too-few", "link-to-itself", "bad-name", "null"])
def test_classic_archives_that_do_not_agree_with_themselves_are_refused(site, tmp_path, members, word):
    check_refused(site, archive(tmp_path / "a.tar", members), word)


# --- our own format, unsigned --------------------------------------------------------------------------------------------
@pytest.fixture
def bundle(site, tmp_path):
    """The members of a bundle of ours, in their order, of an image that the site does not hold."""
    command("import", "--data", tmp_path / "other", archive(tmp_path / "o.tar", layout([(GOOD, GOOD_NAME)])))
    command("export", "--data", tmp_path / "other", "-o", tmp_path / "b.tar", "--all")
    return bundles.members(tmp_path / "b.tar")


def test_a_bundle_written_by_this_test_is_taken(site, bundle, tmp_path):
    ours(tmp_path / "again.tar", bundle)
    assert (tmp_path / "again.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    command("import", "--data", site, tmp_path / "again.tar")


def changed(bundle, change):
    said = json.loads(bundle["tranship/bundle.json"])
    change(said)
    return {**bundle, "tranship/bundle.json": json.dumps(said).encode()}


CHANGES = {
    "schema": lambda said: said.update(schema="tranship-bundle/2"),
    "no-schema": lambda said: said.pop("schema"),
    "blob-twice": lambda said: said["blobs"].append(said["blobs"][0]),
    "size": lambda said: said["blobs"][0].update(size=2**60),
    "negative": lambda said: said["blobs"][0].update(size=-1),
    "digest": lambda said: said["blobs"][0].update(digest="sha256:../../etc/passwd"),
    "file": lambda said: said["files"].append({"name": "../x", "digest": said["blobs"][0]["digest"], "size": 1}),
    "repository": lambda said: said["repositories"][0].update(name="../x"),
    "registry": lambda said: said["repositories"][0].update(registry="UPPER"),
    "tag": lambda said: said["repositories"][0]["tags"][0].update(name="../x"),
    "tag-twice": lambda said: said["repositories"][0]["tags"].append(said["repositories"][0]["tags"][0]),
    "tag-of-nothing": lambda said: said["repositories"][0]["tags"][0].update(digest="sha256:" + "0" * 64),
    "layer-as-manifest": lambda said: said["repositories"][0]["manifests"].append(
        {"digest": GOOD.layer, "type": images.OCI_MANIFEST}),
    "volume-of-nothing": lambda said: said.update(volume_size=1),
    "absent": lambda said: said["absent"].append({"digest": "sha256:" + "0" * 64, "size": 1}),
    "fewer": lambda said: said["blobs"].pop(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_bundle_that_says_of_itself_what_is_not_so_is_refused(site, bundle, tmp_path, change):
    before = state(site)
    said = command("import", "--data", site, ours(tmp_path / "bad.tar", changed(bundle, CHANGES[change])), status=1)
    assert said.count("\n") == (2 if change == "absent" else 1), said  # what is missing is listed besides
    assert state(site) == before


def test_a_bundle_with_one_more_member_is_refused(site, bundle, tmp_path):
    check_refused(site, ours(tmp_path / "bad.tar", {**bundle, "more": b"1"}))


def test_volume_two_of_one_is_refused(site, bundle, tmp_path):
    for text in (b"2 of 1\n", b"1 of 2\n", b"0 of 1\n", b"1 of 1", b"01 of 1\n", b"18446744073709551617 of 1\n"):
        check_refused(site, ours(tmp_path / "bad.tar", {**bundle, "tranship/volume": text}))


# --- no space ------------------------------------------------------------------------------------------------------------
@pytest.fixture
def small_disk(folder):
    """A file system with 40 MiB."""
    path = folder / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", path], check=True)
    yield path
    parts.remove_mounts(folder)


def test_what_does_not_fit_is_refused_before_anything_is_written(small_disk, tmp_path):
    large = images.image([images.random_bytes(30 << 20, "does not fit")])
    plain = archive(tmp_path / "a.tar", layout([(large, "docker.io/library/large:1")]))
    command("import", "--data", tmp_path / "other", plain)
    command("export", "--data", tmp_path / "other", "-o", tmp_path / "b.tar", "--all")
    for path in (plain, tmp_path / "b.tar"):
        assert "MB left" in refused("import", "--data", small_disk / "data", path)
        assert list((small_disk / "data").glob("blobs/*/*")) == [] and list((small_disk / "data").glob("import/*")) == []


def test_a_write_that_fails_in_the_middle_leaves_nothing(site, tmp_path):
    """As on a disk that others fill meanwhile."""
    large = images.image([images.random_bytes(1 << 20, "small"), images.random_bytes(8 << 20, "does not fit")])
    plain = archive(tmp_path / "a.tar", layout([(large, "docker.io/library/large:1")]))
    command("import", "--data", tmp_path / "other", plain)
    command("export", "--data", tmp_path / "other", "-o", tmp_path / "b.tar", "--all")
    before = state(site)
    for path in (plain, tmp_path / "b.tar"):
        done = subprocess.run(with_limit(8192, binary(), "import", "--data", site, path), capture_output=True, text=True, check=False, env=clean_environment())
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and "File too large" in done.stderr, done
        assert state(site) == before


def many_small(tmp_path):
    """Whose rows take far more than its largest blob."""
    image = images.image([b"%d" % n for n in range(400)])
    plain = archive(tmp_path / "a.tar", layout([(image, "docker.io/library/many:1")]))
    command("import", "--data", tmp_path / "other", plain)
    command("export", "--data", tmp_path / "other", "-o", tmp_path / "b.tar", "--all")
    return plain, tmp_path / "b.tar"


def with_limit(blocks, *words):
    """The words of a command that may write no file of more than that many blocks of 512 bytes."""
    return ["/bin/sh", "-c", f"trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"", "sh", *map(str, words)]


@pytest.mark.parametrize("blocks", [0, 8, 128, 160, 384])
def test_wherever_writing_fails_content_and_index_are_as_before(site, tmp_path, blocks):
    before = state(site)
    for path in many_small(tmp_path):
        done = subprocess.run(with_limit(blocks, binary(), "import", "--data", site, path), capture_output=True, text=True, check=False,
                              env=clean_environment())
        assert done.returncode == 1 and done.stderr.startswith("tranship: ") and done.stderr.count("\n") == 1, done
        assert state(site) == before


def test_where_a_running_mirror_cannot_write_its_rows_the_import_is_taken_back(site, tmp_path):
    before = state(site)[0]
    mirror = Tranship(site, "http://127.0.0.1:1", {"mode": "offline"}, wrapper=with_limit(384)).ready()
    for path in many_small(tmp_path):
        refused("import", "--data", site, path)
        assert state(site)[0] == before and not list(site.glob("import/*"))
        assert mirror.manifest("library/many", "1").status == 404
        assert mirror.manifest("library/before", "1").status == 200
    mirror.stop()
