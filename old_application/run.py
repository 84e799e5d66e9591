"""The import from start to end, page by page; reports each row that is left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from old_application.accounts import AccountChoices, import_accounts
from old_application.contents import plan_contents, plan_entries, store_contents, store_entries
from old_application.old_rows import CannotImport, LeftOut, RowKind, RowsUnreadable
from old_application.progress import ImportProgress, ImportTally
from old_application.source import ImportSource, LeftOutRow, StoreResult, halved
from old_application.tasks import plan_tasks, store_tasks
from scheduler_svc.domain.errors import DomainError
from scheduler_svc.tasks.submit_checks import TaskKeys

if TYPE_CHECKING:
    from old_application.old_tables import OldDatabase
    from old_application.sql import ImportDatabase, Imports


P = TypeVar("P")


class Import:
    """One run. Rows that an earlier run of the same source imported are skipped."""

    def __init__(self, database: ImportDatabase, progress: ImportProgress) -> None:
        self._database = database
        self._progress = progress
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
        self._progress.begins(RowKind.ACCOUNT, total)
        source, self._tally, left_out = import_accounts(self._database, old, source_name, choices, dry_run=dry_run)
        self._leave_out(RowKind.ACCOUNT, left_out)
        self._leave_out_without_id(old, RowKind.ACCOUNT)
        self._progress.moved(total)
        self._progress.ends(RowKind.ACCOUNT, self._tally)
        return source, self._tally

    def _import_pages(
        self,
        source: ImportSource,
        kind: RowKind,
        plan: Callable[[ImportSource, Sequence[int]], tuple[list[P], list[LeftOutRow]]],
        store: Callable[[Imports, ImportSource, Sequence[P]], StoreResult],
    ) -> ImportTally:
        self._progress.begins(kind, source.old.count(kind))
        came_with_tasks = self._with_tasks if kind is RowKind.CONTENT else 0
        self._tally = ImportTally(taken=came_with_tasks, before=-came_with_tasks)  # they will be found to be known
        self._leave_out_without_id(source.old, kind)

        def take(ids: Sequence[int]) -> None:
            planned, left_out = plan(source, ids)
            result = self._database.run(lambda imports: store(imports, source, planned))
            left_out += result.left_out
            self._with_tasks += result.with_contents
            self._tally.taken += len(ids) - len(left_out)
            self._leave_out(kind, left_out)

        for ids in source.old.pages(kind):
            known = self._known(source, kind, ids)
            self._tally.before += len(known)
            for row in halved([old_id for old_id in ids if old_id not in known], partial(_why_not, take)):
                self._leave_out(kind, [row])
            self._progress.moved(len(ids))
        self._progress.ends(kind, self._tally)
        return self._tally

    def _known(self, source: ImportSource, kind: RowKind, ids: Sequence[int]) -> dict[int, int]:
        return self._database.run(lambda imports: imports.known(source.source_id, kind, ids))

    def _leave_out(self, kind: RowKind, left_out: Sequence[LeftOutRow]) -> None:
        self._tally.left_out += len(left_out)
        for old_id, reason in sorted(left_out):
            self._progress.left_out(kind, old_id, reason)

    def _leave_out_without_id(self, old: OldDatabase, kind: RowKind) -> None:
        """Leaves out rows without a usable id: they can neither be remembered nor imported apart."""
        if rows := old.without_id(kind):
            self._tally.left_out += rows
            self._progress.without_id(kind, rows)
            self._progress.moved(rows)


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
