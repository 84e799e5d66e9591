"""Schedulers that are broken in one way; run in place of `contentgen-scheduler`, with the mutant's name."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from scheduler_svc.assets.objects import Incoming
from scheduler_svc.assets.stores import FolderStore
from scheduler_svc.contents.sql.contents import Contents
from scheduler_svc.database import statements
from scheduler_svc.database.connections import Timeouts
from scheduler_svc.dispatch.rows import AccountQueue
from scheduler_svc.dispatch.sql.window import Window
from scheduler_svc.domain.content import ContentRow
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import AttemptCompleted
from scheduler_svc.domain.lifecycle import EventRow, Status
from scheduler_svc.domain.webhook import Response
from scheduler_svc.history.sql import Counts, History
from scheduler_svc.leases.report import Item, ReportItem, ReportWork, _Applied
from scheduler_svc.leases.rows import LiveLease
from scheduler_svc.main import main
from scheduler_svc.runtime.group_committer import GroupCommitter, _Entry
from scheduler_svc.schedules.work import Ticks
from scheduler_svc.tasks.submit import SubmitItem
from scheduler_svc.transactions import Tx

ALLOWED_BY = {
    "doubled_content": "ALTER TABLE contents DROP CONSTRAINT contents_task_key_key",
    "doubled_tick": "DROP INDEX schedule_tasks_by_tick",
}
"""The database refuses what these mutants do, until this is run there."""

_keep = FolderStore.keep
_account_queue = Window.account_queue
_insert_contents = Contents.insert
_submit_ticks = Ticks._submit
_work_on = GroupCommitter._work_on
_apply = ReportWork._apply
_add_counts = Counts.add
_insert_events = History.insert


def _keep_name(self: FolderStore, incoming: Incoming, sha256: str) -> None:
    """Keeps an asset's name and size, but not its bytes."""
    _keep(self, incoming, sha256)
    path = self.path(sha256)
    path.write_bytes(bytes(path.stat().st_size))


def _queue_without_limit(self: Window, account_id: int, count_limit: int) -> AccountQueue | None:
    """No account seems to have a limit: admission asks this what one may run."""
    queue = _account_queue(self, account_id, count_limit)
    return None if queue is None else queue._replace(limit=0)


def _insert_twice(self: Contents, contents: Sequence[ContentRow]) -> None:
    _insert_contents(self, contents)
    _insert_contents(self, [row._replace(content_id=row.content_id + 1_000_000) for row in contents])


def _submit_twice(self: Ticks, tx: Tx, firings: Sequence[Any]) -> None:
    for _ in range(2):
        _submit_ticks(self, tx, firings)


def _count_what_does_not_complete(self: Counts, deltas: Mapping[tuple[int, int], int]) -> None:
    _add_counts(self, {(account, kind): n for (account, kind), n in deltas.items() if kind != Status.COMPLETED})


def _insert_without_starts(self: History, rows: Sequence[EventRow]) -> None:
    _insert_events(self, [row for row in rows if row.status != Status.PROCESSING])


def _early_answers(of: type[SubmitItem | ReportItem]) -> AbstractContextManager[object]:
    """A lane acknowledges its submits or reported results before it commits, and the commit then takes its time."""

    def answer_early(
        self: GroupCommitter[Any, Any], tx: Tx, group: list[_Entry[Any, Any]]
    ) -> list[tuple[_Entry[Any, Any], Any]]:
        answers = _work_on(self, tx, group)
        if any(isinstance(entry.item, of) and _matters(entry.item) for entry in group):
            self._resolve(answers)
            time.sleep(60.0)  # whoever tries that kills the process in time
        return answers

    return patch.object(GroupCommitter, "_work_on", answer_early)


def _matters(item: SubmitItem | ReportItem) -> bool:
    return isinstance(item, SubmitItem) or any(isinstance(update.change, AttemptCompleted) for update in item.updates)


def _apply_without_fence(self: ReportWork, tx: Tx, group: Sequence[Item]) -> _Applied:
    """A report moves the task that it names, under whatever lease that has by now."""
    refs = {update.ref for item in group if isinstance(item, ReportItem) for update in item.updates if update.ref}
    live = tx.leases.lock(sorted({ref.task_key for ref in refs})) if refs else {}
    applied = _apply(self, tx, [_renamed(item, live) if isinstance(item, ReportItem) else item for item in group])
    return applied._replace(outcomes={ref: applied.outcomes[_present(ref, live)] for ref in refs})


def _renamed(item: ReportItem, live: Mapping[int, LiveLease]) -> ReportItem:
    updates = [update._replace(ref=update.ref and _present(update.ref, live)) for update in item.updates]
    return replace(item, updates=tuple(updates))


def _present(ref: LeaseRef, live: Mapping[int, LiveLease]) -> LeaseRef:
    return live[ref.task_key].ref if ref.task_key in live else ref


MUTANTS: Mapping[str, Sequence[AbstractContextManager[object]]] = {
    "asset_without_its_bytes": [patch.object(FolderStore, "keep", _keep_name)],
    "cap_ignored": [patch.object(Window, "account_queue", _queue_without_limit)],
    "doubled_content": [patch.object(Contents, "insert", _insert_twice)],
    "doubled_tick": [patch.object(Ticks, "_submit", _submit_twice)],
    "fence_off": [patch.object(ReportWork, "_apply", _apply_without_fence)],
    "refusal_ignored": [patch.object(Response, "delivered", True)],  # each answer of a receiver is a success
    "reports_acknowledged_early": [_early_answers(ReportItem)],
    "submits_acknowledged_early": [_early_answers(SubmitItem)],
    "uncounted_completion": [patch.object(Counts, "add", _count_what_does_not_complete)],
    "unrecorded_start": [patch.object(History, "insert", _insert_without_starts)],
    "waits_for_locks": [  # for as long as somebody holds them
        patch.object(Timeouts, "sql", lambda _: "SET lock_timeout = 0; SET statement_timeout = 0;"),
        patch.object(statements, "set_local_lock_timeout", lambda _: "SET LOCAL lock_timeout = 0"),
    ],
}

if __name__ == "__main__":
    with ExitStack() as mutations:
        for mutation in MUTANTS[sys.argv.pop()]:
            mutations.enter_context(mutation)
        main()
