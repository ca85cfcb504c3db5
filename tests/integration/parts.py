# SPDX-License-Identifier: Apache-2.0
"""The real parts that stand before and behind a mirror: docker-registry, dockerd, containerd's ctr, podman, skopeo.
Each is started on loopback with folders of its own and ended by its process id. Paths are short: a unix socket's
name is limited to 107 bytes, podman's runroot to 50."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile

import images
import pytest
import wire
from harness import clean_environment, wait_until

BINARIES = {"docker": ["/usr/bin/docker", "docker"], "dockerd": ["/usr/sbin/dockerd", "dockerd"],
            "busybox": ["/bin/busybox", "busybox"]}


def find(name):
    """The path of a program, or None."""
    return next((found for c in BINARIES.get(name, [name]) if (found := shutil.which(c))), None)


def run(command, seconds=120, **environment):
    """Runs to its end; the output if it went well, else a failure that shows all it said."""
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=seconds, env=clean_environment(**environment), check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def needs(*programs):
    """A story's real parts."""
    missing = [name for name in programs if not find(name)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


class Scene:
    """What a story with real clients has in common: a mirror, and what stands behind it. The fixtures `scene` and
    `dockerd` make the Scene of the story's own file, with a short folder, once for all of its tests."""

    mirror = None

    def behind(self):
        """Whom to stop."""
        return []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.mirror.port}"

    def end(self):
        for one in self.behind():
            one.stop()
        if self.mirror:
            try:
                self.mirror.stop()
            finally:
                self.mirror.kill()


class ShortFolder:
    """A temporary folder with a name of a dozen letters."""

    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


