# SPDX-License-Identifier: Apache-2.0
"""The real binary as a test sees it: started, asked, stopped or killed, its log read. Waits for events, with a limit."""

import itertools
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

import wire

TOP = pathlib.Path(__file__).resolve().parents[2]
SANITIZERS = re.compile(r"ERROR: \w*Sanitizer|WARNING: ThreadSanitizer|runtime error:|SUMMARY: \w*Sanitizer")
# Long enough for what a test holds back on purpose, in a sanitizer build on a busy machine too. Tests of a time-out
# bring their own.
PATIENCE = {"connect-timeout": "5s", "header-timeout": "10s", "stall-timeout": "10s"}
# One transfer a blob, and only what is asked for, so that what the upstream sent can be counted to the byte; test_lanes.py and test_ahead.py have the others.
ALONE = {"connections-per-source": "1", "prefetch": "no"}


def binary():
    builddir = os.environ.get("top_builddir")
    path = os.environ.get("TRANSHIP") or (pathlib.Path(builddir) if builddir else TOP / "build") / "tranship"
    return pathlib.Path(path).resolve()


def clean_environment(**more):
    """Nothing of the caller's settings reaches the binary: no proxies, no TRANSHIP_ options."""
    mine = {k: v for k, v in os.environ.items() if not re.match(r"(?i)(tranship.*|\w+_proxy|ssl_cert_.*)$", k)}
    return mine | more


def wait_until(claim, seconds=10, what="it"):
    """For states that send no event (a file, a process): looks again every few milliseconds."""
    end = time.monotonic() + seconds
    while not (found := claim()):
        assert time.monotonic() < end, f"{what} did not come about within {seconds} s"
        time.sleep(0.005)
    return found


def at_once(check, cases):
    """check(case) for all of them side by side; fails with every case that did."""
    failures = {}

    def run(case):
        try:
            check(case)
        except BaseException as failure:  # told below
            failures[str(case)] = failure

    threads = [threading.Thread(target=run, args=(case,)) for case in cases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for case, failure in failures.items():
        failure.add_note(f"case: {case}")
        print(f"failed: {case}: {failure}")
    if failures:
        raise next(iter(failures.values()))


class Asker(threading.Thread):
    """Asks for what is held ({path: content}) again and again, `most` times or until it is told to end."""

    def __init__(self, mirror, wanted, most=None):
        super().__init__()
        self.mirror, self.wanted, self.most, self.took, self.trouble = mirror, wanted, most, [], None
        self.is_over = threading.Event()

    def run(self):
        try:
            with self.mirror.wire() as client:
                for path, data in itertools.cycle(self.wanted.items()):
                    if self.is_over.is_set() or len(self.took) == self.most:
                        break
                    began = time.perf_counter()
                    assert client.exchange(path).body == data
                    self.took.append(1000 * (time.perf_counter() - began))
        except Exception as trouble:  # told by the main thread
            self.trouble = trouble

    def end(self):
        """How long each answer took, in milliseconds, sorted."""
        self.is_over.set()
        self.join()
        assert self.trouble is None, self.trouble
        return sorted(self.took)


def metrics_of(page):
    found = {}
    for line in page.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups()
        key = name, tuple(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""))
        assert key not in found, f"{line}: twice on the page"
        found[key] = float(value) if "." in value else int(value)
    return found


