"""Many rows as one parameter a column: an array literal each, unnested by the server.

A literal is a string that the server parses in one go; a list adapted by the driver would become thousands of
constants in the statement's text, each of which costs the parser and the planner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any


def _plain(values: Iterable[Any]) -> str:
    return "{" + ",".join(["NULL" if v is None else str(v) for v in values]) + "}"


def _floats(values: Iterable[float | None]) -> str:
    return "{" + ",".join(["NULL" if v is None else repr(v) for v in values]) + "}"


def _quote(value: str | None) -> str:
    return "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _texts(values: Iterable[str | None]) -> str:
    return "{" + ",".join(map(_quote, values)) + "}"


def _times(values: Iterable[datetime | None]) -> str:
    return _texts(None if v is None else v.isoformat() for v in values)


def _bytes(values: Iterable[bytes | None]) -> str:
    return _texts(None if v is None else "\\x" + v.hex() for v in values)


_ENCODERS: dict[str, Callable[[Iterable[Any]], str]] = {
    "bigint": _plain,
    "integer": _plain,
    "smallint": _plain,
    "boolean": _plain,
    "float8": _floats,
    "text": _texts,
    "jsonb": _texts,
    "timestamptz": _times,
    "bytea": _bytes,
}


def array(sql_type: str, values: Iterable[Any]) -> str:
    """The array literal of `values`. JSON comes as text, times as aware datetimes; no NUL in any text."""
    return _ENCODERS[sql_type](values)


class Batch:
    """The shape of a batch: column names with their SQL types, in the order of the rows' fields.

    `Batch(task_key="bigint", topic="text").source` is what to write after FROM; it is called `r` there.
    """

    def __init__(self, **columns: str) -> None:
        self._columns = columns
        arrays = ", ".join(f"CAST(:{name} AS {sql_type}[])" for name, sql_type in columns.items())
        self.source = f"unnest({arrays}) AS r({', '.join(columns)})"

    def bind(self, rows: Sequence[Sequence[Any]]) -> dict[str, str]:
        """The parameters that carry `rows`."""
        columns = zip(*rows, strict=True) if rows else [()] * len(self._columns)
        return {
            name: _ENCODERS[sql_type](values)
            for (name, sql_type), values in zip(self._columns.items(), columns, strict=True)
        }
