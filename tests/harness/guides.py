"""The snippets of a guide, in their order: what stands in fenced blocks of Markdown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_FENCED = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NOT_RUN = frozenset({"mermaid"})
DOCS = Path(__file__).parents[2] / "docs"


class Snippet(NamedTuple):
    """A block: its language, its mark (`old`: of another application; `service`: runs until it is told to end)."""

    language: str
    mark: str
    text: str
    line: int


def snippets(guide: Path) -> list[Snippet]:
    """All blocks of a guide but pictures."""
    text = guide.read_text(encoding="utf-8")
    found = _FENCED.finditer(text)
    all_ = [Snippet(it[1], it[2] or "", it[3], text.count("\n", 0, it.start()) + 2) for it in found]
    return [snippet for snippet in all_ if snippet.language not in _NOT_RUN]
