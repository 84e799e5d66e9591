"""Texts as one line or some, in which nothing turns what stands around them."""

from __future__ import annotations

import re

_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Characters that turn the direction of what follows: `gnp.exe` could read as `exe.png`."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def visible(text: str) -> str:
    """The text with its characters of control shown by their numbers, such as `⟦U+202E⟧`."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", _TURNS.sub(lambda found: f"⟦U+{ord(found[0]):04X}⟧", text))
