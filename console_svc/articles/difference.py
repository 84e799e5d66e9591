"""What two texts differ in, for people: lines, and within lines words, or characters where there are no spaces."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from html import escape

from console_svc.articles.plain import visible

CONTEXT = 2
"""Lines that are shown before and after a change."""
_PARTS = re.compile(r"[a-zA-Z0-9]+|\s+|.", re.DOTALL)
"""A word of Latin letters, or one character of anything else: Chinese has no spaces."""


def difference(old: str, new: str) -> str:
    """Safe HTML; empty if the texts are the same. Takes up to some seconds for a hostile one."""
    before, after = _lines(old), _lines(new)
    if before == after:
        return ""
    return "".join(f"<p>{part}</p>" if part else "<hr>" for part in _groups(before, after))


def _lines(text: str) -> list[str]:
    return visible(text).splitlines()


def _groups(old: list[str], new: list[str]) -> Iterator[str]:
    """A line each, with its changes marked; an empty one between changes that are far from each other."""
    groups = SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(CONTEXT)
    for number, group in enumerate(groups):
        if number:
            yield ""
        for kind, a, b, c, d in group:
            if kind == "equal":
                yield from (escape(line) or "&nbsp;" for line in old[a:b])
                continue
            pairs = min(b - a, d - c)
            yield from map(_line, old[a : a + pairs], new[c : c + pairs])
            yield from (f"<del>{escape(line) or '¶'}</del>" for line in old[a + pairs : b])
            yield from (f"<ins>{escape(line) or '¶'}</ins>" for line in new[c + pairs : d])


def _line(old: str, new: str) -> str:
    """One line that became another."""
    before, after = _PARTS.findall(old), _PARTS.findall(new)
    written = []
    for kind, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            written.append(escape("".join(before[a:b])))
            continue
        gone, come = "".join(before[a:b]), "".join(after[c:d])
        written += [f"<del>{escape(gone)}</del>"] * bool(gone) + [f"<ins>{escape(come)}</ins>"] * bool(come)
    return "".join(written) or "&nbsp;"