class Tranship:
    """One run of `tranship serve` on a data folder. options: {"tag-ttl": "1s"}."""

    def __init__(self, data, upstream, options=None, environment=None, listen="127.0.0.1:0", wrapper=(), more=()):
        self.data = pathlib.Path(data)
        words = {"listen": listen, "data": str(data), "upstream": upstream, "log-format": "json",
                 "log-level": "debug", **PATIENCE, **ALONE, **(options or {})}
        self.command = [*wrapper, str(binary()), "serve"]
        for option, value in words.items():
            for one in value if isinstance(value, list) else [value]:
                if one is not None:
                    self.command += [f"--{option}", str(one)]
        self.command += more
        self.lines = []   # of stderr
        self.news = threading.Condition()
        self.is_read = False
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, env=clean_environment(**(environment or {})))
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.port = None

    def _read(self):
        for line in self.process.stderr:
            with self.news:
                self.lines.append(line.decode(errors="replace").rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.is_read = True
            self.news.notify_all()

    # --- its life -------------------------------------------------------------------------------------------------
    def ready(self, seconds=20):
        """Waits for the line that says where it serves."""
        entry = self.wait_log(lambda e: e.get("message") == "serving", seconds)
        self.port = int(entry["address"].rsplit(":", 1)[1])
        return self

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds=20):
        """The exit status; by then all of stderr is read."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
            raise AssertionError(f"still there after {seconds} s:\n{self.tail()}") from None
        self.reader.join()
        assert not SANITIZERS.search(self.stderr), self.stderr
        return status

    def stop(self, seconds=20):
        """The orderly end: SIGTERM, exit 0, no complaint of a sanitizer."""
        if self.process.poll() is None:
            self.terminate()
        assert self.wait(seconds) == 0, f"exit {self.process.returncode}:\n{self.tail()}"

    def end_at_once(self):
        """The impatient end: a second SIGTERM once the first was heard."""
        self.terminate()
        self.wait_log(lambda e: e.get("message") == "stopping")
        self.terminate()
        self.wait(10)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()

    # --- its words ------------------------------------------------------------------------------------------------
    @property
    def stderr(self):
        with self.news:
            return "\n".join(self.lines)

    def tail(self):
        return "\n".join(self.stderr.split("\n")[-60:])

    def log(self):
        """What it logged so far, as dictionaries."""
        with self.news:
            return [json.loads(line) for line in self.lines if line.startswith("{")]

    def wait_log(self, claim, seconds=10):
        """The first entry of which the claim is true, past or to come. Each is looked at once: there may be very many."""
        looked_at = 0

        def look():
            nonlocal looked_at
            for line in self.lines[looked_at:]:
                looked_at += 1
                if line.startswith("{") and claim(entry := json.loads(line)):
                    return entry
            return self.is_read and "gone"
        with self.news:
            found = self.news.wait_for(look, seconds)
        assert found and found != "gone", f"no such line was logged:\n{self.tail()}"
        return found

    # --- questions --------------------------------------------------------------------------------------------------
    def get(self, path, headers=(), timeout=30):
        return wire.fetch(self.port, path, "GET", headers, timeout=timeout)

    def head(self, path, headers=(), timeout=30):
        return wire.fetch(self.port, path, "HEAD", headers, timeout=timeout)

    @property
    def door(self):
        """The local door's socket."""
        return self.data / "tranship.sock"

    def ask_local(self, path, method="GET", headers=(), body=b""):
        return wire.fetch(self.door, path, method, headers, body)

    def status(self):
        return json.loads(self.get("/api/status").body)

    def wire(self, **more):
        return wire.Wire(self.port, **more)

    def manifest(self, name, reference, headers=()):
        return self.get(f"/v2/{name}/manifests/{reference}", headers)

    def blob(self, name, digest, headers=()):
        return self.get(f"/v2/{name}/blobs/{digest}", headers)

    def pull(self, name, reference, image):
        """All of an image as a client takes it, right to the last byte. The answers."""
        replies = [self.manifest(name, reference)]
        assert replies[0].status == 200 and replies[0].body == image.manifest, replies[0]
        for digest, data in image.blobs.items():
            replies.append(self.get(f"/v2/{name}/blobs/{digest}", timeout=120))
            assert replies[-1].status == 200 and replies[-1].is_whole and replies[-1].body == data, replies[-1]
        return replies

    def hold(self, name, reference, image):
        """Pulls it, and waits until all of it is in blobs/ and the index."""
        self.pull(name, reference, image)
        for digest in [*image.blobs, image.digest]:
            self.wait_held(digest, 60)
        self.settle()

    def metrics(self):
        """{(name, ((label, value), …)): number} of the page, labels in its order."""
        return metrics_of(self.get("/metrics").body.decode())

    def metric(self, name, **labels):
        """The sum over all series of that name with those labels, of which there is one at least."""
        found = [n for (full, has), n in self.metrics().items()
                 if full == f"tranship_{name}" and labels.items() <= dict(has).items()]
        assert found, f"no {name} with {labels}"
        return sum(found)

    def wait_tag(self, name, tag, digest, seconds=20):
        """Until that tag is known to mean that digest."""
        path = f"/v2/{name}/manifests/{tag}"
        wait_until(lambda: self.head(path).header("docker-content-digest") == digest, seconds, f"{tag} as {digest}")

    def settled(self):
        """The metrics once all that was asked before is counted: a request ends a moment after its client has the answer."""
        return wait_until(lambda: (page := self.metrics())[("tranship_requests_under_way", ())] == 1 and page, what="quiet")

    def drain_log(self):
        """Waits until what was asked before has been logged: until it is over, then asks something and waits for its line."""
        self.settled()
        mark = self.get("/v2/").header("x-request-id")
        self.wait_log(lambda e: mark is not None and mark in e.values())

    # --- its disk ---------------------------------------------------------------------------------------------------
    def blob_path(self, digest):
        algorithm, _, encoded = digest.partition(":")
        return self.data / "blobs" / algorithm / encoded

    def holds(self, digest):
        return self.blob_path(digest).exists()

    def wait_held(self, digest, seconds=10):
        wait_until(lambda: self.holds(digest), seconds, f"{digest} in blobs/")

    def settle(self):
        """Until the ledger has done what was given to it before: the index has what came."""
        assert self.ask_local("/control/pin", "POST", body=b'{"images": []}').status == 200

    def wait_hit(self, path, seconds=10):
        """Until it is served as held: a moment after the file is there, when the index knows it too."""
        wait_until(lambda: self.head(path).header("cache-status") == "tranship; hit", seconds, f"a hit on {path}")

    def held(self):
        """The digests under blobs/."""
        return {f"{p.parent.name}:{p.name}" for p in self.data.glob("blobs/*/*")}

    def ingest(self):
        return sorted(p.name for p in self.data.glob("ingest/*"))


def reload(mirror, is_good=True):
    """Sends SIGHUP; the log's line of what came of it."""
    said = "the configuration was read again" if is_good else "the new configuration is refused"
    before = sum(e["message"].startswith(said) for e in mirror.log())
    mirror.process.send_signal(signal.SIGHUP)
    mirror.wait_log(lambda e: sum(x["message"].startswith(said) for x in mirror.log()) > before)
    return [e for e in mirror.log() if e["message"].startswith(said)][-1]


def held_by(mirror):
    """Its open descriptors, and its memory in KiB."""
    status = pathlib.Path(f"/proc/{mirror.process.pid}/status").read_text()
    return len(os.listdir(f"/proc/{mirror.process.pid}/fd")), int(status.split("VmRSS:")[1].split()[0])


def code_of(response):
    """The code of a registry error, the body checked for its form on the way."""
    assert response.header("content-type") == "application/json", response
    errors = json.loads(response.body)["errors"]
    assert errors and all(e["code"] and e["message"] for e in errors), response
    return errors[0]["code"]


def message_of(response):
    return json.loads(response.body)["errors"][0]["message"]
