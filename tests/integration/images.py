# SPDX-License-Identifier: Apache-2.0
"""Images out of nothing: blobs of deterministic random bytes, manifests and indexes in the OCI and the Docker
manner. Knows no server."""

import functools
import gzip
import hashlib
import io
import json
import random
import tarfile

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
MOST_AT_ONCE = 128 << 20  # randbytes counts bits in an int of C


def digest_of(data, algorithm="sha256"):
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


@functools.lru_cache(maxsize=8)
def random_bytes(size, seed=0):
    """The same bytes for the same size and seed, on every machine."""
    dice = random.Random(f"{seed}/{size}")
    return b"".join(dice.randbytes(min(MOST_AT_ONCE, size - at)) for at in range(0, size, MOST_AT_ONCE))


def to_json(document):
    return json.dumps(document, indent=2, sort_keys=True).encode()


def descriptor(media_type, data, algorithm="sha256", **more):
    return {"mediaType": media_type, "digest": digest_of(data, algorithm), "size": len(data), **more}


class Image:
    """One manifest, the blobs it names, and their digests in the order config, layers."""

    def __init__(self, media_type, document, blobs, algorithm="sha256"):
        self.media_type = media_type
        self.manifest = document if isinstance(document, bytes) else to_json(document)
        self.digest = digest_of(self.manifest, algorithm)
        self.blobs = {digest_of(b, algorithm): b for b in blobs}
        self.children = []

    def __str__(self):
        return self.digest

    @property
    def layer(self):
        """The last blob, which is the last layer."""
        return list(self.blobs)[-1]

    def descriptor(self, **more):
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.manifest), **more}


def image(layers=(b"layer",), docker=False, config=None, algorithm="sha256", architecture="amd64", **more):
    """A manifest whose layers are these bytes; more goes into the manifest (artifactType, subject, annotations)."""
    if config is None:
        config = to_json({"architecture": architecture, "os": "linux", "config": {},
                          "rootfs": {"type": "layers", "diff_ids": [digest_of(l) for l in layers]}})
    media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
    layer_type = DOCKER_LAYER if docker else OCI_LAYER
    document = {
        "schemaVersion": 2, "mediaType": media_type,
        "config": descriptor(DOCKER_CONFIG if docker else OCI_CONFIG, config, algorithm),
        "layers": [descriptor(layer_type, l, algorithm) for l in layers], **more}
    return Image(media_type, document, [config, *layers], algorithm)


def artifact(subject, artifact_type, text, annotations=None):
    """A referrer of subject, in the manner of a signature or an SBOM."""
    empty = b"{}"
    document = {
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": artifact_type,
        "config": descriptor(OCI_EMPTY, empty), "layers": [descriptor("text/plain", text.encode())],
        "subject": subject.descriptor(), "annotations": annotations or {"org.example.text": text}}
    return Image(OCI_MANIFEST, document, [empty, text.encode()])


def index(children, docker=False, **more):
    """A multi-arch image of (architecture, image) pairs."""
    media_type = DOCKER_LIST if docker else OCI_INDEX
    document = {"schemaVersion": 2, "mediaType": media_type, "manifests": [
        child.descriptor(platform={"architecture": arch, "os": "linux"}) for arch, child in children], **more}
    made = Image(media_type, document, [])
    made.children = [child for _, child in children]
    return made


def layer_tar(files):
    """A gzipped tar of {path: bytes}; the same input gives the same bytes. Paths under bin/ may be executed."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, data in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            entry.mode = 0o755 if path.startswith("bin/") else 0o644
            tar.addfile(entry, io.BytesIO(data))
    return raw.getvalue(), gzip.compress(raw.getvalue(), 1, mtime=0)


def runnable(files, docker=True, architecture="amd64", command=("/bin/busybox", "cat", "/greeting"), below=None):
    """An image that a container runtime accepts: one real tar layer (below it another of the files in `below`) and a
    config that agrees with it."""
    layers = [layer_tar(tree) for tree in (below, files) if tree]
    config = to_json({
        "architecture": architecture, "os": "linux", "created": "2024-01-01T00:00:00Z",
        "config": {"Cmd": list(command), "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(raw) for raw, _ in layers]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "test"}] * len(layers)})
    return image([packed for _, packed in layers], docker=docker, config=config)
