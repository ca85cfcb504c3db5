#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""gen_man.py: writes the parts of docs/man/tranship.1 that come from the tables of src (options, keys, metrics).
gen_man.py --check BINARY: writes nothing; fails when those parts are stale, when what BINARY says with --help and what
the page says differ, or when the sample etc/tranship.json lacks a key of the tables or has a mistake."""

import ast
import difflib
import json
import pathlib
import re
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
PAGE = TOP / "docs/man/tranship.1"
SAMPLE = TOP / "etc/tranship.json"
USUAL = "/etc/tranship/tranship.json"
METAVARS = {"DURATION": "DURATION", "SIZE": "SIZE", "NUMBER": "N"}
OF_EVERY_COMMAND = {"config", "data", "help"}  # which the section of serve tells of
# Options that speak of docker.io: the sample says them where its registry is.
OF_DOCKER_IO = {"upstream", "mirror", "username", "password_file"}


def rows(table):
    """(type, first field as a word, other fields…) of each row of a .def file."""
    text = re.sub(r"/\*.*?\*/", "", (TOP / "src" / table).read_text(), flags=re.S)
    for kind, name, rest in re.findall(r"^([A-Z]+)\((\w+),\s*(.*?)\)$", text, re.M | re.S):
        yield (kind, name, *ast.literal_eval(f"({rest},)"))


def duration(ms):
    return next(f"{ms // unit}{word}" for unit, word in
                ((86400000, "d"), (3600000, "h"), (60000, "m"), (1000, "s"), (1, "ms")) if ms % unit == 0 < ms or unit == 1)


def size(n):
    return next(f"{n >> shift}{word}" for shift, word in
                ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB"), (0, "B")) if n % (1 << shift) == 0)


def plain(text):
    """Text that cannot be taken for a macro or an escape."""
    return re.sub(r"^([.'])", r"\\&\1", text.replace("\\", "\\e"))


def sentence(text):
    return plain(text[0].upper() + text[1:] + ".")


def tell(kind, initial, bounds, said):
    """The sentences of a row, without its metavar."""
    show = {"DURATION": duration, "SIZE": size, "NUMBER": str}
    yield sentence(said)
    if kind in show:
        yield f"From\n.Ql {show[kind](bounds[0])}\nto\n.Ql {show[kind](bounds[1])} ."
    if initial:
        yield f"The default is\n.Ql {plain(initial)} ."


def options():
    yield ".Bl -tag -width Ds"
    yield f".It Fl -config Ar FILE\nThe configuration file.\nThe default is\n.Pa {USUAL} ,\nif it is there."
    for kind, _, name, initial, *bounds, said in rows("app/config.def"):
        metavar = METAVARS.get(kind) or bounds.pop()
        yield f".It Fl -{name.replace('.', '-')} Ar {metavar.replace('|', ' | ')}"
        yield from tell(kind, initial, bounds, said)
    yield ".It Fl -help"
    yield "Prints all this in short."
    yield ".El"


def key_of(name):
    return name.replace("-", "_")


def keys(table):
    yield ".Bl -tag -width Ds"
    for kind, _, name, initial, *bounds, said in rows(table):
        metavar = METAVARS.get(kind) or bounds.pop()
        form = {"LIST": f"[ Ar {metavar} ... ]", "MIRRORS": "[ Ar mirror ... ]"}.get(kind, f"Ar {metavar.replace('|', ' | ')}")
        yield f".It Cm {key_of(name)} : {form}"
        yield from tell(kind, initial, bounds, said)
    yield ".El"


def metrics():
    yield ".Bl -tag -width Ds"
    for kind, name, *form, said in rows("base/metrics.def"):
        labels = f"{{{form[1].replace(' ', ',')}}}" if form and form[1] else ""
        yield f".It Li {'process' if kind == 'PROCESS' else 'tranship'}_{name}{labels}\n{sentence(said)}"
    yield ".El"


def renewed(page):
    for name, make in (("options", options), ("the keys of a registry", lambda: keys("app/registry.def")),
                       ("the keys of a mirror", lambda: keys("app/mirror.def")), ("metrics", metrics)):
        begin, end = (rf'.\" {word} of {name}, made by scripts/gen_man.py' for word in ("begin", "end"))
        head, _, rest = page.partition(begin + "\n")
        _, found, tail = rest.partition(end + "\n")
        if not found:
            sys.exit(f"{PAGE}: the lines that enclose the {name} are gone")
        page = "\n".join([head + begin, *make(), end, ""]) + tail
    return page


def said_by(binary, *words):
    return subprocess.run([binary, *words, "--help"], capture_output=True, text=True, check=True).stdout


def against_help(page, binary):
    """What is only in one of the two."""
    commands = set(re.findall(r"^  (\w[\w-]*) ", said_by(binary), re.M))
    synopsis = page.partition(".Sh SYNOPSIS")[2].partition(".Sh ")[0]
    in_synopsis = set(re.findall(r"[\w-]+", " ".join(re.findall(r"^\.Cm (.*)", synopsis, re.M))))
    sections = dict(re.findall(r"^\.Ss (\S+)$(.*?)(?=^\.S[hs] )", page, re.M | re.S))
    for where, found in (("the manual's sections", set(sections)), ("its synopsis", in_synopsis)):
        for name in commands ^ found:
            yield f"command {name}: not in " + (where if name in commands else "--help")
    for command in commands & set(sections):
        in_help = set(re.findall(r"^  --([\w-]+)", said_by(binary, command), re.M))
        in_page = set(re.findall(r"Fl -([\w-]+)", " ".join(re.findall(r"^\.It (.*)", sections[command], re.M))))
        for name in (in_help ^ in_page) - (set() if command == "serve" else OF_EVERY_COMMAND):
            yield f"{command} --{name}: only in " + ("--help" if name in in_help else "the manual")


def against_sample(binary):
    """Keys that only one of the sample and the tables has, mistakes of the sample."""
    def paths(value):
        return {f"{k}.{inner}" for k, v in value.items() if isinstance(v, dict) for inner in v} | {
            k for k, v in value.items() if not isinstance(v, dict)}

    sample = json.loads(SAMPLE.read_text())
    registries = sample.pop("registries").values()
    mirrors = [m for r in registries for m in r.get("mirrors", ()) if isinstance(m, dict)]
    for table, found in (("config", paths(sample)), ("registry", set().union(*registries)),
                         ("mirror", set().union(*mirrors))):
        wanted = {key_of(name) for _, _, name, *_ in rows(f"app/{table}.def")}
        if table == "config":
            wanted -= OF_DOCKER_IO
        for key in wanted ^ found:
            yield f"etc/tranship.json: {key} of {table}.def: only in " + ("the sample" if key in found else "the table")
    done = subprocess.run([binary, "check-config", SAMPLE], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        yield done.stdout + done.stderr


def main():
    page = PAGE.read_text()
    made = renewed(page)
    if sys.argv[1:2] != ["--check"]:
        PAGE.write_text(made)
        return
    wrong = list(difflib.unified_diff(page.splitlines(), made.splitlines(), "docs/man/tranship.1", "the tables",
                                      lineterm=""))
    wrong += sorted(against_help(page, sys.argv[2])) + sorted(against_sample(sys.argv[2]))
    print("\n".join(wrong) or "the manual agrees with the tables, with --help and with the sample")
    if wrong:
        sys.exit("run scripts/gen_man.py; complete docs/man/tranship.1 and etc/tranship.json")


main()
