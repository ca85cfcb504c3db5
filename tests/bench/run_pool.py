# SPDX-License-Identifier: Apache-2.0
"""Mirrors of which most are broken, before a slow origin: whole images, pulled one after the other, none twice."""

import contextlib
import pathlib
import time

import client
import wire
from fake_server import Deaf, Fault, Journal, Reply, Server
from forwarder import Forwarder
from trial import Row

SIZES = (2_000, 200_000, 1_000_000)


class Broken:
    """A mirror of the same files that has something wrong with each answer."""

    def __init__(self, www, **fault):
        self.www, self.journal = pathlib.Path(www), Journal()
        if fault:
            self.journal.faults.append(Fault("GET" if "corrupt_at" in fault else "", **fault))
        self.server = Server("mirror", self.handle, self.journal)
        self.url, self.stop = self.server.url, self.server.stop
        self.close = self.stop

    def handle(self, request):
        path = self.www / request.path.lstrip("/")
        return Reply(200, {"Content-Type": "application/octet-stream"}, path.read_bytes(), ranges=True)


class Lying(Broken):
    """Whatever range is asked for has a wrong byte in it."""

    def handle(self, request):
        reply = super().handle(request)
        body = bytearray(reply.body)
        body[::65536] = bytes(byte ^ 1 for byte in body[::65536])
        reply.body = bytes(body)
        return reply


def pull(one, image, tag):
    """As a client does: HEAD of the tag, the manifest by digest, its blobs. How long it took; anything wrong ends the bench."""
    began = time.perf_counter()
    with wire.Wire(one.port) as connection:
        head = connection.exchange(f"/v2/library/demo/manifests/{tag}", "HEAD")
        if head.status != 200 or head.header("docker-content-digest") != image.digest:
            raise client.Failed(f"{tag}: {head}")
        for path, data in {f"manifests/{image.digest}": image.manifest,
                           **{f"blobs/{digest}": blob for digest, blob in image.blobs.items()}}.items():
            reply = connection.exchange(f"/v2/library/demo/{path}")
            if reply.status != 200 or reply.body != data:
                raise client.Failed(f"{path}: {reply}")
    return time.perf_counter() - began


def pool(trial):
    """Five mirrors, four of them broken in four ways, beside the good one alone: taking turns, a new image each time."""
    scale, content, broken = trial.scale, trial.content, contextlib.ExitStack()
    with broken, Forwarder(trial.origin.port, delay=scale.delay) as slow:
        four = [Deaf(), *(Broken(content.www, **fault) for fault in (
            {"stall_before": True}, {"status": 500}, {"corrupt_at": 3}))]
        for one in four:
            broken.callback(one.stop)
        good = trial.origin.url
        with trial.tranship(slow.url, mirrors=[*(one.url for one in four), good]) as five, \
                trial.tranship(slow.url, mirrors=[good]) as alone:
            took = {five: [], alone: []}
            for turn in range(scale.pulls):
                for one in (five, alone) if turn % 2 else (alone, five):
                    with content.fresh_image(SIZES) as (image, tag):
                        took[one].append(pull(one, image, tag))
    total, beside = sum(took[five]), sum(took[alone])
    trial.say(Row(f"{scale.pulls} pulls, five mirrors of which four are broken, origin {scale.delay * 1000:g} ms away: time",
                  f"{total:.2f} s, the longest {max(took[five]):.2f} s", f"the good mirror alone {beside:.2f} s",
                  total / beside, "", ("<=", 1.2)))
