# SPDX-License-Identifier: Apache-2.0
"""What the stories of commands share: a data folder with a server on it or without, and small images to hold there."""

import json

import images
from bundles import command, refused

MB = 1000 * 1000


class Place:
    """A data folder with a server on it, or with one that has stopped, when a command comes."""

    def __init__(self, start, data, is_running):
        self.start, self.data, self.is_running, self.server = start, data, is_running, None

    def serve(self, **options):
        """A server on the folder, this one's if it runs."""
        if not self.server or self.server.process.returncode is not None:
            self.server = self.start(data=self.data, **options)
        return self.server

    def settle(self):
        """As it is to be for a command."""
        if not self.is_running and self.server and self.server.process.returncode is None:
            self.server.stop()

    def do(self, verb, *words, **more):
        self.settle()
        return command(verb, "--data", self.data, *words, **more)

    def json(self, verb, *words):
        return json.loads(self.do(verb, "--json", *words))

    def refused(self, verb, *words, **more):
        self.settle()
        return refused(verb, "--data", self.data, *words, **more)

    def listed(self, *words):
        return {one["image"]: one for one in self.json("list", *words)["images"]}


def made(seed, size=50_000):
    return images.image([images.random_bytes(size, seed)])


def pull_through(server, name, image):
    """Right bytes, whether or not they stay."""
    assert server.manifest(name, "v1").body == image.manifest
    for digest, data in image.blobs.items():
        assert server.blob(name, digest).body == data
