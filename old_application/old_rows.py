"""Rows of the old application's tables: reads each value as one plain type, whatever the old database made of it.

SQLite keeps times and JSON as text, booleans as 0 and 1, and anything in any column; deployments lack columns. A
missing column or NULL has its default.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import IntEnum

_SHOWN = 40
_SURROGATE = re.compile("[\ud800-\udfff]")
_WHOLE = re.compile(r"([+-]?[0-9]{1,18})(?:\.0*)?")
MAX_ID = 10**18 - 1
"""The largest number that is read, and the negative of the smallest."""
MAX_DOCUMENT = 8 * 1024 * 1024
"""Characters of a JSON document: the largest result that is stored, escaped. Parsed, it may take fifty times that."""
_FALSE = frozenset({"", "0", "f", "false", "n", "no", "off"})


class RowKind(IntEnum):
    """What is imported. The numbers are those of `kind` in the table `imported`."""

    ACCOUNT = 1
    TASK = 2
    CONTENT = 3
    POOL_ENTRY = 4

    @property
    def label(self) -> str:
        return self.name.lower().replace("_", " ")


class LeftOut(Exception):
    """A row that can't be imported; `reason` completes "it is left out: …"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RowsUnreadable(Exception):
    """The database can't return some of the requested rows; in smaller pages it may return others."""


class CannotImport(Exception):
    """An import stops as a whole. The message is human-readable."""


class SourceUnreadable(CannotImport):
    """The database can't be read, or is not the old application's."""


class ImportRefused(CannotImport):
    """The import would have to guess what is wanted. Nothing was written."""


class OldRow:
    """One row. The readers raise LeftOut if a value can't be read as their type."""

    def __init__(self, values: Mapping[str, object], copies: int = 1) -> None:
        """`copies`: how many rows of the table have this row's key."""
        self._values = {name: _read(value) for name, value in values.items()}
        self._copies = copies

    @property
    def key(self) -> int:
        """The key in the old database, even if other rows have it too."""
        return self.required_number("id")

    @property
    def old_id(self) -> int:
        """The key, by which other rows refer to it. Raises LeftOut if several rows have it."""
        if self._copies > 1:
            raise LeftOut(f"{self._copies:,} rows have this id, and others can't name one of them")
        return self.key

    def text(self, column: str, max_length: int | None = None) -> str:
        """Returns a text, by default empty; refuses one longer than `max_length`."""
        value = self._values.get(column)
        text = "" if value is None else str(value)
        if "\0" in text or (not text.isascii() and _SURROGATE.search(text)):  # seconds faster than to search MiBs
            raise LeftOut(f"{column} holds NUL or bytes that are no UTF-8, which can't be stored")
        if max_length is not None and len(text) > max_length:
            raise LeftOut(f"{column} has {len(text):,} characters, and may have {max_length:,}")
        return text

    def number(self, column: str) -> int | None:
        value = self._values.get(column)
        if value is None:
            return None
        match = _WHOLE.fullmatch(str(value).strip())
        number = int(match[1]) if match else int(value) if isinstance(value, bool) else None
        if number is None:
            raise LeftOut(f"{column} should be a whole number of 18 digits at most, is {_shown(value)}")
        return number

    def required_number(self, column: str) -> int:
        number = self.number(column)
        if number is None:
            raise LeftOut(f"{column} is missing")
        return number

    def flag(self, column: str, default: bool) -> bool:
        value = self._values.get(column)
        if value is None:
            return default
        return value.strip().lower() not in _FALSE if isinstance(value, str) else bool(value)

    def time(self, column: str) -> datetime | None:
        """Returns a time in UTC; one without a zone is UTC. An unreadable one counts as missing."""
        value = self._values.get(column)
        try:
            time = datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
            if not isinstance(time, datetime):
                return None
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            return None

    def document(self, column: str) -> object:
        """Returns the value of a JSON column. Invalid JSON, or more than MAX_DOCUMENT, counts as missing."""
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
    """Escapes control characters: text of the old database must neither control a terminal nor look like our lines."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _read(value: object) -> object:
    """Returns the bytes of a `bytea`: the driver reads one as memory, whose text would be its address."""
    return bytes(value) if isinstance(value, memoryview) else value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
