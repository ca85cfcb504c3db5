# SPDX-License-Identifier: Apache-2.0
"""The servers: an origin, Tranship, and what people would use instead. Each is a process group of its own, ends with it,
and ends too if the bench is killed."""

import contextlib
import ctypes
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

import account
import images
from harness import binary, clean_environment

NAME = "library/demo"
PATIENCE = 30
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1

NGINX = """{user} worker_processes {workers}; worker_rlimit_nofile 20000; daemon off; pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 16000; }}
http {{
  access_log off; sendfile on; tcp_nopush off; keepalive_requests 1000000000; keepalive_timeout 600s; default_type
  application/octet-stream; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; log_format count "$request_method $uri $status $body_bytes_sent";
  {more}
}}
"""
FILES = "server {{ listen 127.0.0.1:{port} backlog=1024{tls}; root {www}; }}"
ORIGIN = """server {{ listen 127.0.0.1:{port} backlog=1024; root {www}; access_log {folder}/access.log count;
    location = /v2/ {{ default_type application/json; return 200 "{{}}"; }}
    location = /v2/library/demo/manifests/latest {{ default_type {type}; add_header Docker-Content-Digest {digest}; }}
    location ~ "/manifests/(tag-|sha256:)(?<hex>[0-9a-f]+)$" {{ default_type {type}; add_header Docker-Content-Digest sha256:$hex; }}
    location ~ "/blobs/(?<digest>sha256:[0-9a-f]+)$" {{ add_header Docker-Content-Digest $digest; }} }}"""
CACHE = """proxy_cache_path {folder}/cache keys_zone=one:10m max_size=20g use_temp_path=off;
  upstream origin {{ server 127.0.0.1:{to}; keepalive 64; }}
  server {{ listen 127.0.0.1:{port} backlog=1024; proxy_cache one; proxy_cache_valid 200 1h; proxy_cache_lock on;
    proxy_cache_lock_timeout 120s; proxy_cache_lock_age 120s; proxy_http_version 1.1; proxy_set_header Connection "";
    location / {{ proxy_pass http://origin; }} }}"""


