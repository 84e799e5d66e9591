"""The source of an import, how its rows are read, and the rows that are inserted, in the order of the SQL's columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from old_application.old_rows import LeftOut, OldRow

if TYPE_CHECKING:
    from old_application.old_tables import OldDatabase


class ImportedAccountRow(NamedTuple):
    account_id: int
    name: str
    active: bool
    create_time: datetime | None


class ImportedTaskRow(NamedTuple):
    """An insert into `tasks`, of a task that may have ended in the old application; `error` as JSON."""

    task_key: int
    account_id: int
    status: int
    priority: int
    auto_approve: bool
    auto_retry: bool
    max_retries: int
    retry_count: int
    timeout_ms: int
    create_time: datetime
    attempt: int
    fence: int | None
    lease_end: int
    submit_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    content_id: int | None
    error: str | None


class ImportedContentRow(NamedTuple):
    """An insert into `contents`; images as JSON."""

    content_id: int
    account_id: int
    task_key: int
    title: str
    body: str
    html_body: str
    summary: str
    category: str
    images: str
    word_count: int
    quality_score: float | None
    review_status: int
    review_comment: str
    create_time: datetime


class ImportedEntryRow(NamedTuple):
    """An insert into `publish_pool`, of an entry that may have ended in the old application."""

    content_id: int
    account_id: int
    priority: int
    schedule_time: datetime | None
    status: int
    error: str


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
