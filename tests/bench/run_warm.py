# SPDX-License-Identifier: Apache-2.0
"""What is held already: manifests, blobs of all sizes, ranges; and the same over TLS."""

import client
import started
from certificates import Authority
from trial import GB, Row, in_words, warm_up

SMALL = (">=", 1.2)
SPAN = 64 << 10


def small(trial):
    """Manifests by digest and by tag, the smallest blob."""
    content, scale = trial.content, trial.scale
    names = {"manifest": content.by_digest, "tag": content.by_tag, "blob": content.path[scale.sizes[0]]}
    words = {"manifest": "manifest by digest", "tag": "manifest by tag", "blob": f"blob {in_words(scale.sizes[0])}"}
    for name, path in names.items():
        for connections in scale.connections:
            programs = {"Tranship": trial.main(), "nginx": trial.files}
            if connections == 64:
                programs |= trial.peers()
            rounds = scale.rounds + (2 if connections == 64 and scale.rounds > 1 else 0)
            samples = trial.take_turns(programs, lambda p: client.load(p.port, path, connections, scale.seconds), rounds)
            ours, theirs = samples["Tranship"], samples["nginx"]
            trial.compare(f"{words[name]}, {connections} connections", samples, "k/s", SMALL if connections == 64 else None)
            if connections == 64 and (p99 := client.median(ours, "p99")):
                trial.say(Row(f"{words[name]}, {connections} connections: p99, of 10 ms", f"{p99:.1f} ms",
                              f"nginx {client.median(theirs, 'p99'):.1f} ms", p99 / 10, "", ("<=", 1.0)))


def large(trial):
    scale = trial.scale
    for size in scale.sizes[1:]:
        for connections in scale.connections:
            programs = {"Tranship": trial.main(), "nginx": trial.files}
            if size == scale.sizes[2] and connections == 8:
                programs |= trial.peers()
            samples = trial.take_turns(programs,
                                       lambda p: client.drain(p.port, trial.content.path[size], connections, scale.seconds))
            trial.compare(f"blob {in_words(size)}, {connections} connections", samples, "GB/s",
                          (">=", 0.95 if connections == 1 else 1.3))
    trial.say(Row("memory after all of these: anonymous", f"{trial.main().memory_mib():.1f} MiB"))


def ranges(trial):
    size, scale = trial.scale.sizes[-1], trial.scale
    programs = {"Tranship": trial.main(), "nginx": trial.files, **trial.peers()}
    samples = trial.take_turns(programs,
                               lambda p: client.load(p.port, trial.content.path[size], 16, scale.seconds, (SPAN, size)))
    trial.compare(f"64 KiB at random out of {in_words(size)}, 16 connections", samples, "k/s", (">=", 1.0))


def tls(trial):
    """Both with the same certificate. The client is wrk here, which decrypts: of large blobs it shows itself too."""
    if not started.has_option("tls-certificate") or trial.scale.seconds < 1:
        return
    pair = Authority(trial.folder).sign("server", "subjectAltName=IP:127.0.0.1\n")
    content, scale = trial.content, trial.scale
    with trial.tranship(trial.origin.url) as plain:
        for size in scale.sizes[:2]:
            warm_up(plain, content.path[size], hit=True)
    with (started.Tranship(plain.folder, trial.origin.url, tls=pair) as ours,
          started.files(trial.new_folder("tls"), content, pair) as theirs):
        for size, connections in ((scale.sizes[0], 64), (scale.sizes[1], 8)):
            def run(program):
                sample = client.wrk(f"https://127.0.0.1:{program.port}{content.path[size]}", connections, scale.seconds)
                return sample | {"bytes": sample["requests"] * size, "bytes_rate": sample["rate"] * size}
            samples = trial.take_turns({"Tranship": ours, "nginx": theirs}, run)
            trial.compare(f"TLS, blob {in_words(size)}, {connections} connections", samples,
                          "k/s" if size * 1e5 < 10 * GB else "GB/s")
