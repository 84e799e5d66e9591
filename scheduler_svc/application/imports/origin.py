"""Where an import comes from, and what it has taken already. Part of `application.imports`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from scheduler_svc.application.imports.ports import OldApplication
from scheduler_svc.domain.old_rows import LeftOut, OldRow, RowKind, RowsUnreadable

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ImportSource:
    """The old application, and the number under which what comes from it is remembered.

    `dry_run`: nothing is stored, and what would be taken is remembered for this run alone.
    """

    old: OldApplication
    source_id: int
    dry_run: bool


class LeftOutRow(NamedTuple):
    """A row that was left out, and why."""

    old_id: int
    reason: str


class StoreResult(NamedTuple):
    """What a transaction left out, and how many contents it took beside its own rows."""

    missed: list[LeftOutRow]
    with_contents: int = 0


def readable(rows: Iterable[OldRow], read: Callable[[OldRow], R]) -> tuple[list[R], list[LeftOutRow]]:
    """What `read` makes of these rows, and those of which it can make nothing."""
    made: list[R] = []
    missed: list[LeftOutRow] = []
    for row in rows:
        try:
            made.append(read(row))
        except LeftOut as left:
            missed.append(LeftOutRow(row.key, left.reason))
    return made, missed


def rows_in_parts(
    old: OldApplication, kind: RowKind, ids: Sequence[int]
) -> Iterator[tuple[list[OldRow], list[LeftOutRow]]]:
    """These rows, as many at a time as can be read, halved until a row that can't be stands alone."""
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


def _rows(old: OldApplication, kind: RowKind, ids: Sequence[int]) -> tuple[list[OldRow], str | None]:
    try:
        return old.rows(kind, ids), None
    except RowsUnreadable as error:
        return [], str(error)
