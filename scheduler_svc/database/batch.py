"""Many rows at once: as one array literal a column, which the server unnests, or as COPY's text.

The driver would adapt a list to thousands of constants, each of which costs the parser and the planner. From some fifty
rows on COPY is faster still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any


def _plain(values: Iterable[Any]) -> str:
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def _floats(values: Iterable[float | None]) -> str:
    return "{" + ",".join(["NULL" if value is None else repr(value) for value in values]) + "}"


def _quote(value: str | None) -> str:
    return "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _texts(values: Iterable[str | None]) -> str:
    return "{" + ",".join(map(_quote, values)) + "}"


def _times(values: Iterable[datetime | None]) -> str:
    return _texts(None if value is None else value.isoformat() for value in values)


def _bytes(values: Iterable[bytes | None]) -> str:
    return _texts(None if value is None else "\\x" + value.hex() for value in values)


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
    """Returns the array literal of `values`. JSON comes as text, times as aware datetimes; no NUL in any text."""
    return _ENCODERS[sql_type](values)


class UnnestedRows:
    """The shape of a batch: column names with their SQL types, in the order of the rows' fields.

    `source` is what to write after FROM; it is called `r` there.
    """

    def __init__(self, **columns: str) -> None:
        self._columns = columns
        self.source = self.with_parameters(":{}")

    def with_parameters(self, parameter: str) -> str:
        """Returns the same as `source`, with parameters of this form.

        In the list of SELECT, not in FROM: there each array would first be stored as a table of its own.
        """
        arrays = [
            f"unnest(CAST({parameter.format(name)} AS {kind}[])) AS {name}" for name, kind in self._columns.items()
        ]
        return f"(SELECT {', '.join(arrays)}) AS r"

    def bind(self, rows: Sequence[Sequence[Any]]) -> dict[str, str]:
        columns = zip(*rows, strict=True) if rows else [()] * len(self._columns)
        return {
            name: _ENCODERS[sql_type](values)
            for (name, sql_type), values in zip(self._columns.items(), columns, strict=True)
        }


COPY_FROM = 50
"""Rows from which COPY is faster than arrays."""
_PIECE = 100
"""Rows that COPY sends at a time: the server stores them while the next are encoded."""


class Insert:
    """An insert of many rows into one table, whose columns and types stand in the order of the rows' fields.

    A column that holds an array, such as "bigint[]", has literals of arrays in the rows.
    """

    def __init__(self, table: str, **columns: str) -> None:
        names = ", ".join(columns)
        self.columns = tuple(columns)
        carried = {name: "text" if sql_type.endswith("[]") else sql_type for name, sql_type in columns.items()}
        self._batch = UnnestedRows(**carried)
        self._texts = [sql_type in _FREE_TEXT for sql_type in carried.values()]
        self._times = [sql_type == "timestamptz" for sql_type in carried.values()]
        values = ", ".join(f"CAST({n} AS {columns[n]})" if carried[n] != columns[n] else n for n in columns)
        self._into = f"INSERT INTO {table} ({names}) SELECT {values} FROM"
        self.sql = f"{self._into} {self._batch.with_parameters('%({})s')}"
        self.copy = f"COPY {table} ({names}) FROM STDIN"

    def part(self, name: str, condition: str) -> str:
        """Returns, for WITH, the insert as `name`, if `condition` holds. Its parameters begin with that name, too."""
        source = self._batch.with_parameters(f":{name}_{{}}")
        return f"{name} AS ({self._into} {source} WHERE {condition} RETURNING 1)"

    def bind_part(self, name: str, rows: Sequence[Sequence[Any]]) -> dict[str, str]:
        return {f"{name}_{column}": values for column, values in self.bind(rows).items()}

    def bind(self, rows: Sequence[Sequence[Any]]) -> dict[str, str]:
        return self._batch.bind(rows)

    def pieces(self, rows: Sequence[Sequence[Any]]) -> Iterator[bytes]:
        """Returns the rows as `copy` reads them, some at a time."""
        return (self._lines(rows[i : i + _PIECE]).encode() for i in range(0, len(rows), _PIECE))

    def _lines(self, rows: Sequence[Sequence[Any]]) -> str:
        columns = [
            _copied(values, free_text=text, times=time)
            for values, text, time in zip(zip(*rows, strict=True), self._texts, self._times, strict=True)
        ]
        return "\n".join(map("\t".join, zip(*columns, strict=True))) + "\n"


_FREE_TEXT = ("text", "jsonb")


def _copied(values: Iterable[Any], *, free_text: bool, times: bool) -> list[str]:
    if times:
        return ["\\N" if value is None else value.isoformat() for value in values]
    if free_text:
        return ["\\N" if value is None else _escape(value) for value in values]
    return ["\\N" if value is None else str(value) for value in values]


def _escape(value: str) -> str:
    """Escapes for COPY a backslash, a tab or an end of line. Most values have none."""
    if "\\" in value:
        value = value.replace("\\", "\\\\")
    if "\n" in value:
        value = value.replace("\n", "\\n")
    if "\t" in value:
        value = value.replace("\t", "\\t")
    return value.replace("\r", "\\r") if "\r" in value else value
