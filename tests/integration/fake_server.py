# SPDX-License-Identifier: Apache-2.0
"""A small threaded HTTP/1.1 server that records each request and misbehaves on command. It knows no registry: a
handler turns a Request into a Reply, a Fault bends either. Waits end by an event or by stop(), never by sleeping."""

import dataclasses
import json
import re
import socket
import struct
import threading
import time
import urllib.parse
import zlib

PIECE = 256 * 1024


class Request:
    def __init__(self, server, method, target, headers, body):
        self.server, self.method, self.target, self.headers, self.body = server, method, target, headers, body
        split = urllib.parse.urlsplit(target)
        self.path = urllib.parse.unquote(split.path)
        self.query = urllib.parse.parse_qs(split.query, keep_blank_values=True)
        self.time = time.monotonic()
        self.status = None
        self.sent = 0  # body bytes handed to the kernel, or just being handed: who has received a byte finds it counted
        self.connection = 0

    def header(self, name):
        """All values of that header joined as one line would be, or None."""
        values = [v for k, v in self.headers if k == name.lower()]
        return ", ".join(values) if values else None

    def __repr__(self):
        return f"<{self.server} {self.method} {self.target} -> {self.status}, {self.sent} bytes>"


class Reply:
    def __init__(self, status=200, headers=None, body=b"", ranges=False):
        self.status, self.headers, self.body, self.ranges = status, dict(headers or {}), body, ranges


def problem(status, code, message, headers=None):
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Reply(status, {"Content-Type": "application/json", **(headers or {})}, body)


@dataclasses.dataclass(eq=False)
class Fault:
    """What goes wrong with requests whose "SERVER METHOD TARGET" matches the pattern: the first `after` of them are
    spared, then `count` are hit (None: all)."""

    pattern: str
    count: int = None
    after: int = 0
    # instead of the real answer
    status: int = None
    body: bytes = None
    raw: bytes = None        # these bytes on the wire, then close
    hangup: bool = False     # close without a word
    # the real answer, bent
    headers: dict = None     # set, or with None left out
    corrupt_at: int = None   # this byte of the content is another
    corrupt_sent: int = None # this byte of what is sent is another, wherever that is in the content
    corrupt_ranges: bool = False # every byte of a 206 is another
    extra: bytes = b""       # after the content, counted in Content-Length
    claim: int = None        # Content-Length as stated, whatever is sent
    chunked: bool = False    # no Content-Length
    endless: bool = False    # chunked, the content over and over
    gzip: bool = False
    no_range: bool = False   # 200 to a Range
    range_shift: int = 0     # 206 that begins elsewhere
    range_total: int = None  # 206 with another total
    close: bool = False      # Connection: close
    # on the wire
    stall_before: bool = False  # no head until release()
    stall_at: int = None        # no further body byte until release()
    cut_after: int = None       # close after so many body bytes
    reset: bool = False         # cut with RST instead of FIN
    rate: int = None            # bytes per second
    free: int = 0               # after so many at any speed
    delay: float = 0            # seconds before the head
    gate: threading.Event = dataclasses.field(default_factory=threading.Event)
    hits: int = 0

    def release(self):
        self.gate.set()


