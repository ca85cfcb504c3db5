# SPDX-License-Identifier: Apache-2.0
"""An HTTP/1.1 client that hides nothing: bytes out as given, bytes in as they came, a cut body told from a whole one."""

import os
import pathlib
import socket

WHOLE, CUT = "whole", "cut"


class Response:
    def __init__(self, status, reason, headers):
        self.status, self.reason, self.headers = status, reason, headers
        self.body = b""
        self.ending = None  # WHOLE or CUT once read

    def header(self, name):
        values = self.all(name)
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None

    def all(self, name):
        return [v for k, v in self.headers if k.lower() == name.lower()]

    @property
    def length(self):
        text = self.header("content-length")
        return None if text is None else int(text)

    @property
    def is_whole(self):
        return self.ending == WHOLE

    def __repr__(self):
        return f"<{self.status} {self.headers} {len(self.body)} bytes, {self.ending}: {self.body[:200]!r}>"


def connect_local(path, timeout):
    """Through its folder's descriptor, for an address holds 107 bytes."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    try:
        connection.connect(f"/proc/self/fd/{folder}/{path.name}")
    except OSError:
        connection.close()
        raise
    finally:
        os.close(folder)
    return connection


class Wire:
    """One connection, to a port of this machine or a socket's path. send() any bytes; head() then read() or rest() for
    each answer. context: TLS with it; source: the address that it comes from."""

    def __init__(self, port, timeout=30, receive_buffer=None, context=None, source=None):
        self.port = port
        self.buffer = b""
        if isinstance(port, pathlib.Path):
            self.socket = connect_local(port, timeout)
            return
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        if source:
            self.socket.bind((source, 0))
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context:
            self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def ask(self, path, method="GET", headers=(), body=b""):
        """A dictionary with a Host brings its own; pairs are sent as they are, beside ours."""
        own = {"Host": "localhost" if isinstance(self.port, pathlib.Path) else f"127.0.0.1:{self.port}"}
        pairs = {**own, **headers}.items() if isinstance(headers, dict) else [*own.items(), *headers]
        lines = [f"{method} {path} HTTP/1.1"] + [f"{k}: {v}" for k, v in pairs]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)

    def _more(self, size=65536):
        try:
            data = self.socket.recv(size)
        except ConnectionResetError:
            data = b""
        self.buffer += data
        return bool(data)

    def head(self):
        """The next answer's head, or None if the server closed instead."""
        while b"\r\n\r\n" not in self.buffer:
            if not self._more():
                return None
        raw, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        first, *lines = raw.decode("latin-1").split("\r\n")
        version, status, reason = (first.split(" ", 2) + [""])[:3]
        assert version == "HTTP/1.1", raw
        pairs = [line.split(":", 1) for line in lines]
        return Response(int(status), reason, [(k.strip(), v.strip()) for k, v in pairs])

    def read(self, count):
        """So many body bytes, fewer if the server closed."""
        while len(self.buffer) < count and self._more(max(65536, min(count, 1 << 20))):
            pass
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def drain(self, count, expected=None, at=0):
        """Takes so many body bytes without keeping them; with expected, each is compared. Returns how many came right."""
        done = 0
        space = bytearray(1 << 18)
        view = memoryview(space)
        while done < count:
            if self.buffer:
                size = min(len(self.buffer), count - done, len(space))
                view[:size], self.buffer = self.buffer[:size], self.buffer[size:]
            else:
                try:
                    size = self.socket.recv_into(view[:min(len(space), count - done)])
                except ConnectionResetError:
                    size = 0
            if size == 0:
                break
            if expected is not None:
                assert view[:size] == expected[at + done:at + done + size], f"wrong bytes near {at + done}"
            done += size
        return done

    def rest(self, response, method="GET"):
        """Fills in the body and how it ended."""
        if method == "HEAD" or response.status in (204, 304):
            response.ending = WHOLE
        elif "chunked" in (response.header("transfer-encoding") or ""):
            self._chunks(response)
        elif response.length is not None:
            response.body = self.read(response.length)
            response.ending = WHOLE if len(response.body) == response.length else CUT
        else:
            while self._more():
                pass
            response.body, self.buffer, response.ending = self.buffer, b"", WHOLE
        return response

    def _chunks(self, response):
        response.ending = CUT
        while True:
            while b"\r\n" not in self.buffer:
                if not self._more():
                    return
            size, self.buffer = self.buffer.split(b"\r\n", 1)
            data = self.read(int(size, 16) + 2)
            if len(data) < int(size, 16) + 2:
                return
            response.body += data[:-2]
            if int(size, 16) == 0:
                response.ending = WHOLE
                return

    def exchange(self, path, method="GET", headers=(), body=b""):
        """Asks and takes the whole answer; None if the server closed without one."""
        self.ask(path, method, headers, body)
        response = self.head()
        return response and self.rest(response, method)

    def is_closed(self):
        """Waits for the server to close; false if it says something instead."""
        return not self.buffer and not self._more()


def fetch(port, path, method="GET", headers=(), body=b"", timeout=30):
    """One request on its own connection."""
    with Wire(port, timeout) as wire:
        return wire.exchange(path, method, headers, body)
