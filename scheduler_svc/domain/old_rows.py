"""A row of the old application's tables, value by value: whatever its database made of them becomes one plain type.

SQLite keeps times and JSON as text, truth as 0 and 1, and anything in any column; deployments lack columns. A column
that is missing, or NULL, has its default.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import IntEnum

_SHOWN = 40
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_WHOLE = re.compile(r"([+-]?[0-9]{1,18})(?:\.0*)?")
MAX_ID = 10**18 - 1
"""The largest number that is read, and the negative of the smallest."""
MAX_DOCUMENT = 8 * 1024 * 1024
"""Characters of a JSON document: the largest result that is stored, escaped. What it is parsed into may take fifty
times as much: lists within lists do."""
_FALSE = frozenset({"", "0", "f", "false", "n", "no", "off"})


class RowKind(IntEnum):
    """What is imported; the numbers are the database's."""

    ACCOUNT = 1
    TASK = 2
    CONTENT = 3
    POOL_ENTRY = 4

    @property
    def label(self) -> str:
        """Its name for people."""
        return self.name.lower().replace("_", " ")


class LeftOut(Exception):
    """A row that can't be taken; `reason` completes "it is left out: …"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RowsUnreadable(Exception):
    """The database can't hand over some of the rows that were asked for; fewer at a time, it may some of them."""


class CannotImport(Exception):
    """Why an import stops as a whole, for the one who started it."""


class SourceUnreadable(CannotImport):
    """The database can't be read, or is none of the old application's."""


class ImportRefused(CannotImport):
    """It would have to guess what is wanted: nothing was written."""


class OldRow:
    """One row. Its readers raise LeftOut where a value is no such thing at all."""

    def __init__(self, values: Mapping[str, object], copies: int = 1) -> None:
        """`copies`: how many rows of the table have this one's key."""
        self._values = values
        self._copies = copies

    @property
    def key(self) -> int:
        """Its key in the old database, whether or not that is its alone."""
        return self.required_number("id")

    @property
    def old_id(self) -> int:
        """Its key, by which others name it."""
        if self._copies > 1:
            raise LeftOut(f"{self._copies:,} rows have this id, and others can't name one of them")
        return self.key

    def text(self, column: str, most: int | None = None) -> str:
        """A text, empty by default; with `most` a longer one is refused."""
        value = self._values.get(column)
        text = "" if value is None else str(value)
        if _UNSTORABLE.search(text):
            raise LeftOut(f"{column} holds NUL or bytes that are no UTF-8, which can't be stored")
        if most is not None and len(text) > most:
            raise LeftOut(f"{column} has {len(text):,} characters, and may have {most:,}")
        return text

    def number(self, column: str) -> int | None:
        """A whole number, as such or as text."""
        value = self._values.get(column)
        if value is None:
            return None
        match = _WHOLE.fullmatch(str(value).strip())
        number = int(match[1]) if match else int(value) if isinstance(value, bool) else None
        if number is None:
            raise LeftOut(f"{column} should be a whole number of 18 digits at most, is {_shown(value)}")
        return number

    def required_number(self, column: str) -> int:
        """A whole number that has no default."""
        number = self.number(column)
        if number is None:
            raise LeftOut(f"{column} is missing")
        return number

    def flag(self, column: str, default: bool) -> bool:
        """Whether it is so."""
        value = self._values.get(column)
        if value is None:
            return default
        return value.strip().lower() not in _FALSE if isinstance(value, str) else bool(value)

    def time(self, column: str) -> datetime | None:
        """A time in UTC, which one without a zone is. One that can't be read counts as missing."""
        value = self._values.get(column)
        try:
            time = datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
            if not isinstance(time, datetime):
                return None
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            return None

    def document(self, column: str) -> object:
        """What a column of JSON holds. What is no JSON, or beyond MAX_DOCUMENT, counts as missing."""
        value = self._values.get(column)
        if not isinstance(value, str | bytes):
            return value
        if len(value) > MAX_DOCUMENT:
            return None
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return None


def printable(text: str) -> str:
    """For a terminal, which what stands in the old database must not steer; nor may it look like a line of ours."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
