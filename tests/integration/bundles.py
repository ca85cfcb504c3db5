# SPDX-License-Identifier: Apache-2.0
"""What the stories of bundles share: the commands run to their end, images pulled into a data folder, archives read."""

import contextlib
import io
import json
import sqlite3
import subprocess
import tarfile

import images
from harness import SANITIZERS, binary, clean_environment

LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'
NAME = "io.containerd.image.name"


def command(*words, status=0, seconds=60):
    """tranship WORDS: its standard output, or its standard error if it is to fail."""
    done = subprocess.run([str(word) for word in (binary(), *words)], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=seconds, env=clean_environment(), check=False)
    assert not SANITIZERS.search(done.stderr), done.stderr
    assert done.returncode == status, f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stderr if status in (1, 2) else done.stdout


def refused(*words, status=1):
    """The one line that says why."""
    said = command(*words, status=status)
    assert said.startswith("tranship: ") and said.count("\n") == 1, said
    return said


def pull(mirror, name, reference, image):
    """As a client does, every platform; waits until all of it is in blobs/ and the index."""
    mirror.hold(name, reference, image)
    for child in image.children:
        pull(mirror, name, child.digest, child)


def all_of(image):
    """{digest: bytes} of an image and its children."""
    found = {image.digest: image.manifest, **image.blobs}
    for child in image.children:
        found |= all_of(child)
    return found


def members(path):
    """{name: bytes} of an archive, in its order."""
    with tarfile.open(path) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()}


def blobs_in(path):
    """The digests of the blobs in an archive."""
    return {name.replace("blobs/", "").replace("/", ":") for name in members(path) if name.startswith("blobs/")}


def contents(path):
    return json.loads(members(path)["tranship/bundle.json"])


def multi(seed, *architectures):
    """An index with a small image for each architecture (amd64 and arm64)."""
    return images.index([(arch, images.image([images.random_bytes(20_000, f"{seed}/{arch}")], architecture=arch))
                         for arch in architectures or ("amd64", "arm64")])


def state(data):
    """All that a refused import must leave as it was: content, index, nothing staged."""
    index = data / "tranship.db"
    rows = ""
    if index.exists():
        with contextlib.closing(sqlite3.connect(index)) as db:
            rows = "\n".join(db.iterdump())
    return {p.name: p.read_bytes() for p in data.glob("blobs/*/*")}, rows, list(data.glob("import/*"))


def content(data):
    return {f"{p.parent.name}:{p.name}" for p in data.glob("blobs/*/*")}


def layout(named, *more):
    """Members of an OCI layout with these (image, name) pairs."""
    blobs = {d: b for image, _ in named for d, b in all_of(image).items()}
    index = {"schemaVersion": 2, "manifests": [i.descriptor(annotations={NAME: n} if n else {}) for i, n in named]}
    return [("oci-layout", LAYOUT), ("index.json", json.dumps(index).encode()),
            *((f"blobs/{d.replace(':', '/')}", b) for d, b in blobs.items()), *more]


def archive(path, members, form=tarfile.PAX_FORMAT):
    """Of (name or TarInfo, bytes) pairs."""
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in members:
            entry = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def ours(path, members):
    """A bundle with these members, written as export does: ustar, mode 0644, no owner."""
    with open(path, "wb") as out:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            header = bytearray(entry.tobuf(tarfile.USTAR_FORMAT))
            header[329:345] = b"0000000\0" * 2
            header[148:156] = b" " * 8
            header[148:156] = b"%06o\0 " % sum(header)
            out.write(bytes(header) + data + bytes(-len(data) % 512))
        out.write(bytes(1024))
    return path
