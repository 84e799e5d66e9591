"""What changes a task, or a batch of them: cancel, retry, update, expiry.

A task that is updated leaves its queue and comes back in one transaction, even if only its texts change. A claim reads
rows as of its start: it must find the old row gone, or it would grant the old brief after this has committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from scheduler_svc.dispatch.routing import queues_of_ended
from scheduler_svc.domain.dispatch import priority_of
from scheduler_svc.domain.errors import (
    FieldViolation,
    InvalidArgument,
    InvalidState,
    RetriesExhausted,
    UniqueKeyInUse,
    existing,
)
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.domain.lease import LeaseEnd
from scheduler_svc.domain.lifecycle import CANCELLED_BY_CLIENT, EXPIRED, RETRY_TASK, RETRYABLE, RUNNING, Move, Status
from scheduler_svc.domain.resolution import Cause
from scheduler_svc.domain.task import (
    BACKOFF,
    BARRED,
    MAX_PROMPT_BYTES,
    SCHEDULED,
    UPDATED,
    Task,
    TaskEdit,
    TaskError,
    TaskFilter,
)
from scheduler_svc.history.work import DequeuedTask, Ledger, ReadyRow
from scheduler_svc.leases.attempts import EndedLease, end_attempts, error_json
from scheduler_svc.leases.rows import Inconsistent, LiveLease, TaskRow
from scheduler_svc.runtime.loops import DueRound
from scheduler_svc.tasks.query import get_task
from scheduler_svc.tasks.rows import BatchResult
from scheduler_svc.tasks.submit import retake_keys

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


_CANCELLED = TaskError(CANCELLED_BY_CLIENT, "cancelled by a client")


def cancel_task(tx: Tx, task_key: int, force: bool) -> Task:
    """Cancels a pending task; with `force` also a running one, whose worker gets an order to stop it.

    Raises NotFound, and InvalidState if the task has ended, or runs and `force` is off.
    """
    subject = f"task {format_task_id(task_key)}"
    lease = tx.leases.lock([task_key]).get(task_key)
    if lease is None or lease.revoked:
        waiting = tx.waiting.remove([task_key]).get(task_key)
        if waiting is not None:
            _cancel(tx, [waiting], [])
            return tx.task_reads.get([task_key])[task_key]
        lease = tx.leases.lock([task_key]).get(task_key)  # it may have been claimed meanwhile
    if lease is None or lease.revoked:
        open_states = [Status.PENDING, *sorted(RUNNING)]
        raise InvalidState.of(subject, "cancelled", get_task(tx, task_key).status, open_states)
    if not force:
        raise InvalidState.of(subject, "cancelled without force", lease.status, [Status.PENDING])
    _cancel(tx, [], [lease])
    return tx.task_reads.get([task_key])[task_key]


def cancel_batch(tx: Tx, wanted: TaskFilter, after: int, limit: int, *, skip_locked: bool = False) -> BatchResult:
    """Cancels up to `limit` tasks with keys above `after`, oldest first; all states of the filter are open.

    A task that leaves those states meanwhile is left out, and with `skip_locked` one that another session has locked.
    """
    matches = tx.task_reads.find(wanted, after, limit)
    keys = sorted(tx.tasks.lock(matches.keys, skip_locked=True)) if skip_locked else matches.keys
    locked = tx.leases.lock(keys, skip_locked=skip_locked) if keys and wanted.statuses & RUNNING else {}
    live = {key: lease for key, lease in locked.items() if not lease.revoked}
    leases = {key: lease for key, lease in live.items() if lease.status in wanted.statuses}
    rest = [key for key in keys if key not in live] if Status.PENDING in wanted.statuses else []
    waiting = tx.waiting.remove(rest, skip_locked=skip_locked) if rest else {}
    _cancel(tx, list(waiting.values()), list(leases.values()))
    return BatchResult(len(matches.keys), len(waiting) + len(leases), matches.last)


def cancel_waiting(tx: Tx, ledger: Ledger, waiting: Sequence[DequeuedTask], error: TaskError) -> None:
    """Cancels tasks that the transaction has taken out of their queues."""
    for task in waiting:
        ledger.dequeued(task)
        ledger.move(task.task_key, task.account_id, Status.PENDING, Status.CANCELLED, error.reason)
    keys = sorted(task.task_key for task in waiting)
    if keys and tx.tasks.cancel_waiting(keys, error_json(error) or "") != len(keys):
        raise Inconsistent(f"of {len(keys)} tasks that were in a queue, some are not pending")
    tx.signals.ended += keys


def _cancel(tx: Tx, waiting: Sequence[DequeuedTask], leases: Sequence[LiveLease]) -> None:
    """Cancels tasks that the transaction has taken out of their queues, and those of leases that it has locked."""
    ledger = Ledger(tx)
    cancel_waiting(tx, ledger, waiting, _CANCELLED)
    cause = Cause(Move.CANCEL_BY_FORCE, LeaseEnd.REVOKED, CANCELLED_BY_CLIENT, _CANCELLED)
    end_attempts(tx, ledger, [EndedLease(lease, cause, revoke=True) for lease in leases], max_losses=1)
    ledger.write()
    tx.signals.cancelled += [(lease.worker_id, lease.ref.lease_id, CANCELLED_BY_CLIENT) for lease in leases]


def retry_task(tx: Tx, task_key: int, reset_retry_count: bool) -> Task:
    """Returns a failed or timed out task to pending, or ends the wait before its automatic retry.

    Raises NotFound, InvalidState, UniqueKeyInUse, and RetriesExhausted unless `reset_retry_count`.
    """
    waiting = tx.waiting.remove([task_key]).get(task_key)
    if waiting is not None:
        _end_wait(tx, waiting)
    else:
        task = existing(tx.tasks.lock([task_key]).get(task_key), "task", format_task_id(task_key))
        _retry_ended(tx, task, reset_retry_count)
    return tx.task_reads.get([task_key])[task_key]


def _end_wait(tx: Tx, waiting: DequeuedTask) -> None:
    if waiting.cause != BACKOFF:
        subject = f"task {format_task_id(waiting.task_key)}"
        raise InvalidState.of(subject, "retried", Status.PENDING, sorted(RETRYABLE))
    ledger = Ledger(tx)
    until = _behind_leases(tx, [waiting.task_key]).get(waiting.task_key)
    ledger.enqueue(waiting.place, until=until, cause=BARRED, expire_time=waiting.expire_time)
    ledger.write()


def _retry_ended(tx: Tx, task: TaskRow, reset: bool) -> None:
    task_id = format_task_id(task.task_key)
    if task.status not in RETRYABLE:
        status = get_task(tx, task.task_key).status
        raise InvalidState.of(f"task {task_id}", "retried", status, sorted(RETRYABLE))
    if task.retry_count >= task.max_retries and not reset:
        raise RetriesExhausted(task_id, task.max_retries)
    if holder := retake_keys(tx, [task.task_key]).get(task.task_key):
        raise UniqueKeyInUse(task_id, format_task_id(holder))
    count = _next_count(task, reset)
    if not tx.tasks.retry(task.task_key, task.status, count):
        raise Inconsistent(f"{task_id} was locked, but changed")
    queues = _queues(tx, [task])
    ledger = Ledger(tx)
    _requeue(ledger, task, count, _behind_leases(tx, [task.task_key]), queues)
    ledger.write()


def _next_count(task: TaskRow, reset: bool) -> int:
    return min((0 if reset else task.retry_count) + 1, task.max_retries)


def retry_batch(tx: Tx, wanted: TaskFilter, after: int, limit: int, reset: bool = False) -> BatchResult:
    """Retries up to `limit` failed and timed out tasks with keys above `after`, oldest first.

    Tasks that another transaction has locked are skipped.
    """
    matches = tx.task_reads.find(wanted, after, limit)
    tasks = tx.ended.lock_retryable(matches.keys, reset) if matches.keys else []
    if tasks:
        held = retake_keys(tx, [task.task_key for task in tasks])
        tasks = [task for task in tasks if task.task_key not in held]
    if tasks:
        retried = [task.task_key for task in tasks]
        if tx.ended.retry(retried, reset) != len(tasks):
            raise Inconsistent(f"{len(tasks)} tasks were locked, but some changed")
        barred, queues = _behind_leases(tx, retried), _queues(tx, tasks)
        ledger = Ledger(tx)
        for task in tasks:
            _requeue(ledger, task, _next_count(task, reset), barred, queues)
        ledger.write()
    return BatchResult(len(matches.keys), len(tasks), matches.last)


def _queues(tx: Tx, tasks: Iterable[TaskRow]) -> Mapping[int, int]:
    return queues_of_ended(tx, {task.task_key: (task.account_id, task.priority) for task in tasks})


def _requeue(
    ledger: Ledger, task: TaskRow, count: int, barred: Mapping[int, datetime], queues: Mapping[int, int]
) -> None:
    message = f"retry {count} of {task.max_retries}"
    ledger.move(
        task.task_key, task.account_id, task.status, Status.PENDING, RETRY_TASK, message=message, retry_count=count
    )
    place = ReadyRow(task.task_key, queues[task.task_key], None, task.account_id, task.attempt + 1, task.timeout_ms)
    ledger.enqueue(place, until=barred.get(task.task_key), cause=BARRED)


def _behind_leases(tx: Tx, keys: Sequence[int]) -> dict[int, datetime]:
    """Returns the tasks that a revoked lease bars until it is gone, and the time from which on they may be claimed."""
    leases = tx.leases.lock(keys)
    return dict.fromkeys(leases, tx.now) if leases else {}


_READY = 0
"""The cause of what waits for a worker, beside those of the ledger."""


def update_task(tx: Tx, task_key: int, edit: TaskEdit) -> tuple[Task, Task]:
    """Returns a task before and after the change. Raises NotFound, InvalidState unless pending, and InvalidArgument."""
    lease = tx.leases.lock([task_key]).get(task_key)
    held = lease is not None and not lease.revoked
    waiting = None if held else tx.waiting.remove([task_key]).get(task_key)
    before = get_task(tx, task_key)
    if waiting is None:
        raise InvalidState.of(f"task {before.task_id}", "updated", before.status, [Status.PENDING])
    after = edit.of(before)
    _check(tx, edit, after)
    if not tx.tasks.update(after):
        raise Inconsistent(f"{format_task_id(task_key)} was in a queue, but is not pending")
    if edit.texts or "labels" in edit.fields:
        tx.tasks.update_payload(before, after)
    _requeue_updated(tx, edit, after, waiting)
    return before, tx.task_reads.get([task_key])[task_key]


def _check(tx: Tx, edit: TaskEdit, after: Task) -> None:
    """Raises InvalidArgument for what only the stored task, its account and the time decide."""
    violations = []
    most = tx.accounts.require(after.account_id).max_priority if "priority" in edit.fields else 0
    if 0 < most < after.priority:
        text = f"must be at most {most}, the max_priority of account {after.account_id}, is {after.priority}"
        violations.append(FieldViolation("task.priority", text))
    if after.max_retries < after.retry_count:
        text = f"must be at least {after.retry_count}, the retries that are used, is {after.max_retries}"
        violations.append(FieldViolation("task.max_retries", text))
    expires = after.expire_time
    if expires and "expire_time" in edit.fields and expires <= tx.now:
        violations.append(FieldViolation("task.expire_time", "must be in the future"))
    if expires and after.schedule_time and expires <= after.schedule_time:
        if "expire_time" in edit.fields:
            violations.append(FieldViolation("task.expire_time", "must be after schedule_time"))
        elif "schedule_time" in edit.fields:
            violations.append(FieldViolation("task.schedule_time", "must be before expire_time"))
    if edit.texts and (held := after.brief.prompt_bytes) > MAX_PROMPT_BYTES:
        text = f"must have at most {MAX_PROMPT_BYTES:,} bytes of UTF-8 together with topic, has {held:,}"
        violations.append(FieldViolation("task.requirements", text))
    if violations:
        raise InvalidArgument(violations)


def _requeue_updated(tx: Tx, edit: TaskEdit, after: Task, waiting: DequeuedTask) -> None:
    """Puts the task back where it waited, or where its new schedule and priority put it, with the event."""
    key, account_id, source = after.task_key, after.account_id, Status.PENDING
    ledger = Ledger(tx)
    ledger.dequeued(waiting)
    names = ", ".join(edit.names)
    ledger.move(key, account_id, source, source, UPDATED, message=names, retry_count=after.retry_count)
    cause, until = _wait(tx, edit, after, waiting)
    queue = waiting.priority - priority_of(waiting.priority) + after.priority
    stays = queue == waiting.priority and cause == waiting.cause
    tag = waiting.tag if stays else None
    expires = tx.tasks.lock([key])[key].expire_time
    timeout_ms = after.timeout // timedelta(milliseconds=1)
    place = ReadyRow(key, queue, tag, account_id, waiting.attempt, timeout_ms)
    ledger.enqueue(place, until=until, cause=cause, expire_time=expires)
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


MAX_BATCH = 500
_EXPIRED = TaskError(EXPIRED, "it was not started by its expire_time")


def expire_tasks(tx: Tx) -> DueRound:
    """Cancels tasks that have expired while they waited. Those that another session has locked are left for later."""
    keys = tx.expiry.expired(MAX_BATCH)
    free = sorted(tx.tasks.lock(sorted(keys), skip_locked=True)) if keys else []
    removed = tx.expiry.remove(free) if free else []
    if removed:
        ledger = Ledger(tx)
        cancel_waiting(tx, ledger, removed, _EXPIRED)
        ledger.write()
    return DueRound(len(removed), tx.expiry.next())
