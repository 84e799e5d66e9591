"""Imports a page of tasks with the contents of completed ones.

A task that had not ended is enqueued like a submit, by the same ledger, with signals to the schedulers. One that had
ended gets the history that leads to its state.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from old_application import rules
from old_application.contents import content_row, past_key
from old_application.old_rows import LeftOut, OldRow, RowKind
from old_application.rules import ImportedContent, ImportedTask
from old_application.source import ImportSource, LeftOutRow, Row, StoreResult, readable
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import LeaseEnd
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import DEFAULT_TIMEOUT, PayloadRow
from scheduler_svc.history.work import Ledger, ReadyRow
from scheduler_svc.leases.attempts import error_json
from scheduler_svc.tasks.rows import LabelRow
from scheduler_svc.tasks.submit_checks import TaskKeys

if TYPE_CHECKING:
    from old_application.sql import Imports


REASON = "IMPORTED"
_FENCE_BITS = 31
_ENDED_BY_AN_ATTEMPT = (Status.COMPLETED, Status.FAILED, Status.TIMEOUT)
_TIMEOUT_MS = round(DEFAULT_TIMEOUT.total_seconds() * 1000)


class PlacedTask(NamedTuple):
    """A task with its new key and ids. `attempt` counts ended attempts; `fence` None: there are none."""

    task: ImportedTask
    key: int
    account_id: int
    attempt: int
    fence: int | None
    create_time: datetime
    content: ImportedContent | None
    content_id: int


def record(ledger: Ledger, one: PlacedTask) -> None:
    """Records the task's history as of now, with the old times as messages, and enqueues a pending task."""
    ref = None if one.fence is None else LeaseRef(one.key, one.attempt, one.fence)
    for source, target, time in _path(one.task, one.create_time):
        of_lease = ref if target not in (Status.PENDING, Status.CANCELLED) else None
        message = f"{time.isoformat()} in the old application" if time else "in the old application"
        ledger.move(one.key, one.account_id, source, target, REASON, message=message, ref=of_lease)
    if one.task.status is Status.PENDING:
        ledger.enqueue(ReadyRow(one.key, one.task.priority, None, one.account_id, one.attempt + 1, _TIMEOUT_MS))


def _path(task: ImportedTask, create_time: datetime) -> Iterator[tuple[Status, Status, datetime | None]]:
    yield Status.NONE, Status.PENDING, create_time
    if task.status is Status.CANCELLED:
        yield Status.PENDING, Status.CANCELLED, task.end_time
    elif task.status is not Status.PENDING:
        yield Status.PENDING, Status.SUBMITTED, task.submit_time
        last = Status.SUBMITTED
        if task.start_time or task.status is Status.COMPLETED:
            yield last, Status.PROCESSING, task.start_time
            last = Status.PROCESSING
        yield last, task.status, task.end_time


def task_row(one: PlacedTask) -> Row:
    task = one.task
    ended = LeaseEnd.COMPLETED if task.status is Status.COMPLETED else LeaseEnd.FAILED if one.attempt else LeaseEnd.NONE
    return Row(
        task_key=one.key,
        account_id=one.account_id,
        status=task.status.value,
        priority=task.priority,
        auto_approve=task.auto_approve,
        auto_retry=True,
        max_retries=task.max_retries,
        retry_count=task.retry_count,
        timeout_ms=_TIMEOUT_MS,
        create_time=one.create_time,
        attempt=one.attempt,
        fence=one.fence,
        lease_end=ended.value,
        submit_time=task.submit_time,
        start_time=task.start_time,
        end_time=None if task.status is Status.PENDING else task.end_time or one.create_time,
        content_id=one.content_id or None,
        error=error_json(task.error),
    )


def _labels(placed_task: PlacedTask) -> dict[str, str]:
    old_content_id = placed_task.content.old_id if placed_task.content else placed_task.task.old_content_id
    labels = {rules.OLD_TASK_ID: placed_task.task.old_task_id}
    return labels | ({rules.OLD_CONTENT_ID: str(old_content_id)} if old_content_id else {})


def _content_row(placed_task: PlacedTask, content: ImportedContent) -> Row:
    """Returns the row of a completed task's content, with the fields that only the task's result has."""
    create_time = content.create_time or placed_task.task.end_time or placed_task.create_time
    row = content_row(content, placed_task.content_id, placed_task.account_id, placed_task.key, create_time)
    html = rules.html_beside(content.body, placed_task.task.result.html_body)
    return row | {"html_body": html, "quality_score": placed_task.task.result.quality_score}


class Planned(NamedTuple):
    """A task, and its content if it is completed."""

    task: ImportedTask
    content: ImportedContent | None

    @property
    def old_content_id(self) -> int | None:
        """The id of its content's row; None if it has no content, or one made of its result."""
        return self.content.old_id if self.content else None


def plan_tasks(source: ImportSource, ids: Sequence[int]) -> tuple[list[Planned], list[LeftOutRow]]:
    tasks, left_out = readable(source.old.rows(RowKind.TASK, ids), rules.task)
    contents = _contents(source, [task for task in tasks if task.status is Status.COMPLETED])
    planned: list[Planned] = []
    for task in tasks:
        content = contents.get(task.old_id)
        if isinstance(content, LeftOut):
            left_out.append(LeftOutRow(task.old_id, content.reason))
        else:
            planned.append(Planned(task, content))
    return planned, left_out


