"""UpdateTask.

The task leaves its queue and comes back in one transaction, even if only its texts change. A claim reads rows as of its
start: it must find the old row gone, or it would grant the old brief after this has committed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from scheduler_svc.application.leases.resolve_attempts import Inconsistent
from scheduler_svc.application.records import DequeuedTask
from scheduler_svc.application.tasks.ledger import BACKOFF, BARRED, SCHEDULED, Ledger
from scheduler_svc.application.tasks.query import get_task
from scheduler_svc.domain.brief import MAX_PROMPT_BYTES
from scheduler_svc.domain.errors import FieldViolation, InvalidArgument, InvalidState
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import UPDATED, Task, TaskEdit

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx

_READY = 0
"""The cause of what waits for a worker, beside those of the ledger."""


def update_task(tx: Tx, task_key: int, edit: TaskEdit) -> Task:
    """Changes a pending task. Raises NotFound, InvalidState if it is not pending, and InvalidArgument."""
    lease = tx.leases.lock([task_key]).get(task_key)
    held = lease is not None and not lease.revoked
    waiting = None if held else tx.waiting.remove([task_key]).get(task_key)
    before = get_task(tx, task_key)
    if waiting is None:
        raise InvalidState.of_task(before.task_id, "updated", before.status, [Status.PENDING])
    after = edit.of(before)
    _check(tx, edit, after)
    if not tx.tasks.update(after):
        raise Inconsistent(f"{format_task_id(task_key)} was in a queue, but is not pending")
    if edit.texts or "labels" in edit.fields:
        tx.tasks.update_payload(before, after)
    _requeue(tx, edit, after, waiting)
    return tx.task_reads.get([task_key])[task_key]


def _check(tx: Tx, edit: TaskEdit, after: Task) -> None:
    """Raises InvalidArgument for what only the stored task, its account and the time decide."""
    bad = []
    most = tx.accounts.require(after.account_id).max_priority if "priority" in edit.fields else 0
    if 0 < most < after.priority:
        text = f"must be at most {most}, the max_priority of account {after.account_id}, is {after.priority}"
        bad.append(FieldViolation("task.priority", text))
    if after.max_retries < after.retry_count:
        text = f"must be at least {after.retry_count}, the retries that are used, is {after.max_retries}"
        bad.append(FieldViolation("task.max_retries", text))
    expires = after.expire_time
    if expires and "expire_time" in edit.fields and expires <= tx.now:
        bad.append(FieldViolation("task.expire_time", "must be in the future"))
    if expires and after.schedule_time and expires <= after.schedule_time:
        if "expire_time" in edit.fields:
            bad.append(FieldViolation("task.expire_time", "must be after schedule_time"))
        elif "schedule_time" in edit.fields:
            bad.append(FieldViolation("task.schedule_time", "must be before expire_time"))
    if edit.texts and (held := after.brief.prompt_bytes) > MAX_PROMPT_BYTES:
        text = f"must have at most {MAX_PROMPT_BYTES:,} bytes of UTF-8 together with topic, has {held:,}"
        bad.append(FieldViolation("task.requirements", text))
    if bad:
        raise InvalidArgument(bad)


def _requeue(tx: Tx, edit: TaskEdit, after: Task, waiting: DequeuedTask) -> None:
    """Puts the task back where it waited, or where its new schedule and priority put it, with the event."""
    key, account_id, source = after.task_key, after.account_id, Status.PENDING
    ledger = Ledger(tx)
    ledger.dequeued(waiting)
    names = ", ".join(edit.names)
    ledger.move(key, account_id, source, source, UPDATED, message=names, retry_count=after.retry_count)
    cause, until = _wait(tx, edit, after, waiting)
    stays = after.priority == waiting.priority and cause == waiting.cause
    tag = waiting.tag if stays else None
    expires = tx.tasks.lock([key])[key].expire_time
    place = (key, account_id, after.priority, waiting.attempt, after.timeout // timedelta(milliseconds=1))
    if until is None:
        ledger.enqueue(*place, tag=tag, expire_time=expires)
    else:
        ledger.delay(*place, until=until, cause=cause, tag=tag, expire_time=expires)
    ledger.write()
    if until is None and waiting.ready_time is not None:
        tx.waiting.keep_ready_time(key, waiting.ready_time)


def _wait(tx: Tx, edit: TaskEdit, after: Task, waiting: DequeuedTask) -> tuple[int, datetime | None]:
    """Returns what the task waits for from now on, and until when; without a time it is ready."""
    if "schedule_time" not in edit.fields:
        return waiting.cause, waiting.due_time
    scheduled = after.schedule_time
    retries = waiting.cause in (BACKOFF, BARRED)
    if scheduled is not None and scheduled > max(tx.now, waiting.due_time if retries and waiting.due_time else tx.now):
        return SCHEDULED, scheduled
    if retries:
        return waiting.cause, waiting.due_time
    if waiting.cause == SCHEDULED and tx.leases.lock([after.task_key]):
        return BARRED, tx.now
    return _READY, None
