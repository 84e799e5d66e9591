"""Texts in which nothing turns what stands around them, and what two of them differ in, for people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from html import escape

_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Characters that turn the direction of what follows: `gnp.exe` could read as `exe.png`."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
MAX_SHOWN = 100_000
"""Characters that a page shows of a text as it was written: browsers take minutes for one of millions."""
CONTEXT = 2
"""Lines that are shown before and after a change."""
_PARTS = re.compile(r"[a-zA-Z0-9]+|\s+|.", re.DOTALL)
"""A word of Latin letters, or one character of anything else: Chinese has no spaces."""


def as_written(text: str) -> str:
    """The beginning of a text, as safe HTML."""
    return f"<pre>{escape(visible(text[:MAX_SHOWN]))}</pre>"


def visible(text: str) -> str:
    """The text with its characters of control shown by their numbers, such as `⟦U+202E⟧`."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", _TURNS.sub(lambda match: f"⟦U+{ord(match[0]):04X}⟧", text))


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
