"""The rows of an imported task, and the history that leads to its state."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from scheduler_svc.application.imports.contents import content_row
from scheduler_svc.application.imports.rows import ImportedContentRow, ImportedTaskRow
from scheduler_svc.application.leases.resolve_attempts import error_json
from scheduler_svc.application.records import LabelRow, PayloadRow
from scheduler_svc.application.tasks.ledger import Ledger
from scheduler_svc.domain import imports
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.imports import ImportedContent, ImportedTask
from scheduler_svc.domain.lease import LeaseEnd
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import DEFAULT_TIMEOUT

REASON = "IMPORTED"
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
        ledger.enqueue(one.key, one.account_id, one.task.priority, one.attempt + 1, _TIMEOUT_MS)


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


def task_row(one: PlacedTask) -> ImportedTaskRow:
    task = one.task
    ended = LeaseEnd.COMPLETED if task.status is Status.COMPLETED else LeaseEnd.FAILED if one.attempt else LeaseEnd.NONE
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
        content_id=one.content_id or None,
        error=error_json(task.error),
    )


def payload_row(one: PlacedTask) -> PayloadRow:
    return PayloadRow(one.key, one.task.brief, _labels(one))


def label_rows(one: PlacedTask) -> Iterator[LabelRow]:
    return (LabelRow(name, value, one.key) for name, value in _labels(one).items())


def _labels(one: PlacedTask) -> dict[str, str]:
    old_content_id = one.content.old_id if one.content else one.task.old_content_id
    labels = {imports.OLD_TASK_ID: one.task.old_task_id}
    return labels | ({imports.OLD_CONTENT_ID: str(old_content_id)} if old_content_id else {})


def content_rows(one: PlacedTask) -> Iterator[ImportedContentRow]:
    """Of a completed task, with the fields that only its result has."""
    if one.content is not None:
        create_time = one.content.create_time or one.task.end_time or one.create_time
        row = content_row(one.content, one.content_id, one.account_id, one.key, create_time)
        html = imports.html_beside(one.content.body, one.task.result.html_body)
        yield row._replace(html_body=html, quality_score=one.task.result.quality_score)
