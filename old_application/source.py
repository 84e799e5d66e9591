"""The source of an import, and how its rows are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from old_application.old_rows import LeftOut, OldRow

if TYPE_CHECKING:
    from old_application.old_tables import OldDatabase


Row = dict[str, Any]
"""A row to be inserted, by the names of its columns; JSON as text."""


class PoolCandidate(NamedTuple):
    account_id: int
    approved: bool
    in_pool: bool


R = TypeVar("R")

PAGE = 500
"""Rows of a transaction; they take far less than a second."""


@dataclass(frozen=True, slots=True)
class ImportSource:
    """The old application's database, and the number under which its imported rows are remembered.

    `dry_run`: nothing is stored; what would be imported is remembered for this run only.
    """

    old: OldDatabase
    source_id: int
    dry_run: bool


class LeftOutRow(NamedTuple):
    old_id: int
    reason: str


class StoreResult(NamedTuple):
    """What a transaction left out, and how many contents it stored beside its own rows."""

    left_out: list[LeftOutRow]
    with_contents: int = 0


def readable(rows: Iterable[OldRow], read: Callable[[OldRow], R]) -> tuple[list[R], list[LeftOutRow]]:
    """Returns what `read` makes of these rows, and those it can't read."""
    items: list[R] = []
    left_out: list[LeftOutRow] = []
    for row in rows:
        try:
            items.append(read(row))
        except LeftOut as error:
            left_out.append(LeftOutRow(row.key, error.reason))
    return items, left_out


def halved(ids: Sequence[int], take: Callable[[Sequence[int]], str | None]) -> Iterator[LeftOutRow]:
    """Takes these rows; if `take` returns why it can't, halves them until an unfit row is alone. Yields those."""
    if not ids or (reason := take(ids)) is None:
        return
    if len(ids) == 1:
        yield LeftOutRow(ids[0], reason)
        return
    middle = len(ids) // 2
    yield from halved(ids[:middle], take)
    yield from halved(ids[middle:], take)
