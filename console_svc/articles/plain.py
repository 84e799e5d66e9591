"""Texts as one line or some, in which nothing turns what stands around them."""

from __future__ import annotations

import re
from html import escape

_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Characters that turn the direction of what follows: `gnp.exe` could read as `exe.png`."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


MAX_SHOWN = 100_000
"""Characters that a page shows of a text as it was written: browsers take minutes for one of millions."""


def as_written(text: str) -> str:
    """The beginning of a text, as safe HTML."""
    return f"<pre>{escape(visible(text[:MAX_SHOWN]))}</pre>"


def visible(text: str) -> str:
    """The text with its characters of control shown by their numbers, such as `⟦U+202E⟧`."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", _TURNS.sub(lambda found: f"⟦U+{ord(found[0]):04X}⟧", text))
