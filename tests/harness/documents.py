"""The snippets of a guide: its fenced blocks of Markdown, in order; and what a reader does with them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.harness.process import installed, run_to_end

_FENCED = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NOT_RUN = frozenset({"mermaid", "text"})
_VARIABLE = re.compile(r"([A-Z_]+)=(.*)")
_OURS = re.compile(r"([A-Z_]+=\S* )*contentgen[^$`|;&<>\\()*?~#]*(#.*)?")
DOCS = Path(__file__).parents[2] / "docs"
CLIENT_GUIDES = tuple(
    DOCS / "how-to" / f"{name}.md"
    for name in ("python-client", "follow-tasks", "manage-with-the-client", "review-and-publish")
)
"""In the order in which their snippets run: those of the first open the client."""


class Snippet(NamedTuple):
    """A block: its language, and its mark: `old` (of another application), `service` (until TERM), `elsewhere`."""

    language: str
    mark: str
    text: str
    line: int


def snippets(guide: Path) -> list[Snippet]:
    """Returns all blocks of a guide except diagrams and output."""
    text = guide.read_text(encoding="utf-8")
    matches = _FENCED.finditer(text)
    all_ = [Snippet(match[1], match[2] or "", match[3], text.count("\n", 0, match.start()) + 2) for match in matches]
    return [snippet for snippet in all_ if snippet.language not in _NOT_RUN]


def commands(text: str) -> list[tuple[list[str], dict[str, str]]]:
    """Returns each line as a command of ours, with its variables; none if one is anything else."""
    entries: list[tuple[list[str], dict[str, str]]] = []
    for line in filter(None, re.sub(r"^#.*$", "", text, flags=re.MULTILINE).splitlines()):
        if not _OURS.fullmatch(line):
            return []
        words = shlex.split(line, comments=True)
        variables: dict[str, str] = {}
        while variable := _VARIABLE.fullmatch(words[0]):
            variables[variable[1]] = variable[2]
            del words[0]
        entries.append(([str(installed(words[0])), *words[1:]], variables))
    return entries


def type_in(text: str, environment: Mapping[str, str], folder: Path, *, within: float) -> tuple[str, str]:
    """Returns what it prints to standard output and standard error; each line has to succeed.

    Commands of ours that need no shell get none: so their start costs less.
    """
    out, errors = "", ""
    for command, variables in commands(text) or [(["bash", "-euo", "pipefail", "-c", text], {})]:
        done = run_to_end(command, {**environment, **variables}, cwd=folder, within=within)
        out, errors = out + done.stdout, errors + done.stderr
        assert done.returncode == 0, f"{text}\n{out}\n{errors}"
    return out, errors
