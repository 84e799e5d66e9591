"""Numbers that somebody typed: in the address of a page, or in a form."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.convertors import IntegerConvertor, register_url_convertor

_DIGITS = 18
"""More than that is beyond the ids of the schedulers, and takes long to read."""
MAX_NUMBER = 10**_DIGITS - 1
MAX_COUNT = 2**31 - 1
"""The largest of the numbers that are no ids."""


def whole(text: str, least: int, limit: int) -> int:
    """A whole number in digits. Raises ValueError for other text, and for what is smaller or larger."""
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS and least <= int(text) <= limit):
        raise ValueError(text[:_DIGITS])
    return int(text)


def number_of(text: str) -> int | None:
    """An id, such as an account's; None for an empty text. Raises ValueError for what is no whole number from 1 on."""
    return whole(text, 1, MAX_NUMBER) if text else None


def ids_of(texts: Iterable[str]) -> list[int]:
    """Returns the ids among these texts."""
    return [int(text) for text in texts if text.isascii() and text.isdigit() and len(text) <= _DIGITS]


class _Id(IntegerConvertor):
    regex = f"[0-9]{{1,{_DIGITS}}}"


def bound_ids_of_paths() -> None:
    """From now on `{name:int}` of a route matches ids only: other numbers lead to no page."""
    register_url_convertor("int", _Id())
