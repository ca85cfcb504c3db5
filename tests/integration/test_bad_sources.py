# SPDX-License-Identifier: Apache-2.0
"""Every way in which a source may be bad, each in a registry of its own behind one mirror: alone, where the answer is an
error that says so, in bounded time; and beside a healthy source, where the pull succeeds, byte for byte.

What a lie leaves behind is in test_lying_upstreams.py, what is held meanwhile in test_degraded_upstream.py, who is asked
how often in test_mirrors.py."""

import json
import ssl

import images
import pytest
from certificates import Authority
from fake_registry import FakeRegistry
from fake_server import Deaf
from harness import Tranship, at_once, code_of, message_of

NAME = "library/app"
SIZE = 300_000
# How the answer to a bad source alone reads.
OUTAGE = ((502, 504), "UNAVAILABLE")
LIMIT = ((503,), "TOOMANYREQUESTS")
NOT_THERE = ((404,), "NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN")  # for what is refused to everybody


class Source(FakeRegistry):
    """One that has the image, and whatever is wrong with it."""

    def __init__(self, image, tls=None):
        super().__init__(tls=tls)
        self.image = image
        self.add(NAME, image, "v1")
        self.stranger = None
        self.is_reached = not tls
        self.spoils_all = bool(tls)    # listings too
        self.spoils_heads = bool(tls)  # so that it tells no tag

    def contents(self):
        """(pattern of the GETs that bring it, its bytes)"""
        yield f"registry GET .*/manifests/(v1|{self.image.digest})", self.image.manifest
        for digest, data in self.image.blobs.items():
            yield f"registry GET .*/blobs/{digest}", data

    def answer(self, **what):
        self.fault("registry", **what)
        self.spoils_all = True
        self.spoils_heads = bool({"status", "raw", "hangup", "stall_before", "gzip"} & set(what))

    def say(self, raw):
        self.answer(raw=raw.replace(b"\n", b"\r\n"))

    def begin_well(self, raw):
        """The head is plausible: a HEAD shows nothing of it."""
        self.fault("registry GET", raw=raw.replace(b"\n", b"\r\n"))

    def send(self, bend):
        """bend(bytes): the fault of what sends them."""
        for pattern, data in self.contents():
            self.fault(pattern, **bend(data))

    def redirect_all(self, location):
        self.answer(status=307, headers={"Location": location})

    def challenge_with(self, realm):
        self.auth = "bearer"
        self.challenge = f'Bearer realm="{realm}",service="fake.registry",scope="repository:{NAME}:pull"'

    def tell_another_manifest(self):
        other = images.image([b"another"])
        self.repository(NAME).manifests[self.image.digest] = (other.media_type, other.manifest)

    def tell_an_old_tag(self):
        self.old = self.add(NAME, images.image([b"old", self.image.digest.encode()]), "v1")

    def shift_ranges(self):
        """Only who resumes is answered with another range."""
        for digest, data in self.image.blobs.items():
            self.fault(f"GET .*/blobs/{digest}", count=1, cut_after=len(data) // 2)
            self.fault(f"GET .*/blobs/{digest}", range_shift=7)

    def have_a_realm_elsewhere(self):
        """Which gives tokens to whoever asks, and would like a password."""
        self.stranger = FakeRegistry()
        self.spoils_heads = True
        self.challenge_with(self.stranger.token.server.url.replace("127.0.0.1", "localhost") + "/token")


class Unreachable(Deaf):
    """In the place of a Source."""

    stranger, is_reached, spoils_all, spoils_heads = None, False, True, True


# In the words of the list of what a source may do: (how it reads when alone, what it does).
BAD = {
    "nothing, for the connect hangs": (OUTAGE, Unreachable),
    "nothing after connect": (OUTAGE, lambda s: s.answer(stall_before=True)),
    "headers then nothing": (OUTAGE, lambda s: s.answer(stall_at=0)),
    "half a body": (OUTAGE, lambda s: s.send(lambda data: {"cut_after": len(data) // 2})),
    "twice the body": (OUTAGE, lambda s: s.send(lambda data: {"extra": data})),
    "wrong bytes of the right length": (OUTAGE, lambda s: s.send(lambda data: {"corrupt_at": len(data) // 2})),
    "HTML with 200": (OUTAGE, lambda s: s.answer(status=200, body=b"<html>Pay for your room</html>")),
    "401 in a loop": (NOT_THERE, lambda s: s.challenge_with(f"{s.token.server.url}/token") or s.answer(
        status=401, headers={"WWW-Authenticate": s.challenge})),
    "403": (NOT_THERE, lambda s: s.answer(status=403)),
    "404 for what exists": (NOT_THERE, lambda s: s.answer(status=404)),
    "429": (LIMIT, lambda s: s.answer(status=429)),
    "500": (OUTAGE, lambda s: s.answer(status=500)),
    "503": (OUTAGE, lambda s: s.answer(status=503)),
    "a redirect loop": (OUTAGE, lambda s: s.redirect_all(".")),
    "a redirect to http://169.254.169.254/": (OUTAGE, lambda s: s.redirect_all("http://169.254.169.254/latest/meta-data")),
    "a certificate of another name": (OUTAGE, {"name": "DNS:other.example"}),
    "a certificate that expired": (OUTAGE, {"name": "IP:127.0.0.1", "days": -1}),
    "a realm on another domain": (OUTAGE, Source.have_a_realm_elsewhere),
    "a token that is refused": (NOT_THERE, lambda s: (setattr(s, "auth", "bearer"), s.private.add(NAME))),
    "a manifest under a wrong digest": (OUTAGE, Source.tell_another_manifest),
    "a stale tag": (None, Source.tell_an_old_tag),
    "a 206 of another range": (OUTAGE, Source.shift_ranges),
    "a Content-Length that lies": (OUTAGE, lambda s: s.answer(claim=100, cut_after=100)),
    "gzip nobody asked for": (OUTAGE, lambda s: s.answer(gzip=True)),
    # beside that list: seen in the wild, or of the protocol's own corners
    "closes without a word": (OUTAGE, lambda s: s.answer(hangup=True)),
    "no HTTP": (OUTAGE, lambda s: s.say(b"SSH-2.0-OpenSSH_9.2\n")),
    "half a head": (OUTAGE, lambda s: s.say(b"HTTP/1.1 200 OK\nX-")),
    "a head of 2 MB": (OUTAGE, lambda s: s.say(b"HTTP/1.1 200 OK\nX-Padding: " + b"p" * 2_000_000 + b"\n\n")),
    "a hundred thousand headers": (OUTAGE, lambda s: s.say(b"HTTP/1.1 200 OK\n" + b"X-Y: z\n" * 100_000 + b"\n")),
    "100 over and over": (OUTAGE, lambda s: s.say(b"HTTP/1.1 100 Go\n\n" * 50)),
    "204": (OUTAGE, lambda s: s.say(b"HTTP/1.1 204 No Content\n\n")),
    "206 unasked": (OUTAGE, lambda s: s.say(b"HTTP/1.1 206 P\nContent-Range: bytes 5-6/10\nContent-Length: 2\n\nab")),
    "304 unasked": (OUTAGE, lambda s: s.say(b"HTTP/1.1 304 Not Modified\n\n")),
    "a redirect to nowhere": (OUTAGE, lambda s: s.say(b"HTTP/1.1 307 Go\nContent-Length: 0\n\n")),
    "a redirect to [fe80::1]": (OUTAGE, lambda s: s.redirect_all("https://[fe80::1]:1/x")),
    "400": (OUTAGE, lambda s: s.answer(status=400)),
    "401 without a challenge": (NOT_THERE, lambda s: s.answer(status=401)),
    "a page with 403": (OUTAGE, lambda s: s.answer(status=403, body=b"<html>not from here</html>")),
    "418": (OUTAGE, lambda s: s.answer(status=418)),
    "a page with 500": (OUTAGE, lambda s: s.answer(status=500, body=b"<html>oops</html>")),
    "3 MB with 500": (OUTAGE, lambda s: s.answer(status=500, body=b"e" * 3_000_000)),
    "502": (OUTAGE, lambda s: s.answer(status=502)), "504": (OUTAGE, lambda s: s.answer(status=504)),
    "a page of the right length": (OUTAGE, lambda s: s.send(lambda d: {"status": 200, "body": b"<html>".ljust(len(d))})),
    "nothing with 200": (OUTAGE, lambda s: s.answer(status=200, body=b"")),
    "cut after the head": (OUTAGE, lambda s: s.answer(cut_after=0)),
    "wrong bytes of no stated length": (OUTAGE, lambda s: s.send(lambda d: {"corrupt_at": len(d) // 2, "chunked": True})),
    "a negative length": (OUTAGE, lambda s: s.say(b"HTTP/1.1 200 OK\nContent-Length: -7\n\nabcdef")),
    "two lengths": (OUTAGE, lambda s: s.begin_well(b"HTTP/1.1 200 OK\nContent-Length: 5\nContent-Length: 6\n\nabcdef")),
    "bad chunks": (OUTAGE, lambda s: s.begin_well(b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nzz\nabc")),
    "429 for an hour": (LIMIT, lambda s: s.answer(status=429, headers={"Retry-After": "3600"})),
}


class World:
    """One mirror; for each fault a registry, of which sources(bad, good) says who is its origin and who its mirror."""

    def __init__(self, folder, sources):
        authority, secret = Authority(folder), folder / "secret"
        secret.write_text("s3cret")
        self.bad, self.good, self.name, registries = {}, {}, {}, {}
        for n, (fault, (_, how)) in enumerate(BAD.items()):
            name, good = f"n{n}.example", Source(images.image([images.random_bytes(SIZE, fault)]))
            if how is Unreachable:
                bad = Unreachable()
            elif isinstance(how, dict):
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*authority.sign(name, f"subjectAltName={how['name']}\n", how.get("days", 2)))
                bad = Source(good.image, context)
            else:
                bad = Source(good.image)
                how(bad)
            origin, mirrors = sources(bad, good)
            keys = {"mirrors": [m.url for m in mirrors]} if mirrors else {}
            if bad.stranger and origin is bad:
                keys |= {"username": "me", "password_file": str(secret)}
            registries[name] = {"origin": origin.url, **keys}
            self.bad[fault], self.good[fault], self.name[fault] = bad, good, name
        config = folder / "tranship.json"
        config.write_text(json.dumps({"registries": registries, "default_registry": "n0.example"}))
        limits = {"connect-timeout": "1s", "header-timeout": "1s", "stall-timeout": "1s"}
        self.tranship = Tranship(folder / "data", None, {"config": config, "negative-ttl": "0s", **limits},
                                 {"SSL_CERT_FILE": str(authority.certificate)}).ready()

    def get(self, fault, what, method="GET"):
        """Whoever is not done by the mirror's own time-outs is kept waiting."""
        ask = self.tranship.head if method == "HEAD" else self.tranship.get
        return ask(f"/v2/{self.name[fault]}/{NAME}/{what}", timeout=15)

    def check_met(self, fault):
        """A source that nobody asked shows nothing."""
        assert not self.bad[fault].is_reached or self.bad[fault].asked(), fault

    def end(self):
        try:
            self.tranship.stop()
        finally:
            self.tranship.kill()
            for source in (*self.bad.values(), *self.good.values()):
                source.stop()
                if source.stranger:
                    source.stranger.stop()


@pytest.fixture
def world_of(tmp_path):
    begun = []

    def world_of(sources):
        begun.append(World(tmp_path, sources))
        return begun[0]

    yield world_of
    for world in begun:
        world.end()


# Of which each request waits for a time-out.
SILENT = {"nothing, for the connect hangs", "nothing after connect", "headers then nothing"}
# What comes right all the same: where the fault does not show, or what is resumed.
HEALS = {"a stale tag": ("",), "half a body": ("blobs",), "a manifest under a wrong digest": ("blobs",),
         "a 206 of another range": ("manifests",)}
# What the message says beside the name of the source.
SAYS = {"a redirect to http://169.254.169.254/": "the private address 169.254.169.254 is refused",
        "a redirect to [fe80::1]": "the private address fe80::1 is refused",
        "a realm on another domain": "none of the realms that may see the credential"}


def check_refused(world, fault, what):
    (statuses, *codes), _ = BAD[fault]
    reply = world.get(fault, what)
    if what.startswith("blobs/") and reply.status == 200 and statuses == OUTAGE[0]:
        assert not reply.is_whole, reply  # the head was plausible
        return
    assert reply.status in statuses and code_of(reply) in codes, reply
    said = message_of(reply)
    assert (world.bad[fault].url in said or world.name[fault] in said) and SAYS.get(fault, "") in said, said


def test_a_bad_source_alone_is_told_for_what_it_is_and_forgiven_when_it_is_well(world_of):
    """Never as a 404, never as content, and the message names it."""
    world = world_of(lambda bad, good: (bad, []))

    def check(fault):
        source, image = world.bad[fault], world.good[fault].image
        whole = {"manifests/v1": image.manifest, f"manifests/{image.digest}": image.manifest,
                 **{f"blobs/{digest}": data for digest, data in image.blobs.items()}}
        if fault == "a stale tag":
            whole["manifests/v1"] = source.old.manifest  # nobody else's word counts
        right = HEALS.get(fault, ())

        def look(what):
            if not what.startswith(right):
                check_refused(world, fault, what)
                return
            reply = world.get(fault, what)
            assert reply.status == 200 and reply.body == whole[what], reply

        asked = list(whole)
        if source.spoils_all:
            asked += ["tags/list"] if BAD[fault][0] == NOT_THERE else ["tags/list", f"referrers/{image.digest}"]
        if fault in SILENT:
            at_once(look, asked)
        else:
            for what in asked:
                look(what)
        if source.spoils_heads:
            assert world.get(fault, "manifests/v1", "HEAD").status in BAD[fault][0][0]
        world.check_met(fault)
        if not source.is_reached:
            return
        if source.stranger:
            assert source.stranger.asked() and not any(r.header("authorization") for r in source.stranger.asked())
        source.heal()
        source.auth, source.challenge = None, None
        source.add(NAME, image, "v2")
        for what, data in (("manifests/v2", image.manifest), (f"blobs/{image.layer}", image.blobs[image.layer])):
            reply = world.get(fault, what)
            assert reply.status == 200 and reply.body == data, reply

    at_once(check, BAD)


# Of which a client has read before they are known to be wrong: its second try is right. Who asks for a blob before its
# manifest does not know its size either.
SECOND_TRY = {"wrong bytes of the right length", "a page of the right length"}
BLOB_FIRST = SECOND_TRY | {"twice the body"}


def pull_blobs(world, fault, second_try=SECOND_TRY):
    for digest, data in reversed(world.good[fault].image.blobs.items()):
        reply = world.get(fault, f"blobs/{digest}")
        if fault in second_try and not reply.is_whole:
            reply = world.get(fault, f"blobs/{digest}")
        assert reply.status == 200 and reply.is_whole and reply.body == data, reply


def pull_manifest(world, fault, reference):
    image = world.good[fault].image
    head = world.get(fault, f"manifests/{reference}", "HEAD")
    assert head.status == 200 and head.header("docker-content-digest") == image.digest, head
    for what in (f"manifests/{reference}", f"manifests/{image.digest}"):
        reply = world.get(fault, what)
        assert reply.status == 200 and reply.body == image.manifest, reply
    return head


@pytest.mark.parametrize("first", ["manifest", "blob"])
def test_a_bad_mirror_before_a_healthy_origin_is_not_noticed(world_of, first):
    """Whatever is asked first meets it: afterwards it is left out."""
    world = world_of(lambda bad, good: (good, [bad]))

    def check(fault):
        if first == "blob":
            pull_blobs(world, fault, BLOB_FIRST)
        assert pull_manifest(world, fault, "v1").header("warning") is None
        pull_blobs(world, fault)
        world.check_met(fault)

    at_once(check, BAD)
    for digest in world.tranship.held():
        assert images.digest_of(world.tranship.blob_path(digest).read_bytes()) == digest


def test_a_bad_origin_behind_a_healthy_mirror_is_not_noticed_in_a_pull_by_digest_and_told_in_one_by_tag(world_of):
    """Of a tag the origin's word counts: its 404 is one, its outage is not."""
    world = world_of(lambda bad, good: (bad, [good]))

    def check(fault):
        source, image = world.bad[fault], world.good[fault].image
        pull_manifest(world, fault, image.digest)
        pull_blobs(world, fault)
        reply = world.get(fault, "manifests/v1")
        if BAD[fault][0] == NOT_THERE:
            assert reply.status == 404, reply
        elif fault == "a stale tag":
            assert reply.body == source.old.manifest and reply.header("warning") is None, reply
        else:
            assert reply.status == 200 and reply.body == image.manifest, reply
            assert bool(reply.header("warning")) == source.spoils_heads, reply
        world.check_met(fault)

    at_once(check, BAD)