def find(name):
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Program:
    """A server on self.port, in a process group of its own."""

    def __init__(self, command, folder, port, environment=None):
        self.port, self.folder = port, pathlib.Path(folder)
        self.url = f"http://127.0.0.1:{port}"
        self.command = [str(word) for word in command]
        self.began = time.perf_counter()
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=clean_environment(**(environment or {})), start_new_session=True,
                                            preexec_fn=die_with_parent)
        try:
            self._wait_port()
        except BaseException:
            self.stop()
            raise

    def _wait_port(self):
        """Until it takes a connection, which is no event for anybody else: looks again every millisecond."""
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
                return
            except OSError:
                if self.process.poll() is not None or time.perf_counter() - self.began > PATIENCE:
                    log = (self.folder / "log").read_text(errors="replace")[-600:]
                    raise SystemExit(f"{self.command[0]} does not serve:\n{log}") from None
                time.sleep(0.001)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """SIGTERM to the first, SIGKILL to whoever of the group is left."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(10)

    def cpu(self):
        return account.cpu_seconds(self.process.pid)

    def memory_mib(self, what="RssAnon"):
        return account.memory_kib(self.process.pid, what) / 1024


class Nginx(Program):
    def __init__(self, folder, more, **words):
        folder.mkdir()
        port = free_port()
        conf = folder / "nginx.conf"
        more = more.format(port=port, folder=folder, **words)
        user = "user root;" if os.geteuid() == 0 else ""  # else its workers could not read our folder
        conf.write_text(NGINX.format(user=user, workers=os.cpu_count(), folder=folder, more=more))
        super().__init__([find("nginx"), "-c", conf, "-p", folder], folder, port)


class Origin(Nginx):
    """A registry of files: what Tranship and the others fetch from. Counts by its access log."""

    def __init__(self, folder, content):
        self.content = content
        super().__init__(folder, ORIGIN, www=content.www, type=images.OCI_MANIFEST, digest=content.image.digest)

    def asked(self, digest):
        """(requests, body bytes sent) for what has this digest in its path."""
        lines = [line.split() for line in (self.folder / "access.log").read_text().splitlines() if digest in line]
        return len(lines), sum(int(line[3]) for line in lines)


def files(folder, content, tls=None):
    """nginx serving the same bytes as files."""
    words = f" ssl; ssl_certificate {tls[0]}; ssl_certificate_key {tls[1]}" if tls else ""
    return Nginx(folder, FILES, www=content.www, tls=words)


def proxy_cache(folder, to):
    """nginx proxy_cache before the origin."""
    return Nginx(folder, CACHE, to=to)


class PullThrough(Program):
    """docker-registry as a pull-through proxy of the origin."""

    def __init__(self, folder, to):
        folder.mkdir()
        port = free_port()
        config = {"version": "0.1", "log": {"level": "error", "accesslog": {"disabled": True}},
                  "http": {"addr": f"127.0.0.1:{port}"}, "proxy": {"remoteurl": f"http://127.0.0.1:{to}"},
                  "storage": {"filesystem": {"rootdirectory": str(folder / "data")}}}
        (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
        super().__init__([find("docker-registry"), "serve", folder / "config.yml"], folder, port,
                         {"OTEL_TRACES_EXPORTER": "none"})


class Tranship(Program):
    """Tranship with a data folder below; options as on the command line, mirrors of docker.io asked first."""

    def __init__(self, folder, upstream, mirrors=(), tls=None, **options):
        folder.mkdir(exist_ok=True)
        port = free_port()
        words = {"listen": f"127.0.0.1:{port}", "data": folder / "data", "upstream": upstream, "log-level": "warning",
                 "tag-ttl": "1h", **{name.replace("_", "-"): value for name, value in options.items()}}
        if tls:
            words |= {"tls-certificate": tls[0], "tls-key": tls[1]}
        command = [binary(), "serve", *(word for name, value in words.items() for word in (f"--{name}", value))]
        command += [word for mirror in mirrors for word in ("--mirror", mirror)]
        super().__init__(command, folder, port)


def has_option(name):
    return name in subprocess.run([binary(), "serve", "--help"], capture_output=True, text=True, timeout=10, check=True).stdout


class Content:
    """What is served: an image whose layers have the sizes asked for, as files in the layout of a registry's paths."""

    def __init__(self, folder, sizes):
        self.www = folder / "www"
        self.blobs = self.www / "v2" / NAME / "blobs"
        self.manifests = self.www / "v2" / NAME / "manifests"
        self.blobs.mkdir(parents=True)
        self.manifests.mkdir()
        layers = [images.random_bytes(size, "bench") for size in sizes]
        self.image = images.image(layers)
        self.digest = {size: images.digest_of(layer) for size, layer in zip(sizes, layers)}
        self.path = {size: f"/v2/{NAME}/blobs/{digest}" for size, digest in self.digest.items()}
        self.by_digest, self.by_tag = f"/v2/{NAME}/manifests/{self.image.digest}", f"/v2/{NAME}/manifests/latest"
        for digest, data in self.image.blobs.items():
            (self.blobs / digest).write_bytes(data)
        for name in ("latest", self.image.digest):
            (self.manifests / name).write_bytes(self.image.manifest)
        self.made = 0

    def fresh(self, size):
        """A blob that nobody has asked for yet: (digest, path)."""
        self.made += 1
        data = self.made.to_bytes(8, "big") + images.random_bytes(size, "fresh")[8:]
        digest = images.digest_of(data)
        (self.blobs / digest).write_bytes(data)
        return digest, f"/v2/{NAME}/blobs/{digest}"

    @contextlib.contextmanager
    def fresh_image(self, sizes):
        """One that nobody has asked for yet, while it lasts: (image, tag). The tag says its digest, so that a server of
        files can tell it."""
        self.made += 1
        with self.serving(images.image([self.made.to_bytes(8, "big") + images.random_bytes(size, "fresh")[8:]
                                        for size in sizes])) as found:
            yield found

    @contextlib.contextmanager
    def serving(self, image):
        """(image, tag)"""
        tag = image.digest.replace("sha256:", "tag-")
        files = {self.manifests / tag: image.manifest, self.manifests / image.digest: image.manifest,
                 **{self.blobs / digest: data for digest, data in image.blobs.items()}}
        for path, data in files.items():
            path.write_bytes(data)
        yield image, tag
        for path in files:
            path.unlink()

    def drop(self, digest):
        (self.blobs / digest).unlink()
