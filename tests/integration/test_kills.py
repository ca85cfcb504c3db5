# SPDX-License-Identifier: Apache-2.0
"""kill -9 at any instant: the next start serves only whole, verified content and goes on with what was coming.
KILLS=200 in the environment makes the random story longer, SEED=7 another one."""

import os
import random
import re
import threading

import images
import pytest
import wire
from harness import wait_until

KILLS = int(os.environ.get("KILLS", "10"))
SEED = os.environ.get("SEED", "1")
BLOB = "registry GET .*/blobs/"
LARGE = images.random_bytes(48 << 20, "kills")


def check_held(mirror):
    """A name under blobs/ is a proof. Returns how many there are."""
    held = mirror.held()
    for digest in held:
        assert images.digest_of(mirror.blob_path(digest).read_bytes(), digest.split(":")[0]) == digest, digest
    return len(held)


def first_of(request):
    found = re.match(r"bytes=(\d+)-", request.header("range") or "")
    return int(found[1]) if found else 0


def kill_within(fake, start, taken=(20 << 20) - 1):
    """(mirror, digest): one that was killed when 20 MiB of a blob had come, and so much of it had gone to its client."""
    digest = fake.add_blob("a/b", LARGE)
    mirror = start()
    fake.fault(BLOB, count=1, stall_at=20 << 20)
    with mirror.wire() as client:
        client.ask(f"/v2/a/b/blobs/{digest}")
        client.head()
        assert client.drain(taken, LARGE) == taken
        mirror.kill()
    fake.heal()
    return mirror, digest


def test_a_pull_killed_in_the_middle_is_resumed_by_the_next_start(fake, start):
    digest = fake.add_blob("a/b", LARGE)
    mirror = start()
    fault = fake.fault(BLOB, count=1, stall_at=40 << 20)
    with mirror.wire() as client:
        client.ask(f"/v2/a/b/blobs/{digest}")
        client.head()
        assert client.drain((40 << 20) - 1, LARGE) == (40 << 20) - 1
        mirror.kill()
        fault.release()
        rest = client.drain(len(LARGE), LARGE, (40 << 20) - 1)
        assert rest < len(LARGE) - (40 << 20)  # cut, not completed
    assert check_held(mirror) == 0 and mirror.ingest()
    fake.forget()
    mirror = start()
    reply = mirror.blob("a/b", digest)
    assert reply.status == 200 and reply.body == LARGE
    asked = fake.asked(BLOB)
    assert len(asked) == 1 and 30 << 20 <= first_of(asked[0]) <= 40 << 20, asked
    mirror.wait_held(digest)
    wait_until(lambda: mirror.ingest() == [], what="an empty ingest/")


def test_a_client_that_resumes_after_the_kill_gets_the_right_rest(fake, start):
    mirror, digest = kill_within(fake, start, 10 << 20)
    mirror = start()
    reply = mirror.blob("a/b", digest, {"Range": f"bytes={10 << 20}-"})
    assert reply.status == 206 and reply.body == LARGE[10 << 20:]


def test_taken_up_bytes_that_were_harmed_are_fetched_again_and_never_served(fake, start):
    mirror, digest = kill_within(fake, start)
    for path in mirror.data.glob("ingest/*"):
        if path.stat().st_size >= 1 << 20:
            with open(path, "r+b") as file:
                file.seek(5000)
                file.write(b"harmed")
    mirror = start()
    for _ in range(3):
        reply = mirror.blob("a/b", digest)
        if reply.status == 200 and reply.is_whole:
            break
    assert reply.body == LARGE
    check_held(mirror)


@pytest.mark.parametrize("harm", ["map_gone", "map_garbage", "map_empty", "data_shorter", "data_gone", "data_longer"])
def test_a_harmed_ingest_folder_costs_a_refetch_at_most(fake, start, harm):
    mirror, digest = kill_within(fake, start)
    what, how = harm.split("_")
    for path in mirror.data.glob("ingest/*"):
        if path.name.endswith(".map") == (what == "map"):
            if how == "gone":
                path.unlink()
            elif how == "garbage":
                path.write_bytes(b"\xff\x00garbage 99999999999999999999-5\n" * 10)
            else:
                os.truncate(path, {"empty": 0, "shorter": 1 << 20, "longer": 100 << 20}[how])
    mirror = start()
    for _ in range(3):
        reply = mirror.blob("a/b", digest)
        if reply.status == 200 and reply.is_whole:
            break
    assert reply.body == LARGE
    check_held(mirror)


