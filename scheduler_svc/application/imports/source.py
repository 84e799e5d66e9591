"""The source of an import, and how its rows are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from scheduler_svc.domain.old_rows import LeftOut, OldRow, RowKind, RowsUnreadable

if TYPE_CHECKING:
    from scheduler_svc.store.old_application.tables import OldDatabase

R = TypeVar("R")


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
    made: list[R] = []
    left_out: list[LeftOutRow] = []
    for row in rows:
        try:
            made.append(read(row))
        except LeftOut as left:
            left_out.append(LeftOutRow(row.key, left.reason))
    return made, left_out


def rows_in_parts(
    old: OldDatabase, kind: RowKind, ids: Sequence[int]
) -> Iterator[tuple[list[OldRow], list[LeftOutRow]]]:
    """Yields these rows in the largest readable parts: halves them until an unreadable row is alone."""
    if not ids:
        return
    rows, why_not = _rows(old, kind, ids)
    if why_not is None:
        yield rows, []
    elif len(ids) == 1:
        yield [], [LeftOutRow(ids[0], why_not)]
    else:
        middle = len(ids) // 2
        yield from rows_in_parts(old, kind, ids[:middle])
        yield from rows_in_parts(old, kind, ids[middle:])


def _rows(old: OldDatabase, kind: RowKind, ids: Sequence[int]) -> tuple[list[OldRow], str | None]:
    try:
        return old.rows(kind, ids), None
    except RowsUnreadable as error:
        return [], str(error)
