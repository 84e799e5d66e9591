"""The import from start to end, page by page; reports each row that is left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from scheduler_svc.domain.errors import DomainError
from scheduler_svc.domain.old_rows import CannotImport, LeftOut, RowKind, RowsUnreadable
from scheduler_svc.importing.accounts import AccountChoices, import_accounts, read_accounts
from scheduler_svc.importing.contents import plan_contents, plan_entries, store_contents, store_entries
from scheduler_svc.importing.source import ImportSource, LeftOutRow, StoreResult
from scheduler_svc.importing.tasks import plan_tasks, store_tasks
from scheduler_svc.tasks.submit_checks import TaskKeys

if TYPE_CHECKING:
    from scheduler_svc.importing.old_tables import OldDatabase
    from scheduler_svc.transactions import Database, Tx


PAGE = 500
"""Rows of a transaction; they take far less than a second."""

P = TypeVar("P")


@dataclass(slots=True)
class ImportTally:
    """How many rows of a kind were imported by this run, by earlier ones, and left out."""

    taken: int = 0
    before: int = 0
    left_out: int = 0


class ImportListener(Protocol):
    """Gets the import's progress. Each row is reported once, after its transaction."""

    def begins(self, kind: RowKind, total: int) -> None: ...
    def moved(self, rows: int) -> None: ...
    def left_out(self, kind: RowKind, old_id: int, reason: str) -> None: ...
    def without_id(self, kind: RowKind, rows: int) -> None: ...
    def ends(self, kind: RowKind, tally: ImportTally) -> None: ...


class Import:
    """One run. Rows that an earlier run of the same source imported are skipped."""

    def __init__(self, database: Database, listener: ImportListener) -> None:
        self._database = database
        self._listener = listener
        self._keys = TaskKeys()
        self._tally = ImportTally()
        self._with_tasks = 0

    def run(self, old: OldDatabase, source_name: str, choices: AccountChoices, *, dry_run: bool) -> bool:
        """Returns whether everything was imported.

        Raises SourceUnreadable, ImportRefused, and StoreUnavailable if the database goes away; what was imported so far
        stays.
        """
        source, accounts = self._import_accounts(old, source_name, choices, dry_run=dry_run)
        pages = (
            self._import_pages(source, RowKind.TASK, plan_tasks, partial(store_tasks, keys=self._keys)),
            self._import_pages(source, RowKind.CONTENT, plan_contents, partial(store_contents, keys=self._keys)),
            self._import_pages(source, RowKind.POOL_ENTRY, plan_entries, store_entries),
        )
        return not any(tally.left_out for tally in (accounts, *pages))

    def _import_accounts(
        self, old: OldDatabase, source_name: str, choices: AccountChoices, *, dry_run: bool
    ) -> tuple[ImportSource, ImportTally]:
        total = old.count(RowKind.ACCOUNT)
        self._listener.begins(RowKind.ACCOUNT, total)
        read = read_accounts(self._database, old, source_name, choices)
        source, count = self._database.run(
            lambda tx: import_accounts(tx, read, old, source_name, choices, dry_run=dry_run)
        )
        self._tally = ImportTally(count, read.before)
        self._leave_out(RowKind.ACCOUNT, read.left_out)
        self._leave_out_without_id(old, RowKind.ACCOUNT)
        self._listener.moved(total)
        self._listener.ends(RowKind.ACCOUNT, self._tally)
        return source, self._tally

    def _import_pages(
        self,
        source: ImportSource,
        kind: RowKind,
        plan: Callable[[ImportSource, Sequence[int]], tuple[list[P], list[LeftOutRow]]],
        store: Callable[[Tx, ImportSource, Sequence[P]], StoreResult],
    ) -> ImportTally:
        self._listener.begins(kind, source.old.count(kind))
        came_with_tasks = self._with_tasks if kind is RowKind.CONTENT else 0
        self._tally = ImportTally(taken=came_with_tasks, before=-came_with_tasks)  # they will be found to be known
        self._leave_out_without_id(source.old, kind)
        after: int | None = None

        def take(ids: Sequence[int]) -> None:
            planned, left_out = plan(source, ids)
            result = self._database.run(lambda tx: store(tx, source, planned))
            left_out += result.left_out
            self._with_tasks += result.with_contents
            self._tally.taken += len(ids) - len(left_out)
            self._leave_out(kind, left_out)

        while ids := source.old.ids(kind, after, PAGE):
            after = ids[-1]
            known = self._known(source, kind, ids)
            self._tally.before += len(known)
            self._take_or_halve(kind, [old_id for old_id in ids if old_id not in known], take)
            self._listener.moved(len(ids))
        self._listener.ends(kind, self._tally)
        return self._tally

    def _known(self, source: ImportSource, kind: RowKind, ids: Sequence[int]) -> dict[int, int]:
        return self._database.run(lambda tx: tx.imports.known(source.source_id, kind, ids))

    def _take_or_halve(self, kind: RowKind, ids: Sequence[int], take: Callable[[Sequence[int]], None]) -> None:
        """Imports these rows; if one makes the transaction fail, halves them until that one is alone."""
        if not ids or (reason := _why_not(take, ids)) is None:
            return
        if len(ids) == 1:
            self._leave_out(kind, [LeftOutRow(ids[0], reason)])
            return
        middle = len(ids) // 2
        self._take_or_halve(kind, ids[:middle], take)
        self._take_or_halve(kind, ids[middle:], take)

    def _leave_out(self, kind: RowKind, left_out: Sequence[LeftOutRow]) -> None:
        self._tally.left_out += len(left_out)
        for old_id, reason in sorted(left_out):
            self._listener.left_out(kind, old_id, reason)

    def _leave_out_without_id(self, old: OldDatabase, kind: RowKind) -> None:
        """Leaves out rows without a usable id: they can neither be remembered nor imported apart."""
        if rows := old.without_id(kind):
            self._tally.left_out += rows
            self._listener.without_id(kind, rows)
            self._listener.moved(rows)


def _why_not(take: Callable[[Sequence[int]], None], ids: Sequence[int]) -> str | None:
    """Returns why these rows can't be imported, or None. Drops the error, and with it the rows it holds."""
    try:
        take(ids)
    except (CannotImport, DomainError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a row does to a driver, the others go on
        text = str(error).partition("\n")[0]
        return text if isinstance(error, LeftOut | RowsUnreadable) else f"{type(error).__name__}: {text}"
    return None