def _contents(source: ImportSource, completed: Sequence[ImportedTask]) -> dict[int, ImportedContent | LeftOut]:
    """Returns the content of each task, or why it has none: by the task's column, else by the content's."""
    rows = source.old.rows(RowKind.CONTENT, {task.old_content_id for task in completed if task.old_content_id})
    by_id = {row.key: row for row in rows}
    unnamed = [task for task in completed if task.old_content_id not in by_id]
    by_task = {
        row.text("generation_task_id"): row for row in source.old.contents_of(task.old_task_id for task in unnamed)
    }
    of_task = {task.old_id: by_id.get(task.old_content_id or 0) or by_task.get(task.old_task_id) for task in completed}
    pooled = source.old.in_pool({row.key for row in of_task.values() if row is not None})
    return {task.old_id: _content(task, of_task[task.old_id], pooled) for task in completed}


def _content(task: ImportedTask, row: OldRow | None, pooled: Collection[int]) -> ImportedContent | LeftOut:
    if row is not None:
        try:
            return rules.content(row, in_pool=row.key in pooled)
        except LeftOut as error:
            return LeftOut(f"its content {row.key}: {error.reason}")
    try:
        return rules.content_of_result(task)
    except LeftOut:
        problem = f"content {task.old_content_id} is not there" if task.old_content_id else "it has no content"
        return LeftOut(f"it is completed, but {problem}, and its result has no text")


def store_tasks(imports: Imports, source: ImportSource, planned: Sequence[Planned], *, keys: TaskKeys) -> StoreResult:
    accounts = imports.known(source.source_id, RowKind.ACCOUNT, {plan.task.old_account_id for plan in planned})
    content_ids = {plan.old_content_id for plan in planned if plan.old_content_id is not None}
    gone: set[int | None] = set(imports.known(source.source_id, RowKind.CONTENT, content_ids))
    left_out: list[LeftOutRow] = []
    fitting: list[Planned] = []
    for plan in planned:
        if plan.task.old_account_id not in accounts:
            left_out.append(LeftOutRow(plan.task.old_id, f"its account {plan.task.old_account_id} is not there"))
        elif plan.old_content_id in gone:
            left_out.append(LeftOutRow(plan.task.old_id, f"its content {plan.old_content_id} has been taken already"))
        else:
            fitting.append(plan)
            gone |= {plan.old_content_id} - {None}
    placed = [] if source.dry_run else _place(imports, keys, fitting, accounts)
    _insert(imports, placed)
    return StoreResult(left_out, _remember(imports, source, fitting, placed))


def _place(
    imports: Imports, keys: TaskKeys, fitting: Sequence[Planned], accounts: Mapping[int, int]
) -> list[PlacedTask]:
    """Gives each task its key and ids, the oldest first: that is the order in which they are served."""
    now = imports.tx.now
    numbers = keys.numbers(imports.tx, len(fitting))
    content_ids = iter(imports.next_content_ids(sum(plan.content is not None for plan in fitting)))
    placed = []
    for (task, content), number in zip(fitting, numbers, strict=True):
        create_time = min(task.create_time or now, now)
        attempt = task.retry_count + (task.status in _ENDED_BY_AN_ATTEMPT)
        placed.append(
            PlacedTask(
                task,
                key=past_key(create_time, number),
                account_id=accounts[task.old_account_id],
                attempt=attempt,
                fence=random.getrandbits(_FENCE_BITS) if attempt else None,
                create_time=create_time,
                content=content,
                content_id=next(content_ids) if content else 0,
            )
        )
    return sorted(placed, key=lambda placed_task: placed_task.key)


def _insert(imports: Imports, placed: Sequence[PlacedTask]) -> None:
    ledger = Ledger(imports.tx, rolls_up=False)
    for placed_task in placed:
        record(ledger, placed_task)
    ledger.write()
    imports.insert_tasks([task_row(placed_task) for placed_task in placed])
    labels = [(placed_task, _labels(placed_task)) for placed_task in placed]
    imports.tx.tasks.insert(
        [],
        [PayloadRow(placed_task.key, placed_task.task.brief, own) for placed_task, own in labels],
        [LabelRow(name, value, placed_task.key) for placed_task, own in labels for name, value in own.items()],
    )
    contents = [_content_row(placed_task, placed_task.content) for placed_task in placed if placed_task.content]
    imports.insert_contents(contents)


def _remember(imports: Imports, source: ImportSource, fitting: Sequence[Planned], placed: Sequence[PlacedTask]) -> int:
    """Returns how many contents came along. In a dry run nothing is placed, and there are no new ids."""
    new_ids = {placed_task.task.old_id: (placed_task.key, placed_task.content_id) for placed_task in placed}
    tasks, contents = {}, {}
    for plan in fitting:
        tasks[plan.task.old_id], content_id = new_ids.get(plan.task.old_id, (0, 0))
        if plan.old_content_id is not None:
            contents[plan.old_content_id] = content_id
    imports.remember(source.source_id, RowKind.TASK, tasks)
    imports.remember(source.source_id, RowKind.CONTENT, contents)
    return len(contents)
