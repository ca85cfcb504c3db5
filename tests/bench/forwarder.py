# SPDX-License-Identifier: Apache-2.0
"""A line to an origin: forwards TCP connections, and is as slow, as far away and as narrow a connection as is wished.
Counts what went through. Bytes are moved by splice, so that it costs little beside what is measured."""

import os
import socket
import threading
import time

PIECE = 256 << 10
TIMEOUT = 120


class Bucket:
    """Bytes a second. take(n) says how long to wait after these bytes: never more than rate * seconds + burst go."""

    def __init__(self, rate, burst=64 << 10, clock=time.monotonic):
        self.rate, self.burst, self.clock = rate, burst, clock
        self.lock = threading.Lock()
        self.due = clock()
        self.taken = 0

    def take(self, count):
        with self.lock:
            self.taken += count
            now = self.clock()
            self.due = max(self.due, now - self.burst / self.rate) + count / self.rate
            return max(0.0, self.due - now)

    @property
    def piece(self):
        return max(1 << 10, min(PIECE, int(self.rate / 100)))


class Line:
    """One forwarded connection."""

    def __init__(self, forwarder, client, server):
        self.forwarder, self.client, self.server = forwarder, client, server
        self.sent = 0      # bytes to the client
        self.requests = []  # first lines, in order
        self.bucket = forwarder.per_connection and Bucket(forwarder.per_connection)

    def run(self):
        up = threading.Thread(target=self._guard, args=(self._up,), daemon=True)
        up.start()
        self._guard(self._down)
        up.join()
        self.client.close()
        self.server.close()

    def _guard(self, way):
        try:
            way()
        except OSError:
            pass
        finally:
            self.cut()

    def cut(self):
        for one in (self.client, self.server):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _up(self):
        """Requests; each is held for the way there and back, and the first for the handshake too."""
        rest, wait = b"", 2 * self.forwarder.delay
        while data := self.client.recv(65536):
            *heads, rest = (rest + data).split(b"\r\n\r\n")
            self.requests += [head.decode("latin-1").split("\r\n")[0] for head in heads]
            if wait and self.forwarder.stopping.wait(wait):
                return
            wait = self.forwarder.delay
            self.server.sendall(data)

    def _down(self):
        limits = [b for b in (self.bucket, self.forwarder.in_all) if b]
        piece = min([PIECE, *(b.piece for b in limits)])
        out_of, into = os.pipe()
        try:
            while count := os.splice(self.server.fileno(), into, piece):
                wait = max([0.0, *(b.take(count) for b in limits)])
                left = count
                while left:
                    left -= os.splice(out_of, self.client.fileno(), left)
                self.sent += count
                if wait and self.forwarder.stopping.wait(wait):
                    return
        finally:
            os.close(out_of)
            os.close(into)


class Forwarder:
    """delay: seconds there and back. per_connection, in_all: bytes a second."""

    def __init__(self, port, delay=0.0, per_connection=None, in_all=None):
        self.to, self.delay, self.per_connection = port, delay, per_connection
        self.in_all = in_all and Bucket(in_all)
        self.lines = []
        self.stopping = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _accept(self):
        while not self.stopping.is_set():
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.to), TIMEOUT)
            except OSError:
                client.close()
                continue
            for one in (client, server):
                one.settimeout(None)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line = Line(self, client, server)
            self.lines.append(line)
            self.threads.append(threading.Thread(target=line.run, daemon=True))
            self.threads[-1].start()

    def stop(self):
        self.stopping.set()
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.threads[0].join(10)
        self.listener.close()
        for line in self.lines:
            line.cut()
        for thread in self.threads[1:]:
            thread.join(10)

    @property
    def sent(self):
        """Bytes to clients so far, heads included."""
        return sum(line.sent for line in self.lines)

    @property
    def requests(self):
        return [request for line in self.lines for request in line.requests]

    def forget(self):
        """Counts from zero; open connections stay."""
        self.lines = [line for line in self.lines if line.client.fileno() >= 0]
        for line in self.lines:
            line.sent, line.requests = 0, []
