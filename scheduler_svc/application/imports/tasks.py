"""A page of tasks with the contents of those that are completed. Part of `application.imports`.

A task that had not ended is submitted: it stands where a submit would put it, by the same ledger, and the schedulers
are told. One that had ended gets the history that leads to where it stands.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from scheduler_svc.application.endings import error_json
from scheduler_svc.application.import_ports import ImportedContentRow, ImportedTaskRow
from scheduler_svc.application.imports.contents import content_row, read_contents
from scheduler_svc.application.imports.origin import Missed, Origin, Stored
from scheduler_svc.application.ledger import Ledger
from scheduler_svc.application.ports import Tx
from scheduler_svc.application.records import LabelRow, PayloadRow
from scheduler_svc.application.submit import Keys
from scheduler_svc.domain import imports
from scheduler_svc.domain.ids import LeaseRef, make_past_key
from scheduler_svc.domain.imports import ImportedContent, ImportedTask
from scheduler_svc.domain.lease import End
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.old_rows import Kind, LeftOut, OldRow
from scheduler_svc.domain.task import DEFAULT_TIMEOUT

REASON = "IMPORTED"
_TIMEOUT_MS = round(DEFAULT_TIMEOUT.total_seconds() * 1000)
_FENCE_BITS = 31


class Planned(NamedTuple):
    """A task, and what it completed with."""

    task: ImportedTask
    content: ImportedContent | None


class _Placed(NamedTuple):
    """A task with what it gets here; `fence` None: no attempt of it ended."""

    task: ImportedTask
    key: int
    account_id: int
    attempt: int
    fence: int | None
    create_time: datetime
    content: ImportedContent | None
    content_id: int | None


def plan_tasks(origin: Origin, ids: Sequence[int]) -> tuple[list[Planned], list[Missed]]:
    """What these tasks of the source will be, and those that can't be anything."""
    tasks: list[ImportedTask] = []
    missed: list[Missed] = []
    for row in origin.old.rows(Kind.TASK, ids):
        try:
            tasks.append(imports.task(row))
        except LeftOut as left:
            missed.append(Missed(row.old_id, left.reason))
    contents = _contents(origin, [task for task in tasks if task.status is Status.COMPLETED])
    planned: list[Planned] = []
    for task in tasks:
        found = contents.get(task.old_id)
        if isinstance(found, LeftOut):
            missed.append(Missed(task.old_id, found.reason))
        else:
            planned.append(Planned(task, found))
    return planned, missed


def _contents(origin: Origin, completed: Sequence[ImportedTask]) -> dict[int, ImportedContent | LeftOut]:
    """What each of these tasks completed with, or why it has nothing: by the task's column, else by the content's."""
    rows = origin.old.rows(Kind.CONTENT, {task.old_content_id for task in completed if task.old_content_id})
    by_id = {row.old_id: row for row in rows}
    unnamed = [task for task in completed if task.old_content_id not in by_id]
    by_task = {row.text("generation_task_id"): row for row in origin.old.contents_of(t.old_task_id for t in unnamed)}
    of_task = {task.old_id: by_id.get(task.old_content_id or 0) or by_task.get(task.old_task_id) for task in completed}
    read = read_contents(origin, [row for row in of_task.values() if row is not None])
    return {task.old_id: _content(task, of_task[task.old_id], read) for task in completed}


def _content(
    task: ImportedTask, row: OldRow | None, read: Mapping[int, ImportedContent | LeftOut]
) -> ImportedContent | LeftOut:
    if row is not None:
        found = read[row.old_id]
        return LeftOut(f"its content {row.old_id}: {found.reason}") if isinstance(found, LeftOut) else found
    try:
        return imports.content_of_result(task)
    except LeftOut:
        named = f"content {task.old_content_id} is not there" if task.old_content_id else "it has no content"
        return LeftOut(f"it is completed, but {named}, and its result has no text")


def store_tasks(tx: Tx, origin: Origin, planned: Sequence[Planned], *, keys: Keys) -> Stored:
    """Stores what can be stored here; returns the others."""
    accounts = tx.imports.known(origin.source_id, Kind.ACCOUNT, {task.old_account_id for task, _ in planned})
    missed: list[Missed] = []
    fitting: list[Planned] = []
    gone = _contents_gone(tx, origin, planned)
    for one in planned:
        old_content_id = one.content.old_id if one.content else None
        if one.task.old_account_id not in accounts:
            missed.append(Missed(one.task.old_id, f"its account {one.task.old_account_id} is not there"))
        elif old_content_id is not None and old_content_id in gone:
            missed.append(Missed(one.task.old_id, f"its content {old_content_id} is another task's"))
        else:
            fitting.append(one)
            gone |= {old_content_id} - {None}
    placed = [] if origin.dry_run else _place(tx, keys, fitting, accounts)
    _insert(tx, placed)
    _remember(tx, origin, fitting, placed)
    return Stored(missed, sum(one.content is not None and one.content.old_id is not None for one in fitting))


