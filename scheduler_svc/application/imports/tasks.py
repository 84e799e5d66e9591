"""Imports a page of tasks with the contents of completed ones.

A task that had not ended is enqueued like a submit, by the same ledger, with signals to the schedulers. One that had
ended gets the history that leads to its state.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from scheduler_svc.application.imports.contents import read_contents
from scheduler_svc.application.imports.source import ImportSource, LeftOutRow, StoreResult, readable
from scheduler_svc.application.imports.task_rows import (
    PlacedTask,
    content_rows,
    label_rows,
    payload_row,
    record,
    task_row,
)
from scheduler_svc.application.tasks.ledger import Ledger
from scheduler_svc.application.tasks.new_rows import TaskKeys
from scheduler_svc.domain import imports
from scheduler_svc.domain.ids import make_past_key
from scheduler_svc.domain.imports import ImportedContent, ImportedTask
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.old_rows import LeftOut, OldRow, RowKind

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx

_FENCE_BITS = 31


class Planned(NamedTuple):
    """A task, and its content if it is completed."""

    task: ImportedTask
    content: ImportedContent | None

    @property
    def old_content_id(self) -> int | None:
        """The id of its content's row; None if it has no content, or one made of its result."""
        return self.content.old_id if self.content else None


def plan_tasks(source: ImportSource, ids: Sequence[int]) -> tuple[list[Planned], list[LeftOutRow]]:
    tasks, left_out = readable(source.old.rows(RowKind.TASK, ids), imports.task)
    contents = _contents(source, [task for task in tasks if task.status is Status.COMPLETED])
    planned: list[Planned] = []
    for task in tasks:
        found = contents.get(task.old_id)
        if isinstance(found, LeftOut):
            left_out.append(LeftOutRow(task.old_id, found.reason))
        else:
            planned.append(Planned(task, found))
    return planned, left_out


def _contents(source: ImportSource, completed: Sequence[ImportedTask]) -> dict[int, ImportedContent | LeftOut]:
    """Returns the content of each task, or why it has none: by the task's column, else by the content's."""
    rows = source.old.rows(RowKind.CONTENT, {task.old_content_id for task in completed if task.old_content_id})
    by_id = {row.key: row for row in rows}
    unnamed = [task for task in completed if task.old_content_id not in by_id]
    by_task = {row.text("generation_task_id"): row for row in source.old.contents_of(t.old_task_id for t in unnamed)}
    of_task = {task.old_id: by_id.get(task.old_content_id or 0) or by_task.get(task.old_task_id) for task in completed}
    read = read_contents(source, [row for row in of_task.values() if row is not None])
    return {task.old_id: _content(task, of_task[task.old_id], read) for task in completed}


def _content(
    task: ImportedTask, row: OldRow | None, read: Mapping[int, ImportedContent | LeftOut]
) -> ImportedContent | LeftOut:
    if row is not None:
        found = read[row.key]
        return LeftOut(f"its content {row.key}: {found.reason}") if isinstance(found, LeftOut) else found
    try:
        return imports.content_of_result(task)
    except LeftOut:
        named = f"content {task.old_content_id} is not there" if task.old_content_id else "it has no content"
        return LeftOut(f"it is completed, but {named}, and its result has no text")


def store_tasks(tx: Tx, source: ImportSource, planned: Sequence[Planned], *, keys: TaskKeys) -> StoreResult:
    """Stores the tasks that can be stored here; returns the others."""
    accounts = tx.imports.known(source.source_id, RowKind.ACCOUNT, {one.task.old_account_id for one in planned})
    wanted = {one.old_content_id for one in planned if one.old_content_id is not None}
    gone: set[int | None] = set(tx.imports.known(source.source_id, RowKind.CONTENT, wanted))
    left_out: list[LeftOutRow] = []
    fitting: list[Planned] = []
    for one in planned:
        if one.task.old_account_id not in accounts:
            left_out.append(LeftOutRow(one.task.old_id, f"its account {one.task.old_account_id} is not there"))
        elif one.old_content_id in gone:
            left_out.append(LeftOutRow(one.task.old_id, f"its content {one.old_content_id} has been taken already"))
        else:
            fitting.append(one)
            gone |= {one.old_content_id} - {None}
    placed = [] if source.dry_run else _place(tx, keys, fitting, accounts)
    _insert(tx, placed)
    return StoreResult(left_out, _remember(tx, source, fitting, placed))


def _place(tx: Tx, keys: TaskKeys, fitting: Sequence[Planned], accounts: Mapping[int, int]) -> list[PlacedTask]:
    """Gives each task its key and ids, the oldest first: that is the order in which they are served."""
    now = tx.now
    numbers = keys.numbers(tx, len(fitting))
    content_ids = iter(tx.imports.next_content_ids(sum(one.content is not None for one in fitting)))
    placed = []
    for (task, content), number in zip(fitting, numbers, strict=True):
        create_time = min(task.create_time or now, now)
        attempt = task.retry_count + (task.status in _ENDED_BY_AN_ATTEMPT)
        placed.append(
            PlacedTask(
                task,
                key=make_past_key(max(0, round(create_time.timestamp() * 1000)), number),
                account_id=accounts[task.old_account_id],
                attempt=attempt,
                fence=random.getrandbits(_FENCE_BITS) if attempt else None,
                create_time=create_time,
                content=content,
                content_id=next(content_ids) if content else 0,
            )
        )
    return sorted(placed, key=lambda one: one.key)


_ENDED_BY_AN_ATTEMPT = (Status.COMPLETED, Status.FAILED, Status.TIMEOUT)


def _insert(tx: Tx, placed: Sequence[PlacedTask]) -> None:
    ledger = Ledger(tx, rolls_up=False)
    for one in placed:
        record(ledger, one)
    ledger.write()
    tx.imports.insert_tasks([task_row(one) for one in placed])
    tx.tasks.insert([], [payload_row(one) for one in placed], [row for one in placed for row in label_rows(one)])
    tx.imports.insert_contents([row for one in placed for row in content_rows(one)])


def _remember(tx: Tx, source: ImportSource, fitting: Sequence[Planned], placed: Sequence[PlacedTask]) -> int:
    """Returns how many contents came along. In a dry run nothing is placed, and there are no new ids."""
    new = {one.task.old_id: (one.key, one.content_id) for one in placed}
    tasks, contents = {}, {}
    for one in fitting:
        tasks[one.task.old_id], content_id = new.get(one.task.old_id, (0, 0))
        if one.old_content_id is not None:
            contents[one.old_content_id] = content_id
    tx.imports.remember(source.source_id, RowKind.TASK, tasks)
    tx.imports.remember(source.source_id, RowKind.CONTENT, contents)
    return len(contents)
