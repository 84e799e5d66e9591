"""RetryTask, and a batch of BulkRetryTasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from scheduler_svc.application.leases.resolve_attempts import Inconsistent
from scheduler_svc.application.records import BatchResult, DequeuedTask, TaskRow
from scheduler_svc.application.tasks.ledger import BACKOFF, BARRED, Ledger
from scheduler_svc.application.tasks.query import get_task
from scheduler_svc.application.tasks.unique_keys import retake
from scheduler_svc.domain.errors import InvalidState, NotFound, RetriesExhausted, UniqueKeyInUse
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.domain.lifecycle import RETRYABLE, Status
from scheduler_svc.domain.retry import RETRY_TASK
from scheduler_svc.domain.task import Task
from scheduler_svc.domain.task_filter import TaskFilter

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx


def retry_task(tx: Tx, task_key: int, reset_retry_count: bool) -> Task:
    """Returns a failed or timed out task to pending, or ends the wait before its automatic retry.

    Raises NotFound, InvalidState, UniqueKeyInUse, and RetriesExhausted unless `reset_retry_count`.
    """
    waiting = tx.waiting.remove([task_key]).get(task_key)
    if waiting is not None:
        _end_wait(tx, waiting)
    else:
        task = tx.tasks.lock([task_key]).get(task_key)
        if task is None:
            raise NotFound("task", format_task_id(task_key))
        _retry_ended(tx, task, reset_retry_count)
    return tx.task_reads.get([task_key])[task_key]


def _end_wait(tx: Tx, waiting: DequeuedTask) -> None:
    if waiting.cause != BACKOFF:
        task_id = format_task_id(waiting.task_key)
        raise InvalidState.of_task(task_id, "retried", Status.PENDING, sorted(RETRYABLE))
    ledger = Ledger(tx)
    _enqueue(ledger, waiting, _behind_leases(tx, [waiting.task_key]))
    ledger.write()


def _retry_ended(tx: Tx, task: TaskRow, reset: bool) -> None:
    task_id = format_task_id(task.task_key)
    if task.status not in RETRYABLE:
        raise InvalidState.of_task(task_id, "retried", get_task(tx, task.task_key).status, sorted(RETRYABLE))
    if task.retry_count >= task.max_retries and not reset:
        raise RetriesExhausted(task_id, task.max_retries)
    if holder := retake(tx, [task.task_key]).get(task.task_key):
        raise UniqueKeyInUse(task_id, format_task_id(holder))
    count = _next_count(task, reset)
    if not tx.tasks.retry(task.task_key, task.status, count):
        raise Inconsistent(f"{task_id} was locked, but changed")
    ledger = Ledger(tx)
    _requeue(ledger, task, count, _behind_leases(tx, [task.task_key]))
    ledger.write()


def _next_count(task: TaskRow, reset: bool) -> int:
    return min((0 if reset else task.retry_count) + 1, task.max_retries)


def retry_batch(tx: Tx, wanted: TaskFilter, after: int, limit: int, reset: bool = False) -> BatchResult:
    """Retries up to `limit` failed and timed out tasks with keys above `after`, oldest first.

    Tasks that another transaction has locked are skipped.
    """
    found = tx.task_reads.find(wanted, after, limit)
    tasks = tx.ended.lock_retryable(found.keys, reset) if found.keys else []
    if tasks:
        held = retake(tx, [task.task_key for task in tasks])
        tasks = [task for task in tasks if task.task_key not in held]
    if tasks:
        retried = [task.task_key for task in tasks]
        if tx.ended.retry(retried, reset) != len(tasks):
            raise Inconsistent(f"{len(tasks)} tasks were locked, but some changed")
        barred = _behind_leases(tx, retried)
        ledger = Ledger(tx)
        for task in tasks:
            _requeue(ledger, task, _next_count(task, reset), barred)
        ledger.write()
    return BatchResult(len(found.keys), len(tasks), found.last)


def _requeue(ledger: Ledger, task: TaskRow, count: int, barred: Mapping[int, datetime]) -> None:
    message = f"retry {count} of {task.max_retries}"
    ledger.move(
        task.task_key, task.account_id, task.status, Status.PENDING, RETRY_TASK, message=message, retry_count=count
    )
    _enqueue(ledger, _as_waiting(task), barred)


def _as_waiting(task: TaskRow) -> DequeuedTask:
    return DequeuedTask(task.task_key, task.priority, None, task.account_id, task.attempt + 1, task.timeout_ms, 0)


def _behind_leases(tx: Tx, keys: Sequence[int]) -> dict[int, datetime]:
    """Returns the tasks that a revoked lease bars, and the time from which on they may be claimed."""
    leases = tx.leases.lock(keys)
    return dict.fromkeys(leases, tx.now) if leases else {}


def _enqueue(ledger: Ledger, waiting: DequeuedTask, barred: Mapping[int, datetime]) -> None:
    """Makes the task ready, or delays it until its revoked lease is gone."""
    key, priority, tag, account_id, attempt, timeout_ms, *_ = waiting
    place, expires = (key, account_id, priority, attempt, timeout_ms), waiting.expire_time
    if key in barred:
        ledger.delay(*place, until=barred[key], cause=BARRED, tag=tag, expire_time=expires)
    else:
        ledger.enqueue(*place, tag=tag, expire_time=expires)
