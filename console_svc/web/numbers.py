"""Numbers that somebody typed: in the address of a page, or in a form."""

from __future__ import annotations

_DIGITS = 18
"""More than that is beyond the ids of the schedulers."""


def number_of(text: str) -> int | None:
    """An id, such as an account's; None for an empty text. Raises ValueError for what is no whole number from 1 on."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text)):
        raise ValueError(text)
    return int(text)
