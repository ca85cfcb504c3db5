#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A registry in memory, with the two that stand beside a real one: a token service and a CDN to which blobs are
redirected. Run by hand it serves one small image: fake_registry.py [PORT]."""

import base64
import json
import re
import secrets
import sys
import threading
import time
import urllib.parse

import images
from fake_server import Fault, Journal, Reply, Server, problem

ROUTE = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs|tags|referrers)/(?P<what>[^/]+)")


class Repository:
    def __init__(self):
        self.tags = {}       # tag: digest
        self.manifests = {}  # digest: (media type, bytes)
        self.blobs = {}      # digest: bytes

    def referrers(self, subject):
        found = []
        for digest, (media_type, data) in self.manifests.items():
            document = json.loads(data) if data[:1] == b"{" else {}
            if document.get("subject", {}).get("digest") != subject:
                continue
            entry = {"mediaType": media_type, "digest": digest, "size": len(data)}
            kind = document.get("artifactType") or document.get("config", {}).get("mediaType")
            if kind:
                entry["artifactType"] = kind
            if document.get("annotations"):
                entry["annotations"] = document["annotations"]
            found.append(entry)
        return found


class TokenService:
    """Tokens by scope. What it gives out is opaque; revoke() makes every one of them worthless at once."""

    def __init__(self, registry):
        self.registry = registry
        self.service = "fake.registry"
        self.lifetime = 300                      # seconds for which a token is good, and says so
        self.fields = ("token", "access_token")
        self.tells_lifetime = True
        self.methods = ("GET",)
        self.refuses_anonymous = None            # status for those who bring no user
        self.issued = {}                         # token: (granted scope, good until)
        self.owners = {}                         # token: the user that it was given to, or None
        self.server = None

    def revoke(self):
        self.issued.clear()

    def handle(self, request):
        if request.method not in self.methods:
            return problem(405, "UNSUPPORTED", "another method, please")
        form = urllib.parse.parse_qs(request.body.decode()) if request.method == "POST" else request.query
        user = self.registry.user_of(request) if request.method == "GET" else self.user_of_form(form)
        if user is False:
            return problem(401, "UNAUTHORIZED", "incorrect username or password")
        if user is None and self.refuses_anonymous:
            return problem(self.refuses_anonymous, "DENIED", "who are you?")
        if form.get("service") != [self.service]:
            return problem(400, "UNSUPPORTED", "wrong service")
        scope = form.get("scope", [""])[0]
        asked = re.fullmatch(r"repository:(.+):pull", scope)
        if scope and not asked:
            return problem(400, "UNSUPPORTED", "wrong scope")
        may = not asked or asked[1] not in self.registry.private or user is not None
        token = secrets.token_urlsafe(24)
        self.owners[token] = user
        self.issued[token] = (scope if may else "", time.monotonic() + self.lifetime)
        answer = {field: token for field in self.fields}
        if self.tells_lifetime:
            answer["expires_in"] = self.lifetime
        return Reply(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())

    def user_of_form(self, form):
        user, password = form.get("username", [None])[0], form.get("password", [""])[0]
        return user if self.registry.users.get(user) == password else False

    def grants(self, request, name):
        token = re.sub(r"(?i)^bearer ", "", request.header("authorization") or "")
        scope, until = self.issued.get(token, (None, 0))
        return time.monotonic() < until and (name is None or scope == f"repository:{name}:pull")


class FakeRegistry:
    """Everything is settable while it runs. Faults: see fault() and fake_server.Fault."""

    def __init__(self, port=0, tls=None):
        self.journal = Journal()
        self.tls = tls
        self.repositories = {}
        self.auth = None          # "bearer", "basic" or None
        self.users = {}           # user: password
        self.private = set()      # names that the anonymous may not pull
        self.challenge = None     # WWW-Authenticate instead of the usual; "" leaves it out
        self.strict_accept = True # 404 for a type that Accept does not list, as ghcr does
        self.has_referrers = True
        self.has_catalog = True
        self.sends_digest = True
        self.page_size = None     # at most so many tags, referrers or names a page
        self.page_style = "relative"  # "absolute", "cursor", "foreign"
        self.prefix = ""          # before /v2
        self.redirect = None      # digest -> (status, Location or None) for blobs
        self.signatures = set()   # of the CDN; each is good for one request
        self.token = TokenService(self)
        self.running = []
        self._start(port, 0, 0)

    # --- running ------------------------------------------------------------------------------------------------
    def _start(self, port, cdn_port, token_port):
        self.server = Server("registry", self._handle, self.journal, port, self.tls)
        self.cdn = Server("cdn", self._cdn, self.journal, cdn_port, self.tls)
        self.token.server = Server("token", self.token.handle, self.journal, token_port, self.tls)
        self.running = [self.server, self.cdn, self.token.server]

    @property
    def url(self):
        return self.server.url

    def stop(self):
        for server in self.running:
            server.stop()
        self.running = []

    def come_back(self):
        """On the same ports, with the same content, after stop()."""
        self._start(self.server.port, self.cdn.port, self.token.server.port)

    # --- content ------------------------------------------------------------------------------------------------
    def repository(self, name):
        return self.repositories.setdefault(name, Repository())

    def add(self, name, image, *tags):
        repository = self.repository(name)
        repository.manifests[image.digest] = (image.media_type, image.manifest)
        repository.blobs.update(image.blobs)
        for child in image.children:
            self.add(name, child)
        for tag in tags:
            repository.tags[tag] = image.digest
        return image

    def add_blob(self, name, data, algorithm="sha256"):
        digest = images.digest_of(data, algorithm)
        self.repository(name).blobs[digest] = data
        return digest

    def add_manifest(self, name, data, media_type, *tags, digest=None):
        """Bytes of any kind, under their digest or another."""
        digest = digest or images.digest_of(data)
        repository = self.repository(name)
        repository.manifests[digest] = (media_type, data)
        repository.tags.update({tag: digest for tag in tags})
        return digest

    # --- faults and questions -------------------------------------------------------------------------------------
    def fault(self, pattern, **what):
        """pattern is searched in "registry GET /v2/…", "token GET /token?…" or "cdn GET /…"."""
        fault = Fault(pattern, **what)
        with self.journal.condition:
            self.journal.faults.append(fault)
        return fault

    def heal(self):
        with self.journal.condition:
            for fault in self.journal.faults:
                fault.release()
            self.journal.faults.clear()

    def forget(self):
        with self.journal.condition:
            self.journal.requests.clear()

    def asked(self, pattern=""):
        """The requests so far whose "SERVER METHOD TARGET" matches."""
        with self.journal.condition:
            return [r for r in self.journal.requests if re.search(pattern, f"{r.server} {r.method} {r.target}")]

    def wait_asked(self, pattern, count=1, seconds=20):
        self.journal.wait_for(lambda: len(self.asked(pattern)) >= count, seconds)
        return self.asked(pattern)

    def wait_sent(self, digest, count, seconds=20):
        """Until so many bytes of that blob went out."""
        self.journal.wait_for(lambda: self.sent(digest) >= count, seconds)

    def sent(self, digest):
        return sum(r.sent for r in self.asked(re.escape(digest)) if r.method == "GET" and r.status in (200, 206))

    def use_cdn(self, status=307):
        def redirect(digest):
            signature = secrets.token_hex(8)
            self.signatures.add(signature)
            return status, f"{self.cdn.url}/data/{digest}?X-Signature={signature}"
        self.redirect = redirect

    # --- answers --------------------------------------------------------------------------------------------------
    def user_of(self, request):
        """The name if the password is right, None if there is none, False if it is wrong."""
        line = request.header("authorization") or ""
        if not line.lower().startswith("basic "):
            return None
        user, _, password = base64.b64decode(line[6:]).decode().partition(":")
        return user if self.users.get(user) == password else False

    def _refusal(self, request, name):
        if self.auth == "bearer" and not self.token.grants(request, name):
            scope = f',scope="repository:{name}:pull"' if name else ""
            challenge = f'Bearer realm="{self.token.server.url}/token",service="{self.token.service}"{scope}'
        elif self.auth == "basic" and not self.user_of(request):
            challenge = 'Basic realm="fake"'
        else:
            return None
        challenge = challenge if self.challenge is None else self.challenge
        headers = {"WWW-Authenticate": challenge} if challenge else {}
        return problem(401, "UNAUTHORIZED", "authentication required", headers)

    def _handle(self, request):
        if "://" in request.target:  # asked as a proxy
            request.path = urllib.parse.urlsplit(request.target).path
        if request.method not in ("GET", "HEAD"):
            return problem(405, "UNSUPPORTED", "read only")
        if not request.path.startswith(self.prefix):
            return Reply(404, {"Content-Type": "text/html"}, b"<html>no such page</html>")
        request.path = request.path.removeprefix(self.prefix)
        if request.path in ("/v2/", "/v2/_catalog"):
            refusal = self._refusal(request, None)
            return refusal or (self._catalog(request) if "cat" in request.path else
                               Reply(200, {"Content-Type": "application/json"}, b"{}"))
        if request.path.startswith("/moved/"):
            return self._content(request.path.split("/")[2])
        found = ROUTE.fullmatch(request.path)
        if not found:
            return Reply(404, {"Content-Type": "text/html"}, b"<html>no such page</html>")
        name, kind, what = found["name"], found["kind"], found["what"]
        refusal = self._refusal(request, name)
        if refusal:
            return refusal
        if name not in self.repositories:
            return problem(404, "NAME_UNKNOWN", "repository name not known to registry")
        return getattr(self, f"_{kind}")(request, name, self.repositories[name], what)

    def _manifests(self, request, name, repository, what):
        digest = repository.tags.get(what, what)
        if digest not in repository.manifests:
            return problem(404, "MANIFEST_UNKNOWN", f"no {what} in {name}")
        media_type, data = repository.manifests[digest]
        accept = request.header("accept") or ""
        if self.strict_accept and media_type.startswith("application/vnd.") and media_type not in accept:
            return problem(404, "MANIFEST_UNKNOWN", f"{media_type} found, but Accept header does not support it")
        headers = {"Content-Type": media_type, "ETag": f'"{digest}"'}
        if self.sends_digest:
            headers["Docker-Content-Digest"] = digest
        return Reply(200, headers, data)

    def _blobs(self, request, name, repository, digest):
        if digest not in repository.blobs:
            return problem(404, "BLOB_UNKNOWN", f"no {digest} in {name}")
        if self.redirect:
            status, location = self.redirect(digest)
            return Reply(status, {"Location": location} if location else {})
        return self._content(digest)

    def _content(self, digest):
        for repository in self.repositories.values():
            if digest in repository.blobs:
                headers = {"Content-Type": "application/octet-stream", "ETag": f'"{digest}"'}
                if self.sends_digest:
                    headers["Docker-Content-Digest"] = digest
                return Reply(200, headers, repository.blobs[digest], ranges=True)
        return problem(404, "BLOB_UNKNOWN", "gone")

    def _cdn(self, request):
        signature = request.query.get("X-Signature", [""])[0]
        if request.header("authorization"):
            return Reply(400, {"Content-Type": "application/xml"}, b"<Error>Only one auth mechanism allowed</Error>")
        if signature not in self.signatures:
            return Reply(403, {"Content-Type": "application/xml"}, b"<Error>Request has expired</Error>")
        self.signatures.discard(signature)
        return self._content(request.path.rsplit("/", 1)[1])

    def _paged(self, request, items, key_of):
        """One page of items and the headers that lead to the next."""
        asked = int(request.query.get("n", [self.page_size or 1 << 30])[0])
        size = min(asked, self.page_size or asked)
        last = request.query.get("last", request.query.get("next_page", [""]))[0]
        rest = [i for i in items if key_of(i) > last]
        page, headers = rest[:size], {}
        if len(rest) > size > 0:
            cursor = "next_page" if self.page_style == "cursor" else "last"
            query = {k: v[0] for k, v in request.query.items()} | {cursor: key_of(page[-1])}
            origin = {"absolute": self.url, "foreign": f"http://localhost:{self.server.port}"}.get(self.page_style, "")
            headers["Link"] = f'<{origin}{request.path}?{urllib.parse.urlencode(query)}>; rel="next"'
        return page, headers

    def _tags(self, request, name, repository, what):
        page, headers = self._paged(request, sorted(repository.tags), str)
        return Reply(200, {"Content-Type": "application/json", **headers},
                     json.dumps({"name": name, "tags": page or None}).encode())

    def _catalog(self, request):
        if not self.has_catalog:
            return problem(404, "UNSUPPORTED", "no catalog here")
        page, headers = self._paged(request, sorted(self.repositories), str)
        return Reply(200, {"Content-Type": "application/json", **headers}, json.dumps({"repositories": page}).encode())

    def _referrers(self, request, name, repository, digest):
        if not self.has_referrers:
            return Reply(404, {"Content-Type": "text/plain"}, b"404 page not found\n")
        found = sorted(repository.referrers(digest), key=lambda d: d["digest"])
        page, headers = self._paged(request, found, lambda d: d["digest"])
        return Reply(200, {"Content-Type": images.OCI_INDEX, **headers},
                     images.to_json({"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": page}))


def main():
    fake = FakeRegistry(int(sys.argv[1]) if len(sys.argv) > 1 else 5001)
    image = fake.add("library/demo", images.image([images.random_bytes(1 << 20)]), "latest")
    print(f"{fake.url}/v2/library/demo/manifests/latest is {image.digest}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
