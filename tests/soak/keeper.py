# SPDX-License-Identifier: Apache-2.0
"""Who keeps the mirror while it serves: every command that changes or tells what is held, one after another, beside the
server, in the middle of its death and without it; bytes that rot on its disk; a budget that is another after a reload. What a
command says is compared with what can be known, and what is pinned must stay."""

import json
import os
import random
import signal
import subprocess

import images
from bundles import members
from harness import SANITIZERS, binary, clean_environment, wait_until
from rot import Decay

PINS_MOST = 2
COMMAND_S = 180
READ_AGAIN = "the configuration was read again"


class Keeper:
    """turn() does one thing. The soak's hand is held meanwhile: no server begins then, but one may be killed."""

    def __init__(self, soak, seed):
        self.soak = soak
        self.order = random.Random(seed)
        self.dice = None  # a turn's: what comes next must not hang on what was held
        self.data, self.folder = soak.data, soak.folder
        self.decay = Decay(self.data / "blobs/sha256", soak.contents)
        self.pinned = {}  # "name@digest": the digests of it that were held when it was pinned, or came later
        self.perhaps_pinned = set()
        self.turns = {
            self.list: 2, self.pin: 2, self.unpin: 1, self.remove: 1, self.remove_blob: 1, self.evict: 2, self.verify: 2,
            self.repair: 1, self.pull: 2, self.carry: 2, self.receipt: 1, self.rot: 5, self.reload: 2}

    def turn(self):
        self.dice = random.Random(self.order.random())
        what = self.dice.choices(list(self.turns), list(self.turns.values()))[0]
        what()
        self.look_at_pins()
        self.look_for_healed()

    def end(self):
        """What rotted is gone, nothing is pinned, and the budget is the usual one."""
        mirror = self.soak.mirror
        before = mirror.stderr.count(READ_AGAIN)
        self.soak.configure(1)
        mirror.process.send_signal(signal.SIGHUP)
        wait_until(lambda: mirror.stderr.count(READ_AGAIN) > before, 20, "the reload")
        for name in sorted({*self.pinned, *self.perhaps_pinned}):
            self.command("unpin", name, may_fail=True)
        self.pinned.clear()
        self.repair()
        self.look_for_healed()
        if self.decay.open():
            self.soak.complain(f"not healed: {[rot.digest for rot in self.decay.open()]}")

    # --- a command ----------------------------------------------------------------------------------------------------
    def command(self, verb, *words, may_fail=False):
        """(status, standard output). What needs no source may fail only where the server went meanwhile."""
        deaths = self.soak.deaths
        self.soak.note(" ".join([verb, *map(str, words)]))
        self.soak.count(verb if self.soak.is_running() else f"{verb} alone")
        try:
            done = subprocess.run([str(binary()), verb, "--config", str(self.soak.config), *map(str, words)],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_S,
                                  env=clean_environment(), check=False)
        except subprocess.TimeoutExpired:
            self.soak.complain(f"{verb} {words} was not done after {COMMAND_S} s")
            return None, ""
        if SANITIZERS.search(done.stderr):
            self.soak.complain(done.stderr)
        if done.returncode not in (0, 1) or (done.returncode == 1 and not (done.stdout or done.stderr)):
            self.soak.complain(f"{verb} {words} ended with {done.returncode}: {done.stdout}{done.stderr}")
        elif done.returncode == 1 and not may_fail and deaths % 2 == 0 and deaths == self.soak.deaths:
            self.soak.complain(f"{verb} {words} failed: {done.stderr}")
        if done.returncode:
            self.soak.count(f"{verb} failed")
        return done.returncode, done.stdout

    def asked(self, verb, *words, may_fail=False):
        """What it says in JSON, or None if it failed."""
        status, said = self.command(verb, "--json", *words, may_fail=may_fail)
        return json.loads(said) if status == 0 else None

    def any_image(self):
        return self.dice.choice(self.soak.images)

    def held(self):
        return {f"sha256:{name}" for name in os.listdir(self.decay.blobs)}

    # --- what is held ---------------------------------------------------------------------------------------------------
    def list(self):
        said = self.asked("list")
        truth = {f"docker.io/{one.name}": one.image.digest for one in self.soak.images}
        for found in said["images"] if said else []:
            name = f"{found['registry']}/{found['repository']}"
            if found["repository"] is None:  # its file came back without a row that names it
                is_right = found["digest"] in truth.values()
            else:
                is_right = truth.get(name) == found["digest"]
            if not is_right:
                self.soak.complain(f"list tells of {found}")
            if found["is_pinned"] and found["repository"] and not self.is_pinned(found["repository"]):
                self.soak.complain(f"list tells that {found['image']} is pinned")
        told = {found["repository"] for found in said["images"]} if said else set()
        for one in self.soak.images:
            if said and one.image.digest in self.pinned.get(self.by_digest(one), ()) and one.name not in told:
                self.soak.complain(f"list does not tell of {one.name}, which is pinned")

    def receipt(self):
        status, said = self.command("receipt")
        if status == 0 and not set(json.loads(said)["blobs"]) <= set(self.soak.contents):
            self.soak.complain(f"the receipt names what there never was: {said}")

    # --- pins -----------------------------------------------------------------------------------------------------------
    # By digest: a tag goes when a source says so, and then its pin is of nothing.
    @staticmethod
    def by_digest(one):
        return f"{one.name}@{one.image.digest}"

    def is_pinned(self, name):
        return any(pin.startswith(f"{name}@") for pin in {*self.pinned, *self.perhaps_pinned})

    def pin(self):
        one = self.any_image()
        if len(self.pinned) >= PINS_MOST or self.by_digest(one) in self.pinned:
            return
        # From before: the server may have done it and died before it said so.
        self.pinned[self.by_digest(one)] = set()
        said = self.asked("pin", self.by_digest(one))
        if said:
            self.watch(one)

    def watch(self, one):
        """What is held of what is pinned stays: of an image whose manifest is there."""
        held = self.held()
        if one.image.digest in held:
            self.pinned[self.by_digest(one)] = {one.image.digest, *one.image.blobs} & held - self.bad()

    def bad(self):
        return {rot.digest for rot in self.decay.open()}

    def unpin(self):
        if self.pinned:
            name = self.dice.choice(sorted(self.pinned))
            del self.pinned[name]
            self.perhaps_pinned.add(name)  # it fails where pin was cut short, or is cut short itself
            if self.command("unpin", name, may_fail=True)[0] == 0:
                self.perhaps_pinned.remove(name)

    def look_at_pins(self):
        for name, digests in self.pinned.items():
            digests -= self.decay.ever()  # was set aside, or may be
            gone = sorted(d for d in digests if not self.decay.path(d).exists())
            if gone:
                self.soak.complain(f"{name} is pinned, and {gone} went")

    # --- what goes ------------------------------------------------------------------------------------------------------
    def remove(self):
        """A pin keeps no image from being removed, and stays."""
        one = self.any_image()
        if self.by_digest(one) in self.pinned:
            self.pinned[self.by_digest(one)] = set()
        self.asked("remove", f"{one.name}:latest", may_fail=True)  # nothing may be held of it

    def remove_blob(self):
        one = self.any_image()
        digest = self.dice.choice(list(one.image.blobs))
        if not any(digest in digests for digests in self.pinned.values()):
            self.asked("remove", digest, may_fail=True)

    def evict(self):
        words = self.dice.choice(([], ["--budget", str(self.soak.budget // 2)], ["--dry-run", "--budget", "0B"]))
        said = self.asked("evict", *words)
        for found in said["images"] if said else []:
            if found["digest"] in {d for digests in self.pinned.values() for d in digests}:
                self.soak.complain(f"evict {words} tells of {found}, which is pinned")

    # --- what rots --------------------------------------------------------------------------------------------------------
    def rot(self):
        for _ in range(self.dice.randrange(1, 4)):
            if digest := self.decay.flip(self.dice):
                self.soak.note(f"flipped {digest}")
                self.soak.count("flipped")

    def verify(self, *words):
        before = self.decay.present()
        status, said = self.command("verify", "--json", *words, may_fail=True)
        if not said:
            return
        named = {wrong["digest"] for wrong in json.loads(said)["wrong"]}
        after = {rot.digest for rot in before if rot.is_in(self.decay.path(rot.digest))}
        if named - {rot.digest for rot in before}:
            self.soak.complain(f"verify names {named}, and only {[rot.digest for rot in before]} were flipped")
        if (set() if words else after) - named:
            self.soak.complain(f"verify does not name all of {after}: {said}")
        if words and status == 0 and after:
            self.soak.complain(f"verify left {after}: {said}")
        self.soak.count("named by verify", len(named))

    def repair(self):
        self.verify("--repair")

    def look_for_healed(self):
        """A file that is no longer where it was is not served once the ledger has done what it had to do."""
        gone = [rot for rot in self.decay.open() if not rot.is_in(self.decay.path(rot.digest))]
        if gone and self.soak.settle():
            self.decay.close(gone)

    # --- over the network, and across a gap -------------------------------------------------------------------------------
    def pull(self):
        one = self.any_image()
        said = self.asked("pull", "--platform", "all", f"{one.name}:latest", may_fail=True)
        for found in said["images"] if said else []:
            if found["is_done"] and found["digest"] != one.image.digest:
                self.soak.complain(f"pull brought {found}")

    def carry(self):
        """Out of the folder and into it again."""
        bundle = self.folder / "bundle.tar"
        words = self.dice.choice((["--no-pull"], []))
        status, _ = self.command("export", "-o", bundle, *words, f"{self.any_image().name}:latest", may_fail=True)
        if status == 0:
            for name, data in members(bundle).items():
                if name.startswith("blobs/") and images.digest_of(data) != name[len("blobs/"):].replace("/", ":"):
                    self.soak.complain(f"export wrote a bundle with wrong bytes in {name}")
            self.command("import", bundle, may_fail=True)
        bundle.unlink(missing_ok=True)

    # --- the configuration --------------------------------------------------------------------------------------------------
    def reload(self):
        self.soak.configure(self.dice.choice((0.6, 0.8, 1, 1.3)))
        if self.soak.is_running():
            self.soak.mirror.process.send_signal(signal.SIGHUP)
            self.soak.count("reloads")