class Part:
    """One process with its log in a file."""

    def __init__(self, command, log, **environment):
        self.log_path = pathlib.Path(log)
        self.command = [str(word) for word in command]
        with open(log, "ab") as out:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                            env=clean_environment(**environment))

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_log(self, pattern, seconds=20):
        def look():
            assert self.process.poll() is None, f"{self.command} ended:\n{self.log}"
            return re.search(pattern, self.log)
        return wait_until(look, seconds, f"{pattern} in the log of {self.command[0]}")

    def stop(self, seconds=20):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Registry(Part):
    """docker-registry on a folder; with remote, as a pull-through cache of that URL."""

    def __init__(self, folder, remote=None, port=0):
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = {"version": "0.1", "log": {"level": "info"}, "http": {"addr": f"127.0.0.1:{port}"},
                  "storage": {"filesystem": {"rootdirectory": str(folder / "data")}}}
        if remote:
            config["proxy"] = {"remoteurl": remote}
        (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
        log = folder / f"log{len(list(folder.glob('log*')))}"
        super().__init__([find("docker-registry"), "serve", folder / "config.yml"], log, OTEL_TRACES_EXPORTER="none")
        self.port = int(self.wait_log(r"listening on 127\.0\.0\.1:(\d+)")[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def push(self, name, image, *tags):
        """Through its push API: blobs, then children, then the manifest under each tag (or its digest)."""
        for digest, data in image.blobs.items():
            reply = wire.fetch(self.port, f"/v2/{name}/blobs/uploads/", "POST")
            assert reply.status == 202, reply
            location = reply.header("location").replace(self.url, "")
            reply = wire.fetch(self.port, f"{location}&digest={digest}", "PUT", body=data,
                               headers={"Content-Type": "application/octet-stream"})
            assert reply.status == 201, reply
        for child in image.children:
            self.push(name, child)
        for reference in tags or [image.digest]:
            reply = wire.fetch(self.port, f"/v2/{name}/manifests/{reference}", "PUT", body=image.manifest,
                               headers={"Content-Type": image.media_type})
            assert reply.status == 201 and reply.header("docker-content-digest") == image.digest, reply
        return image

    def count(self, pattern):
        """Requests it logged that match."""
        return len(re.findall(pattern, self.log))


class Cell(Part):
    """A network of its own that has a loopback interface and no other: what runs `inside` reaches nobody outside."""

    def __init__(self, folder):
        super().__init__([find("unshare"), "--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep infinity"], folder / "cell.log")
        self.wait_log("ready")
        self.inside = [find("nsenter"), f"--net=/proc/{self.process.pid}/ns/net", "--"]


class Dockerd(Part):
    """dockerd (and the containerd that it starts) with one registry mirror, in a cell if it is given one's `inside`."""

    def __init__(self, folder, mirror, inside=()):
        folder = pathlib.Path(folder)
        self.folder = folder
        self.host = f"unix://{folder}/s"
        self.containerd = folder / "x/containerd/containerd.sock"
        config = {"storage-driver": "overlay2", "iptables": False, "ip6tables": False, "bridge": "none",
                  "data-root": f"{folder}/r", "exec-root": f"{folder}/x", "pidfile": f"{folder}/p",
                  "hosts": [self.host], "registry-mirrors": [mirror]}
        (folder / "d.json").write_text(json.dumps(config))
        super().__init__([*inside, find("dockerd"), "--config-file", folder / "d.json"], folder / "log")
        self.wait_log("API listen on", 60)

    def docker(self, *words, seconds=120, **environment):
        return run([find("docker"), "-H", self.host, *words], seconds, HOME=str(self.folder), **environment)


class Podman:
    """podman whose docker.io is looked up at the mirror alone first, as CRI-O would with the same registries.conf."""

    def __init__(self, folder, port, inside=()):
        self.inside = inside
        self.folder = pathlib.Path(folder)
        self.conf = self.folder / "registries.conf"
        self.conf.write_text(
            'unqualified-search-registries = ["docker.io"]\n'
            '[[registry]]\nprefix = "docker.io"\nlocation = "127.0.0.1:1"\ninsecure = true\n'
            f'[[registry.mirror]]\nlocation = "127.0.0.1:{port}"\ninsecure = true\n')
        self.policy = self.folder / "policy.json"
        self.policy.write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
        (self.folder / "auth").write_text("{}")

    def __call__(self, verb, *words):
        options = ["--root", self.folder / "r", "--runroot", self.folder / "o", "--storage-driver", "vfs",
                   "--cgroup-manager", "cgroupfs", "--events-backend", "none"]
        policy = ["--signature-policy", self.policy] if verb == "pull" else []
        return run([*self.inside, find("podman"), *options, verb, *policy, *words], HOME=str(self.folder),
                   CONTAINERS_REGISTRIES_CONF=str(self.conf), REGISTRY_AUTH_FILE=str(self.folder / "auth"))


def skopeo(*words):
    return run([find("skopeo"), "--insecure-policy", *words])


def ctr_pull(dockerd, folder, mirror, name, namespace="tests"):
    """ctr images pull with a hosts folder that knows only the mirror for docker.io (and for what server= says)."""
    hosts = pathlib.Path(folder) / "docker.io"
    hosts.mkdir(parents=True, exist_ok=True)
    (hosts / "hosts.toml").write_text(
        f'server = "http://127.0.0.1:1"\n[host."{mirror}"]\n  capabilities = ["pull", "resolve"]\n')
    ctr = [find("ctr"), "-a", dockerd.containerd, "-n", namespace]
    run([*ctr, "images", "pull", "--snapshotter", "native", "--hosts-dir", folder, name])
    return ctr


def remove_mounts(folder):
    """Unmounts what a container engine left below the folder."""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        left = [line.split()[1] for line in mounts if line.split()[1].startswith(f"{folder}/")]
    for path in sorted(left, reverse=True):
        subprocess.run(["umount", "-l", path], check=False, capture_output=True)


def busybox_image(greeting, architecture="amd64", docker=True, padding=0, below=None):
    """A static busybox and one file that says the greeting; padding bytes make the layer large, `below` is another."""
    files = {"bin/busybox": pathlib.Path(find("busybox")).read_bytes(), "greeting": greeting.encode()}
    if padding:
        files["padding"] = images.random_bytes(padding, greeting)
    return images.runnable(files, docker=docker, architecture=architecture, below=below)


def machine():
    """This machine's architecture in the words of an image index."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
