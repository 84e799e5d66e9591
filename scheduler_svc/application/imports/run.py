"""The import from start to end: page by page, what can't be taken told row by row. Part of `application.imports`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from scheduler_svc.application.imports.accounts import AccountChoices, import_accounts
from scheduler_svc.application.imports.contents import plan_contents, store_contents
from scheduler_svc.application.imports.origin import ImportSource, LeftOutRow, StoreResult
from scheduler_svc.application.imports.pool import plan_entries, store_entries
from scheduler_svc.application.imports.ports import OldApplication
from scheduler_svc.application.imports.tasks import plan_tasks, store_tasks
from scheduler_svc.application.ports import Database, Tx
from scheduler_svc.application.tasks.submit import TaskKeys
from scheduler_svc.domain.errors import DomainError
from scheduler_svc.domain.old_rows import CannotImport, LeftOut, RowKind, RowsUnreadable

PAGE = 500
"""Rows of a transaction: they take far less than a second."""

P = TypeVar("P")


@dataclass(slots=True)
class ImportTally:
    """How many rows of a kind were taken by this run, by one before, and left out."""

    taken: int = 0
    before: int = 0
    left_out: int = 0


class ImportListener(Protocol):
    """Who is told how the import gets on. Rows are told once, after their transaction."""

    def begins(self, kind: RowKind, total: int) -> None: ...
    def moved(self, rows: int) -> None: ...
    def left_out(self, kind: RowKind, old_id: int, reason: str) -> None: ...
    def without_id(self, kind: RowKind, rows: int) -> None: ...
    def ends(self, kind: RowKind, tally: ImportTally) -> None: ...


class Import:
    """One run. What an earlier run of the same source took is passed over."""

    def __init__(self, database: Database, listener: ImportListener) -> None:
        self._database = database
        self._listener = listener
        self._keys = TaskKeys()
        self._tally = ImportTally()
        self._with_tasks = 0

    def run(self, old: OldApplication, source: str, choices: AccountChoices, *, dry_run: bool) -> bool:
        """Whether everything was taken.

        Raises SourceUnreadable, ImportRefused, and StoreUnavailable where the database goes away: what was taken until
        then stays.
        """
        origin, accounts = self._import_accounts(old, source, choices, dry_run=dry_run)
        pages = (
            self._import_pages(origin, RowKind.TASK, plan_tasks, partial(store_tasks, keys=self._keys)),
            self._import_pages(origin, RowKind.CONTENT, plan_contents, partial(store_contents, keys=self._keys)),
            self._import_pages(origin, RowKind.POOL_ENTRY, plan_entries, store_entries),
        )
        return not any(tally.left_out for tally in (accounts, *pages))

    def _import_accounts(
        self, old: OldApplication, source: str, choices: AccountChoices, *, dry_run: bool
    ) -> tuple[ImportSource, ImportTally]:
        total = old.count(RowKind.ACCOUNT)
        self._listener.begins(RowKind.ACCOUNT, total)
        origin, told = self._database.run(lambda tx: import_accounts(tx, old, source, choices, dry_run=dry_run))
        self._tally = ImportTally(told.taken, told.before)
        self._leave_out(RowKind.ACCOUNT, told.missed)
        self._leave_out_nameless(old, RowKind.ACCOUNT)
        self._listener.moved(total)
        self._listener.ends(RowKind.ACCOUNT, self._tally)
        return origin, self._tally

    def _import_pages(
        self,
        origin: ImportSource,
        kind: RowKind,
        plan: Callable[[ImportSource, Sequence[int]], tuple[list[P], list[LeftOutRow]]],
        store: Callable[[Tx, ImportSource, Sequence[P]], StoreResult],
    ) -> ImportTally:
        self._listener.begins(kind, origin.old.count(kind))
        came_with_tasks = self._with_tasks if kind is RowKind.CONTENT else 0
        self._tally = ImportTally(taken=came_with_tasks, before=-came_with_tasks)  # they will be found to be known
        self._leave_out_nameless(origin.old, kind)
        after: int | None = None

        def take(ids: Sequence[int]) -> None:
            planned, missed = plan(origin, ids)
            stored = self._database.run(lambda tx: store(tx, origin, planned))
            missed += stored.missed
            self._with_tasks += stored.with_contents
            self._tally.taken += len(ids) - len(missed)
            self._leave_out(kind, missed)

        while ids := origin.old.ids(kind, after, PAGE):
            after = ids[-1]
            known = self._known(origin, kind, ids)
            self._tally.before += len(known)
            self._take_or_halve(kind, [old_id for old_id in ids if old_id not in known], take)
            self._listener.moved(len(ids))
        self._listener.ends(kind, self._tally)
        return self._tally

    def _known(self, origin: ImportSource, kind: RowKind, ids: Sequence[int]) -> dict[int, int]:
        return self._database.run(lambda tx: tx.imports.known(origin.source_id, kind, ids))

    def _take_or_halve(self, kind: RowKind, ids: Sequence[int], take: Callable[[Sequence[int]], None]) -> None:
        """Takes these rows; where one spoils it for all, they are halved until that one stands alone."""
        if not ids or (why := _why_not(take, ids)) is None:
            return
        if len(ids) == 1:
            self._leave_out(kind, [LeftOutRow(ids[0], why)])
            return
        middle = len(ids) // 2
        self._take_or_halve(kind, ids[:middle], take)
        self._take_or_halve(kind, ids[middle:], take)

    def _leave_out(self, kind: RowKind, missed: Sequence[LeftOutRow]) -> None:
        self._tally.left_out += len(missed)
        for old_id, reason in sorted(missed):
            self._listener.left_out(kind, old_id, reason)

    def _leave_out_nameless(self, old: OldApplication, kind: RowKind) -> None:
        """Rows that nothing could be remembered by, nor be told apart by."""
        if rows := old.without_id(kind):
            self._tally.left_out += rows
            self._listener.without_id(kind, rows)
            self._listener.moved(rows)


def _why_not(take: Callable[[Sequence[int]], None], ids: Sequence[int]) -> str | None:
    """What kept these rows from being taken; None where nothing did. With the error goes what it holds of them."""
    try:
        take(ids)
    except (CannotImport, DomainError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a row does to a driver, the others go on
        said = str(error).partition("\n")[0]
        return said if isinstance(error, LeftOut | RowsUnreadable) else f"{type(error).__name__}: {said}"
    return None