def test_what_was_held_before_the_kill_needs_no_upstream_after_it(fake, start):
    image = fake.add("a/b", images.image([LARGE[:100_000]]), "v1")
    mirror = start()
    assert mirror.manifest("a/b", "v1").status == 200
    for digest in image.blobs:
        assert mirror.blob("a/b", digest).status == 200
        mirror.wait_held(digest)
    mirror.wait_held(image.digest)
    # The index follows the files within one group: a second pull that asks nothing proves that it did.
    mirror.kill()
    mirror = start()
    mirror.manifest("a/b", "v1")
    for digest in image.blobs:
        mirror.blob("a/b", digest)
    mirror.stop()
    fake.stop()
    mirror = start()
    assert mirror.manifest("a/b", "v1").body == image.manifest
    for digest, data in image.blobs.items():
        assert mirror.blob("a/b", digest).body == data


class Load:
    """Clients that pull at random until told to stop, and keep what was wrong."""

    def __init__(self, mirror, fake, pulls, seed):
        self.mirror, self.pulls, self.wrong, self.done = mirror, pulls, [], threading.Event()
        self.completed = 0
        self.threads = [threading.Thread(target=self.run, args=(random.Random(f"{seed} {k}"),)) for k in range(4)]
        for thread in self.threads:
            thread.start()

    def run(self, dice):
        while not self.done.is_set():
            path, data = dice.choice(self.pulls)
            first = dice.choice([0, 0, dice.randrange(max(1, len(data)))])
            try:
                reply = wire.fetch(self.mirror.port, path, headers={"Range": f"bytes={first}-"} if first else {}, timeout=10)
            except OSError:
                continue
            if reply is None or reply.ending != wire.WHOLE or reply.status not in (200, 206):
                continue
            self.completed += 1
            if reply.body != (data[first:] if reply.status == 206 else data):
                self.wrong.append((path, first, reply))

    def stop(self):
        self.done.set()
        for thread in self.threads:
            thread.join()


def publish(fake, dice, generation, digests):
    """Thirty new images. Returns what can be pulled of them: (path, bytes)."""
    pulls = []
    for k in range(30):
        data = images.random_bytes(dice.choice([500, 20_000, 300_000, 3_000_000, 9_000_000]), f"kill {SEED} {generation} {k}")
        image = fake.add(f"r/{k % 5}", images.image([data]), f"v{generation}-{k}")
        pulls.append((f"/v2/r/{k % 5}/manifests/v{generation}-{k}", image.manifest))
        pulls += [(f"/v2/r/{k % 5}/blobs/{d}", b) for d, b in image.blobs.items()]
        digests |= {image.digest, *image.blobs}
    return pulls


def test_random_kills_under_a_mixed_load_never_complete_a_wrong_byte(fake, start):
    dice = random.Random(SEED)
    pulls, digests = [], set()
    fake.fault(BLOB, rate=20_000_000)
    completed = 0
    for kill in range(KILLS):
        if kill % 10 == 0:  # so that there is something cold all the way
            pulls += publish(fake, dice, kill, digests)
        mirror = start()
        load = Load(mirror, fake, pulls[-100:], f"{SEED} {kill}")
        threading.Event().wait(dice.uniform(0.0, 0.4))  # the instant of the kill is the dice's
        mirror.kill()
        load.stop()
        assert not load.wrong, (kill, SEED, load.wrong[:1])
        completed += load.completed
        assert mirror.held() <= digests
        if kill % 20 == 0:
            check_held(mirror)
        assert len(mirror.ingest()) <= 2 * len(digests) + 10
    assert completed > 0
    fake.heal()
    mirror = start()
    for path, data in pulls:
        reply = mirror.get(path)
        assert reply.status == 200 and reply.body == data, path
    for digest in digests:
        mirror.wait_held(digest)
    assert check_held(mirror) == len(digests)
    wait_until(lambda: mirror.ingest() == [], what="an empty ingest/")