class Server:
    """handler(Request) -> Reply, on 127.0.0.1 and a port of the kernel's choice (or the given one)."""

    def __init__(self, name, handler, journal, port=0, tls=None):
        self.name, self.handler, self.journal, self.tls = name, handler, journal, tls
        self.listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.open = set()
        self.accepted = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def stop(self):
        """Refuses new connections and cuts the open ones: the upstream is gone."""
        self.stopping.set()
        shut(self.listener)
        self.thread.join()
        self.listener.close()
        for connection in list(self.open):
            shut(connection)

    def _accept(self):
        while not self.stopping.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.open.add(connection)
            threading.Thread(target=self._serve, args=(connection, self.accepted), daemon=True).start()

    def _serve(self, plain, number):
        connection = plain
        try:
            if self.tls:
                connection = self.tls.wrap_socket(plain, server_side=True)
                self.open.add(connection)
            stream = connection.makefile("rb")
            while self._one(connection, stream, number):
                pass
        except (OSError, ValueError):
            pass
        finally:
            self.open.discard(plain)
            self.open.discard(connection)
            shut(connection)
            connection.close()

    def _one(self, connection, stream, number):
        request = read_request(self.name, stream)
        if request is None:
            return False
        request.connection = number
        fault = self.journal.begin(request)
        if fault.stall_before:
            self._wait(fault)
        if fault.delay:
            self.stopping.wait(fault.delay)
        if fault.hangup:
            return False
        if fault.raw is not None:
            connection.sendall(fault.raw)
            return False
        if fault.status is not None:
            reply = problem(fault.status, "UNAVAILABLE", "as the test wishes")
            if fault.body is not None:
                reply = Reply(fault.status, {"Content-Type": "text/html"}, fault.body)
        else:
            reply = self.handler(request)
        reply = bend(request, reply, fault)
        request.status = reply.status
        keep = not fault.close and (request.header("connection") or "").lower() != "close"
        head, chunked = print_head(reply, fault, keep)
        connection.sendall(head)
        if request.method != "HEAD":
            keep = self._send_body(connection, request, reply.body, fault, chunked) and keep
        self.journal.news()
        return keep

    def _send_body(self, connection, request, body, fault, chunked):
        """False if the connection is of no further use."""
        began, at, end = time.monotonic(), 0, len(body)
        marks = sorted(m for m in (fault.stall_at, fault.cut_after) if m is not None)
        while fault.endless or at < end:
            if at == fault.stall_at and not self._wait(fault):
                return False
            if at == fault.cut_after:
                break
            size = PIECE if fault.rate is None else max(1, min(PIECE, fault.rate // 200))
            stop = min([at + size] + ([] if fault.endless else [end]) + [m for m in marks if m > at])
            piece = body[at % max(end, 1):][:stop - at] if fault.endless else body[at:stop]
            if fault.rate and self.stopping.wait(max(0, began + (at - fault.free) / fault.rate - time.monotonic())):
                return False
            at += len(piece)
            request.sent = at
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            self.journal.news()
        if fault.cut_after is not None and at >= fault.cut_after:
            if fault.reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if chunked:
            connection.sendall(b"0\r\n\r\n")
        return fault.claim is None

    def _wait(self, fault):
        """Until the fault is released (true) or the server stops (false)."""
        self.journal.news()
        while not fault.gate.wait(0.05):
            if self.stopping.is_set():
                return False
        return True


class Deaf:
    """A port at which connects hang: a listener whose queue is full drops further ones without a word."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.queued = [socket.socket() for _ in range(4)]
        for one in self.queued:
            one.setblocking(False)
            one.connect_ex(self.listener.getsockname())

    def stop(self):
        for one in (*self.queued, self.listener):
            one.close()


class Journal:
    """What was asked, and what is to go wrong: shared by the servers of one fake registry."""

    def __init__(self):
        self.condition = threading.Condition()
        self.requests = []
        self.faults = []

    def begin(self, request):
        name = f"{request.server} {request.method} {request.target}"
        with self.condition:
            self.requests.append(request)
            self.condition.notify_all()
            for fault in self.faults:
                if re.search(fault.pattern, name) and fault.count != 0:
                    if fault.after > 0:
                        fault.after -= 1
                        continue
                    fault.hits += 1
                    if fault.count is not None:
                        fault.count -= 1
                    return fault
        return Fault("")

    def news(self):
        with self.condition:
            self.condition.notify_all()

    def wait_for(self, claim, seconds=20):
        with self.condition:
            assert self.condition.wait_for(claim, seconds), f"did not come true; asked so far: {self.requests}"


class Pattern:
    """Content of any size that takes no memory: the same piece over and over. Sliced like bytes."""

    def __init__(self, size, piece):
        self.size, self.piece = size, piece

    def __len__(self):
        return self.size

    def __getitem__(self, where):
        start, stop, _ = where.indices(self.size)
        if stop - start > 16 * PIECE:
            return Slice(self, start, stop)
        skip = start % len(self.piece)
        return (self.piece * ((skip + stop - start) // len(self.piece) + 1))[skip:skip + stop - start]


class Slice:
    """A part of a Pattern, still not in memory."""

    def __init__(self, whole, start, stop):
        self.whole, self.start, self.stop = whole, start, stop

    def __len__(self):
        return self.stop - self.start

    def __getitem__(self, where):
        start, stop, _ = where.indices(len(self))
        return self.whole[self.start + start:self.start + stop]


def shut(connection):
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def read_request(server, stream):
    line = stream.readline(65536)
    if not line.strip():
        return None
    method, target, _ = line.decode("latin-1").split(" ", 2)
    headers = []
    while (line := stream.readline(65536)).strip():
        name, value = line.decode("latin-1").split(":", 1)
        headers.append((name.strip().lower(), value.strip()))
    length = int(dict(headers).get("content-length", 0))
    return Request(server, method, target, headers, stream.read(length) if length else b"")


def bend(request, reply, fault):
    """The reply as the fault wants it, the range taken out of it where one was asked."""
    body = reply.body
    if fault.corrupt_at is not None and len(body) > fault.corrupt_at:
        body = bytearray(body)
        body[fault.corrupt_at] ^= 0x55
        body = bytes(body)
    body = body + fault.extra if fault.extra else body
    headers = dict(reply.headers)
    status = reply.status
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.header("range") or "")
    if reply.ranges and status == 200:
        headers["Accept-Ranges"] = "bytes"
        if asked and not fault.no_range and request.method == "GET":
            total = len(body)
            first = int(asked[1])
            last = min(int(asked[2]) if asked[2] else total - 1, total - 1)
            if first > last:
                return Reply(416, {"Content-Range": f"bytes */{total}"})
            first += fault.range_shift
            told = fault.range_total if fault.range_total is not None else total
            headers["Content-Range"] = f"bytes {first}-{last}/{told}"
            body, status = body[first:last + 1], 206
    if fault.corrupt_ranges and status == 206:
        body = bytes(bytes(body).translate(bytes(b ^ 0x55 for b in range(256))))
    if fault.corrupt_sent is not None and status in (200, 206) and len(body) > fault.corrupt_sent:
        body = bytearray(body)
        body[fault.corrupt_sent] ^= 0x55
        body = bytes(body)
    if fault.no_range:
        headers.pop("Accept-Ranges", None)
    if fault.gzip:
        packer = zlib.compressobj(wbits=31)
        body = packer.compress(bytes(body)) + packer.flush()
        headers["Content-Encoding"] = "gzip"
    for name, value in (fault.headers or {}).items():
        headers = {k: v for k, v in headers.items() if k.lower() != name.lower()}
        if value is not None:
            headers[name] = value
    return Reply(status, headers, memoryview(body) if isinstance(body, bytes) else body)


def print_head(reply, fault, keep):
    chunked = fault.chunked or fault.endless
    lines = [f"HTTP/1.1 {reply.status} Whatever", "Server: fake"]
    lines += [f"{k}: {v}" for k, v in reply.headers.items()]
    if chunked:
        lines.append("Transfer-Encoding: chunked")
    elif reply.status not in (204, 304):
        lines.append(f"Content-Length: {len(reply.body) if fault.claim is None else fault.claim}")
    if not keep:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"), chunked
