# SPDX-License-Identifier: Apache-2.0
"""Rows of ratios: as Markdown, and into a file between two marks."""

import dataclasses
import re

BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
HEAD = ("what", "Tranship", "beside it", "ratio", "server CPU, ours / theirs", "target")


@dataclasses.dataclass
class Row:
    what: str
    ours: str
    beside: str = ""
    ratio: float = None
    cpu: str = ""
    target: tuple = None  # (">=", 1.2) or ("<=", 1.02): of the ratio

    @property
    def is_met(self):
        return self.ratio >= self.target[1] if self.target[0] == ">=" else self.ratio <= self.target[1]

    def cells(self):
        sign = self.target and {">=": "≥", "<=": "≤"}[self.target[0]]
        goal = f"{sign} {self.target[1]:g}x: {'met' if self.is_met else '**not met**'}" if self.target else ""
        return (self.what, self.ours, self.beside, "" if self.ratio is None else f"{self.ratio:.2f}x", self.cpu, goal)


def markdown(rows):
    lines = [HEAD, ("---",) * len(HEAD), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(path, text):
    """Replaces what stands between the marks."""
    whole = path.read_text(encoding="utf-8")
    found = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.S)
    if not found.search(whole):
        raise SystemExit(f"{path} has no place for a table: {BEGIN} … {END}")
    path.write_text(found.sub(lambda _: f"{BEGIN}\n{text}\n{END}", whole), encoding="utf-8")
