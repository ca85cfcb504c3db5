# SPDX-License-Identifier: Apache-2.0
"""tranship pull: images come ahead of their use, beside a running server and without one."""

import contextlib
import json
import os
import pty
import re
import signal
import sqlite3
import subprocess

import bundles
import images
import pytest
from harness import SANITIZERS, binary, clean_environment, wait_until

KINDS = ("application/vnd.example.signature", "application/vnd.example.sbom")


class Pull:
    """One run of `tranship pull`, begun; the upstream is the fake registry, one transfer a blob so that bytes can be counted."""

    def __init__(self, data, upstream, *words, stderr=subprocess.PIPE, verb="pull", **options):
        settings = {"TRANSHIP_UPSTREAM": upstream, "TRANSHIP_CONNECTIONS_PER_SOURCE": "1", "TRANSHIP_TAG_TTL": "1h",
                    **{f"TRANSHIP_{key.upper()}": value for key, value in options.items()}}
        self.process = subprocess.Popen([str(word) for word in (binary(), verb, "--data", data, *words)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True,
                                        env=clean_environment(**settings))

    def end(self, status=0, seconds=60):
        self.out, self.err = self.process.communicate(timeout=seconds)
        assert not SANITIZERS.search(self.err or ""), self.err
        assert self.process.returncode == status, f"ended with {self.process.returncode}:\n{self.out}{self.err}"
        return self


@pytest.fixture(params=["beside a server", "without one"])
def pull(request, fake, start, tmp_path):
    """pull(*words) begins one; pull.data is the folder."""
    data = tmp_path / "data"
    if request.param == "beside a server":
        start(data=data, tag_ttl="1h")

    def begin(*words, **options):
        return Pull(data, fake.url, *words, **options)

    begin.data = data
    return begin


def held(data):
    return {f"{p.parent.name}:{p.name}" for p in data.glob("blobs/*/*")}


def amounts(run):
    """{image: (objects that came, bytes, objects held, bytes)} of a run with --json."""
    return {i["image"]: (i["came"]["objects"], i["came"]["bytes"], i["held"]["objects"], i["held"]["bytes"])
            for i in json.loads(run.out)["images"]}


def size(*found):
    return sum(len(data) for one in found for data in one.values())


@pytest.fixture
def multi(fake):
    """library/multi:1.0 for amd64 and arm64, a signature and an SBOM of it, a cosign tag, and a signature of the SBOM."""
    made = fake.add("library/multi", bundles.multi("pull"), "1.0")
    made.beside = [fake.add("library/multi", images.artifact(made, kind, f"a {kind}")) for kind in KINDS]
    made.beside.append(fake.add("library/multi", images.artifact(made.beside[1], KINDS[0], "of the SBOM")))
    made.sig = fake.add("library/multi", images.image([b"cosign"]), made.digest.replace(":", "-") + ".sig")
    return made


def test_an_image_comes_whole_for_the_platforms_asked_for(fake, pull, multi):
    run = pull("--json", "--no-referrers", "--platform", "linux/arm64", "multi:1.0").end()
    arm = multi.children[1]
    wanted = {multi.digest: multi.manifest} | bundles.all_of(arm)
    assert held(pull.data) == set(wanted)
    assert amounts(run) == {"docker.io/library/multi:1.0": (4, size(wanted), 0, 0)}
    assert json.loads(run.out)["images"][0]["digest"] == multi.digest
    assert not fake.asked("GET .*" + multi.children[0].digest)


def test_signatures_sboms_and_their_tags_come_along(pull, multi):
    pull("--platform", "all", "multi:1.0").end()
    wanted = bundles.all_of(multi) | bundles.all_of(multi.sig)
    for one in multi.beside:
        wanted |= bundles.all_of(one)
    assert held(pull.data) == set(wanted)


def test_a_second_pull_asks_for_no_content(fake, pull, multi):
    first = pull("--json", "--platform", "all", "multi:1.0").end()
    came = amounts(first)["docker.io/library/multi:1.0"]
    fake.forget()
    second = pull("--json", "--platform", "all", "multi:1.0").end()
    assert amounts(second)["docker.io/library/multi:1.0"] == (0, 0, came[0], came[1])
    assert not fake.asked("GET .*/blobs/") and not fake.asked("GET .*/manifests/sha256:")


def test_the_table_tells_what_came_and_what_was_there(fake, pull):
    base = images.random_bytes(100_000, "base")
    fake.add("library/one", images.image([base]), "1")
    fake.add("library/two", images.image([base, images.random_bytes(5_000, "top")]), "2")
    pull("--no-referrers", "one:1").end()
    rows = pull("--no-referrers", "one:1", "two:2").end().out.splitlines()
    assert rows[0].split() == ["IMAGE", "DIGEST", "CAME", "HELD", "TIME"]
    assert re.match(r"docker.io/library/one:1 +sha256:\w{12} +0, 0 B +3, 98\.\d KiB +\d+m?s$", rows[1]), rows[1]
    assert re.match(r"docker.io/library/two:2 +sha256:\w{12} +3, 5\.\d KiB +1, 97\.6 KiB +\d+m?s$", rows[2]), rows[2]


def test_of_three_images_one_fails_and_the_rest_comes_only_if_asked_to_go_on(fake, pull):
    made = [fake.add(f"library/i{n}", images.image([images.random_bytes(20_000, n)]), "1") for n in range(3)]
    fake.fault("GET /v2/library/i1/manifests", status=500)
    names = [f"i{n}:1" for n in range(3)]
    run = pull("--json", "--no-referrers", "--keep-going", *names).end(1)
    said = json.loads(run.out)["images"]
    assert [i["is_done"] for i in said] == [True, False, True]
    assert said[1]["error"] and said[0]["error"] is None
    assert f"tranship: {said[1]['error']}" in run.err.splitlines()
    assert held(pull.data) == set(bundles.all_of(made[0]) | bundles.all_of(made[2]))


def test_without_keep_going_the_first_failure_ends_it(fake, pull):
    fake.add("library/good", images.image([images.random_bytes(20_000, "good")]), "1")
    names = [f"missing{n}:1" for n in range(30)]
    run = pull("--json", "--no-referrers", *names, "good:1").end(1)
    said = json.loads(run.out)["images"]
    assert any(i["error"] for i in said) and not said[-1]["is_done"] and said[-1]["error"] is None
    assert not fake.asked("library/good")


def test_a_platform_that_there_is_not_is_refused_with_those_that_there_are(pull, multi):
    run = pull("--platform", "linux/s390x", "multi:1.0").end(1)
    assert "there is none for linux/s390x; it is for linux/amd64, linux/arm64" in run.err


def test_a_layer_that_cannot_be_had_fails_the_image_and_is_named(fake, pull, demo):
    fake.fault(f"GET .*{demo.layer}", status=404)
    run = pull("demo").end(1)
    assert f"docker.io/library/demo@{demo.layer}" in run.err
    assert re.search(r"demo:latest .* failed", run.out)


def test_signatures_that_cannot_be_looked_for_fail_the_image(fake, pull, demo):
    fake.fault(f"/referrers/{demo.digest}", status=500)
    assert f"what refers to docker.io/library/demo@{demo.digest}: " in pull("demo").end(1).err
    pull("--no-referrers", "demo").end()


def test_two_pulls_at_once_cost_one_transfer(fake, pull):
    big = fake.add("library/big", images.image([images.random_bytes(3_000_000, "big")]), "1")
    gate = fake.fault(f"GET .*{big.layer}", stall_at=1_000_000)
    runs = [pull("--no-referrers", "big:1") for _ in range(2)]
    fake.wait_asked(f"GET .*{big.layer}")
    gate.release()
    for run in runs:
        run.end()
    assert fake.sent(big.layer) == 3_000_000
    assert held(pull.data) == set(bundles.all_of(big))


def test_a_pull_and_a_client_share_one_transfer(fake, start, tmp_path):
    mirror = start(data=tmp_path / "data")
    big = fake.add("library/big", images.image([images.random_bytes(3_000_000, "shared")]), "1")
    gate = fake.fault(f"GET .*{big.layer}", stall_at=1_000_000)
    run = Pull(mirror.data, fake.url, "--no-referrers", "big:1")
    fake.wait_asked(f"GET .*{big.layer}")
    gate.release()
    assert mirror.blob("library/big", big.layer).body == big.blobs[big.layer]
    run.end()
    assert fake.sent(big.layer) == 3_000_000


def mapped(data):
    """The bytes that a later pull of what is on its way in would not fetch again."""
    total = 0
    for path in data.glob("ingest/*.map"):
        with contextlib.suppress(FileNotFoundError):  # it has just been published
            lines = [line.split() for line in path.read_text().splitlines()[1:]]
            total += sum(int(end) - int(first) for first, end in lines)
    return total


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_pull_goes_on_where_it_was(fake, tmp_path, how):
    data = tmp_path / "data"
    big = fake.add("library/big", images.image([images.random_bytes(12_000_000, "resume")]), "1")
    gate = fake.fault(f"GET .*{big.layer}", stall_at=9_000_000)
    run = Pull(data, fake.url, "--no-referrers", "big:1")
    fake.wait_sent(big.layer, 9_000_000)
    wait_until(lambda: mapped(data) >= 4 << 20, what="a map of 4 MiB")
    run.process.send_signal(how)
    run.end(1 if how != signal.SIGKILL else -9)
    if how != signal.SIGKILL:
        assert run.err.splitlines()[-1] == "tranship: interrupted; what came is kept, and goes on next time"
        assert not (data / "tranship.sock").exists()
    gate.release()
    fake.heal()
    fake.forget()
    Pull(data, fake.url, "--no-referrers", "big:1").end()
    assert held(data) == set(bundles.all_of(big))
    assert 0 < fake.sent(big.layer) <= 12_000_000 - (4 << 20)


def test_pinned_images_are_pinned(pull, multi):
    pull("--pin", "--no-referrers", "multi:1.0").end()
    with contextlib.closing(sqlite3.connect(pull.data / "tranship.db")) as db:
        assert db.execute("SELECT reference FROM pin").fetchall() == [("1.0",)]


def test_when_the_server_ends_meanwhile_the_command_goes_on_by_itself(fake, start, tmp_path):
    mirror = start(data=tmp_path / "data", drain_timeout="0s")
    big = fake.add("library/big", images.image([images.random_bytes(3_000_000, "ends")]), "1")
    gate = fake.fault(f"GET .*{big.layer}", stall_at=1_000_000)
    run = Pull(mirror.data, fake.url, "--no-referrers", "big:1")
    fake.wait_sent(big.layer, 1_000_000)
    mirror.stop()
    gate.release()
    fake.heal()
    run.end()
    assert held(mirror.data) == set(bundles.all_of(big))


def test_what_there_is_no_room_for_is_not_brought(fake, tmp_path):
    fake.add("library/big", images.image([images.random_bytes(12_000_000, "room")]), "1")
    small = fake.add("library/small", images.image([b"small"]), "1")
    run = Pull(tmp_path / "data", fake.url, "--no-referrers", "--keep-going", "big:1", "small:1", budget="6MB", keep_free="0").end(1)
    assert "there is no room to keep it" in run.err
    assert set(bundles.all_of(small)) <= held(tmp_path / "data")


def test_offline_nothing_is_dialled(fake, tmp_path, demo):
    run = Pull(tmp_path / "data", fake.url, "demo", mode="offline").end(1)
    assert "offline" in run.err
    assert not fake.asked()


def test_a_registry_that_is_not_configured_is_refused(pull):
    assert "registry.example:5000" in pull("registry.example:5000/a/b:1").end(1).err


def test_a_name_that_is_none_is_the_command_lines_mistake(pull):
    assert "Nope" in pull("Nope:1").end(2).err
    assert pull().end(2).err == "tranship: pull takes at least one IMAGE, or --from FILE\n"


def read_terminal(fd):
    said = b""
    while True:
        try:
            got = os.read(fd, 65536)
        except OSError:  # the other side is gone
            return said.decode()
        if not got:
            return said.decode()
        said += got


def test_a_terminal_shows_a_bar_for_each_layer(fake, pull):
    big = fake.add("library/big", images.image([images.random_bytes(3_000_000, "bar")]), "1")
    gate = fake.fault(f"GET .*{big.layer}", stall_at=1_500_000)
    screen, side = pty.openpty()
    run = pull("--no-referrers", "big:1", stderr=side)
    os.close(side)
    said = b""
    while b"1.4 MiB of 2.8 MiB" not in said:
        said += os.read(screen, 65536)
    gate.release()
    said = said.decode() + read_terminal(screen)
    run.end()
    hex12 = big.layer.split(":")[1][:12]
    assert re.search(r"library/big:1\s+" + hex12 + r" \[=+>? *\] 1\.4 MiB of 2\.8 MiB", said), said
    assert re.search(r"0 of 1 images, 1 of 2 blobs: ", said)
    assert said.splitlines()[-1].endswith("held before") and "\x1b[J" in said


# --- export brings what it writes ------------------------------------------------------------------------------------

@pytest.fixture
def export(pull, tmp_path):
    def begin(*words, **options):
        return pull("-o", tmp_path / "b.tar", *words, verb="export", **options)
    begin.bundle = tmp_path / "b.tar"
    return begin


def test_export_pulls_what_it_is_to_write(export, multi):
    export("multi:1.0").end()
    wanted = bundles.all_of(multi) | bundles.all_of(multi.sig)
    for one in multi.beside:
        wanted |= bundles.all_of(one)
    assert bundles.blobs_in(export.bundle) == set(wanted)


def test_export_of_a_tag_that_moved_writes_what_it_means_now(fake, pull, export):
    fake.add("library/demo", images.image([b"old"]), "1")
    pull("demo:1", tag_ttl="0s").end()
    new = fake.add("library/demo", images.image([b"new"]), "1")
    if not (pull.data / "tranship.sock").exists():  # the server's tags are fresh for an hour
        export("--no-referrers", "demo:1", tag_ttl="0s").end()
        assert bundles.blobs_in(export.bundle) == set(bundles.all_of(new))


def test_export_without_pulling_asks_nobody(fake, pull, export, multi):
    pull("--platform", "linux/amd64", "--no-referrers", "multi:1.0").end()
    fake.forget()
    export("--no-pull", "multi:1.0").end()
    assert bundles.blobs_in(export.bundle) == {multi.digest, *bundles.all_of(multi.children[0])}
    assert "not held" in export("--no-pull", "other").end(1).err
    assert not fake.asked()


def test_export_leaves_out_what_cannot_be_had_only_if_asked_to_go_on(fake, export, demo):
    assert "nothing is written" in export("demo", "missing:1").end(1).err
    assert not export.bundle.exists()
    export("--keep-going", "demo", "missing:1").end(1)
    assert bundles.blobs_in(export.bundle) == set(bundles.all_of(demo))
