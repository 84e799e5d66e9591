"""The snippets of a guide: its fenced blocks of Markdown, in order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_FENCED = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NOT_RUN = frozenset({"mermaid"})
DOCS = Path(__file__).parents[2] / "docs"


class Snippet(NamedTuple):
    """A block: its language, its mark (`old`: of another application; `service`: runs until TERM)."""

    language: str
    mark: str
    text: str
    line: int


def snippets(guide: Path) -> list[Snippet]:
    """All blocks of a guide except diagrams."""
    text = guide.read_text(encoding="utf-8")
    found = _FENCED.finditer(text)
    all_ = [Snippet(it[1], it[2] or "", it[3], text.count("\n", 0, it.start()) + 2) for it in found]
    return [snippet for snippet in all_ if snippet.language not in _NOT_RUN]
