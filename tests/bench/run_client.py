# SPDX-License-Identifier: Apache-2.0
"""What a person waits for: dockerd pulls an image that nobody has asked for yet, direct and through Tranship."""

import contextlib
import statistics
import sys
import time

import images
import parts
from forwarder import Forwarder
from started import NAME
from trial import Row, in_words

LAYERS = 12


def new_image(size, number):
    """Real layers of about that size, the like of which nobody has."""
    layers = [images.layer_tar({f"file{i}": images.random_bytes(size, f"client {number} {i}")}) for i in range(LAYERS)]
    config = images.to_json({"architecture": parts.machine(), "os": "linux", "config": {"Cmd": ["/file0"]},
                             "rootfs": {"type": "layers", "diff_ids": [images.digest_of(raw) for raw, _ in layers]}})
    return images.image([packed for _, packed in layers], config=config)


@contextlib.contextmanager
def started_dockerd(mirror):
    folder = parts.ShortFolder()
    try:
        one = parts.Dockerd(folder.path, mirror)
        try:
            yield one
        finally:
            one.stop()
    finally:
        parts.remove_mounts(folder.path)
        folder.remove()


def dockerd(trial):
    scale, size = trial.scale, trial.scale.layer
    if not (parts.find("dockerd") and parts.find("docker")):
        print("dockerd is not here: its row is left out", file=sys.stderr)
        return
    took = {"direct": [], "Tranship": []}
    with Forwarder(trial.origin.port, delay=scale.delay, per_connection=scale.narrow) as line, \
            trial.tranship(line.url) as ours, started_dockerd(ours.url) as client:
        names = {"direct": f"127.0.0.1:{line.port}/{NAME}", "Tranship": NAME.removeprefix("library/")}
        for number in range(scale.cold_rounds):
            with trial.content.serving(new_image(size, number)) as (_, tag):
                for who in sorted(names, reverse=number % 2 == 1):
                    began = time.perf_counter()
                    client.docker("pull", "-q", f"{names[who]}:{tag}", seconds=600)
                    took[who].append(time.perf_counter() - began)
                    client.docker("image", "rm", f"{names[who]}:{tag}")
    direct, through = (statistics.median(took[who]) for who in ("direct", "Tranship"))
    trial.say(Row(f"dockerd, cold image of {LAYERS} layers of {in_words(size)}, origin {scale.delay * 1000:g} ms away and "
                  f"{scale.narrow / 1e6:g} MB/s a connection: times faster", f"{through:.2f} s", f"direct {direct:.2f} s",
                  direct / through, "", (">=", 2.0)))
