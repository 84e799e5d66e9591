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
    """Returns the beginning of a text as safe HTML."""
    return f"<pre>{escape(visible(text[:MAX_SHOWN]))}</pre>"


def visible(text: str) -> str:
    """Returns the text with its control characters shown by their numbers, such as `⟦U+202E⟧`."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", _TURNS.sub(lambda match: f"⟦U+{ord(match[0]):04X}⟧", text))


def difference(old: str, new: str) -> str:
    """Safe HTML; empty if the texts are the same. Takes up to some seconds for a hostile one."""
    old_lines, new_lines = _lines(old), _lines(new)
    if old_lines == new_lines:
        return ""
    return "".join(f"<p>{part}</p>" if part else "<hr>" for part in _groups(old_lines, new_lines))


def _lines(text: str) -> list[str]:
    return visible(text).splitlines()


def _groups(old: list[str], new: list[str]) -> Iterator[str]:
    """Yields each line with its changes marked, and an empty text between changes that are far from each other."""
    groups = SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(CONTEXT)
    for number, group in enumerate(groups):
        if number:
            yield ""
        for kind, old_start, old_end, new_start, new_end in group:
            if kind == "equal":
                yield from (escape(line) or "&nbsp;" for line in old[old_start:old_end])
                continue
            pairs = min(old_end - old_start, new_end - new_start)
            yield from map(_line, old[old_start : old_start + pairs], new[new_start : new_start + pairs])
            yield from (f"<del>{escape(line) or '¶'}</del>" for line in old[old_start + pairs : old_end])
            yield from (f"<ins>{escape(line) or '¶'}</ins>" for line in new[new_start + pairs : new_end])


def _line(old: str, new: str) -> str:
    """Returns the changes of a line that became another one."""
    old_parts, new_parts = _PARTS.findall(old), _PARTS.findall(new)
    parts = []
    for kind, old_start, old_end, new_start, new_end in SequenceMatcher(
        None, old_parts, new_parts, autojunk=False
    ).get_opcodes():
        if kind == "equal":
            parts.append(escape("".join(old_parts[old_start:old_end])))
            continue
        deletion, insertion = "".join(old_parts[old_start:old_end]), "".join(new_parts[new_start:new_end])
        parts += [f"<del>{escape(deletion)}</del>"] * bool(deletion) + [f"<ins>{escape(insertion)}</ins>"] * bool(
            insertion
        )
    return "".join(parts) or "&nbsp;"