def _contents_gone(tx: Tx, origin: Origin, planned: Sequence[Planned]) -> set[int | None]:
    wanted = {one.content.old_id for one in planned if one.content and one.content.old_id is not None}
    return set(tx.imports.known(origin.source_id, Kind.CONTENT, wanted))


def _place(tx: Tx, keys: Keys, fitting: Sequence[Planned], accounts: Mapping[int, int]) -> list[_Placed]:
    """Gives each its key and ids, the oldest first: that is the order in which they are served."""
    now = tx.now
    timed = [(min(one.task.create_time or now, now), one) for one in fitting]
    numbers = keys.numbers(tx, len(timed))
    content_ids = iter(tx.imports.next_content_ids(sum(one.content is not None for one in fitting)))
    placed = [
        _Placed(
            one.task,
            make_past_key(max(0, round(create_time.timestamp() * 1000)), number),
            accounts[one.task.old_account_id],
            attempt := _attempts(one.task),
            random.getrandbits(_FENCE_BITS) if attempt else None,
            create_time,
            one.content,
            next(content_ids) if one.content else None,
        )
        for (create_time, one), number in zip(timed, numbers, strict=True)
    ]
    return sorted(placed, key=lambda one: one.key)


def _attempts(task: ImportedTask) -> int:
    """The attempts that have ended: one for each retry and, where the task has ended by one, that one."""
    return task.retry_count + (task.status in (Status.COMPLETED, Status.FAILED, Status.TIMEOUT))


def _insert(tx: Tx, placed: Sequence[_Placed]) -> None:
    ledger = Ledger(tx)
    for one in placed:
        _record(ledger, one)
        if one.task.status is Status.PENDING:
            ledger.enqueue(one.key, one.account_id, one.task.priority, one.attempt + 1, _TIMEOUT_MS)
    ledger.write()
    tx.imports.insert_tasks([_task_row(one) for one in placed])
    tx.tasks.insert([], [_payload_row(one) for one in placed], [row for one in placed for row in _label_rows(one)])
    tx.imports.insert_contents([row for one in placed for row in _content_rows(one)])


def _record(ledger: Ledger, one: _Placed) -> None:
    """The history: recorded now, with the old times as its messages."""
    ref = None if one.fence is None else LeaseRef(one.key, one.attempt, one.fence)
    for source, target, time in _path(one.task, one.create_time):
        of_lease = ref if target not in (Status.PENDING, Status.CANCELLED) else None
        message = f"{time.isoformat()} in the old application" if time else "in the old application"
        ledger.move(one.key, one.account_id, source, target, REASON, message=message, ref=of_lease)


def _path(task: ImportedTask, create_time: datetime) -> Iterator[tuple[Status, Status, datetime | None]]:
    """The moves that lead to where the task stands."""
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


def _task_row(one: _Placed) -> ImportedTaskRow:
    task = one.task
    ended = End.COMPLETED if task.status is Status.COMPLETED else End.FAILED if one.attempt else End.NONE
    return ImportedTaskRow(
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
        content_id=one.content_id,
        error=error_json(task.error),
    )


def _payload_row(one: _Placed) -> PayloadRow:
    task = one.task
    labels = json.dumps(_labels(task))
    return PayloadRow(
        one.key, task.topic, task.keywords, task.category, task.requirements, task.tone, labels, None, None
    )


def _labels(task: ImportedTask) -> dict[str, str]:
    labels = {imports.OLD_TASK_ID: task.old_task_id}
    return labels | ({imports.OLD_CONTENT_ID: str(task.old_content_id)} if task.old_content_id else {})


def _label_rows(one: _Placed) -> Iterator[LabelRow]:
    return (LabelRow(name, value, one.key) for name, value in _labels(one.task).items())


def _content_rows(one: _Placed) -> Iterator[ImportedContentRow]:
    if one.content is not None and one.content_id is not None:
        create_time = one.content.create_time or one.task.end_time or one.create_time
        row = content_row(one.content, one.content_id, one.account_id, one.key, create_time)
        html = imports.html_beside(one.content.body, one.task.result.html_body)
        yield row._replace(html_body=html, quality_score=one.task.result.quality_score)


def _remember(tx: Tx, origin: Origin, fitting: Sequence[Planned], placed: Sequence[_Placed]) -> None:
    """A dry run has no new ids, and remembers that these would have one."""
    tasks = {one.task.old_id: 0 for one in fitting} | {one.task.old_id: one.key for one in placed}
    contents = {one.content.old_id: 0 for one in fitting if one.content and one.content.old_id is not None} | {
        one.content.old_id: one.content_id or 0 for one in placed if one.content and one.content.old_id is not None
    }
    tx.imports.remember(origin.source_id, Kind.TASK, tasks)
    tx.imports.remember(origin.source_id, Kind.CONTENT, contents)
