"""What clients do to tasks: cancel and retry."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from scheduler_svc.application.leases.resolve_attempts import EndedLease, Inconsistent, end_attempts, error_json
from scheduler_svc.application.ports import Tx
from scheduler_svc.application.records import Batch, LiveLease, TaskRow, Waiting
from scheduler_svc.application.tasks.ledger import BACKOFF, BARRED, Ledger
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.errors import InvalidState, NotFound, RetriesExhausted
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.domain.lease import End
from scheduler_svc.domain.lifecycle import RETRYABLE, RUNNING, Move, Status
from scheduler_svc.domain.resolution import Cause
from scheduler_svc.domain.retry import CANCELLED_BY_CLIENT, RETRY_TASK
from scheduler_svc.domain.task import Task, TaskError

BATCH = 500
"""Tasks that one transaction of a bulk call looks at."""

_CANCELLED = TaskError(CANCELLED_BY_CLIENT, "cancelled by a client")


def cancel_task(tx: Tx, task_key: int, force: bool) -> Task:
    """Cancels a pending task, with `force` also a running one, whose worker is then told to stop.

    Raises NotFound, and InvalidState where it has ended, or runs and `force` is off.
    """
    task_id = format_task_id(task_key)
    lease = tx.leases.lock([task_key]).get(task_key)
    if lease is None or lease.revoked:
        waiting = tx.waiting.remove([task_key]).get(task_key)
        if waiting is not None:
            _cancel_waiting(tx, waiting)
            return tx.task_reads.get([task_key])[task_key]
        lease = tx.leases.lock([task_key]).get(task_key)  # a claim may have been quicker
    if lease is None or lease.revoked:
        raise InvalidState.of_task(task_id, "cancelled", _status(tx, task_key), [Status.PENDING, *sorted(RUNNING)])
    if not force:
        raise InvalidState.of_task(task_id, "cancelled without force", lease.status, [Status.PENDING])
    _cancel_running(tx, lease)
    return tx.task_reads.get([task_key])[task_key]


def _status(tx: Tx, task_key: int) -> Status:
    task = tx.task_reads.get([task_key]).get(task_key)
    if task is None:
        raise NotFound("task", format_task_id(task_key))
    return task.status


def _cancel_waiting(tx: Tx, waiting: Waiting) -> None:
    ledger = Ledger(tx)
    ledger.taken_out(waiting)
    ledger.move(waiting.task_key, waiting.account_id, Status.PENDING, Status.CANCELLED, CANCELLED_BY_CLIENT)
    if not tx.tasks.cancel_waiting(waiting.task_key, error_json(_CANCELLED) or ""):
        raise Inconsistent(f"{format_task_id(waiting.task_key)} waited, but is not pending")
    ledger.write()
    tx.signals.ended.append(waiting.task_key)


def _cancel_running(tx: Tx, lease: LiveLease) -> None:
    ledger = Ledger(tx)
    cause = Cause(Move.CANCEL_BY_FORCE, End.REVOKED, CANCELLED_BY_CLIENT, _CANCELLED)
    end_attempts(tx, ledger, [EndedLease(lease, cause, revoke=True)], max_losses=1)
    ledger.write()
    tx.signals.cancelled.append((lease.worker_id, lease.ref.lease_id, CANCELLED_BY_CLIENT))


def retry_task(tx: Tx, task_key: int, reset_retry_count: bool) -> Task:
    """Puts a failed or timed out task back to pending, or takes away the wait before its automatic retry.

    Raises NotFound, InvalidState, and RetriesExhausted unless `reset_retry_count`.
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


def _end_wait(tx: Tx, waiting: Waiting) -> None:
    if waiting.cause != BACKOFF:
        task_id = format_task_id(waiting.task_key)
        raise InvalidState.of_task(task_id, "retried", Status.PENDING, sorted(RETRYABLE))
    ledger = Ledger(tx)
    _enqueue(ledger, waiting, _behind_leases(tx, [waiting.task_key]))
    ledger.write()


def _retry_ended(tx: Tx, task: TaskRow, reset: bool) -> None:
    task_id = format_task_id(task.task_key)
    if task.status not in RETRYABLE:
        raise InvalidState.of_task(task_id, "retried", _status(tx, task.task_key), sorted(RETRYABLE))
    used = 0 if reset else task.retry_count
    if used >= task.max_retries and not reset:
        raise RetriesExhausted(task_id, task.max_retries)
    count = min(used + 1, task.max_retries)
    if not tx.tasks.retry(task.task_key, task.status, count):
        raise Inconsistent(f"{task_id} was locked, but moved")
    ledger = Ledger(tx)
    _requeue(ledger, task, count, _behind_leases(tx, [task.task_key]))
    ledger.write()


def retry_batch(tx: Tx, scope: Scope, statuses: Collection[Status], after: int, limit: int) -> Batch:
    """Retries up to `limit` of the next ended tasks in these states that have retries left, oldest first.

    Looks at a bounded number of tasks with keys above `after`; those that another call is just moving are left to it.
    """
    keys = tx.ended.page(scope, statuses, after, BATCH)
    tasks = tx.ended.lock_retryable(keys, min(limit, BATCH)) if keys else []
    if tasks:
        retried = [task.task_key for task in tasks]
        if tx.ended.retry(retried) != len(tasks):
            raise Inconsistent(f"{len(tasks)} tasks were locked, but some moved")
        barred = _behind_leases(tx, retried)
        ledger = Ledger(tx)
        for task in tasks:
            _requeue(ledger, task, task.retry_count + 1, barred)
        ledger.write()
    return Batch(len(tasks), keys[-1] if len(keys) == BATCH else None)


def _requeue(ledger: Ledger, task: TaskRow, count: int, barred: Mapping[int, datetime]) -> None:
    message = f"retry {count} of {task.max_retries}"
    ledger.move(
        task.task_key, task.account_id, task.status, Status.PENDING, RETRY_TASK, message=message, retry_count=count
    )
    _enqueue(ledger, _as_waiting(task), barred)


def _as_waiting(task: TaskRow) -> Waiting:
    return Waiting(task.task_key, task.priority, None, task.account_id, task.attempt + 1, task.timeout_ms, 0)


def _behind_leases(tx: Tx, keys: Sequence[int]) -> dict[int, datetime]:
    """Those of these tasks that a revoked lease bars, with the time from when on they may go on."""
    leases = tx.leases.lock(keys)
    return dict.fromkeys(leases, tx.now) if leases else {}


def _enqueue(ledger: Ledger, waiting: Waiting, barred: Mapping[int, datetime]) -> None:
    """Ready at its account's turn; not before a revoked lease of it is gone."""
    key, priority, tag, account_id, attempt, timeout_ms, *_ = waiting
    if key in barred:
        ledger.delay(key, account_id, priority, attempt, timeout_ms, until=barred[key], cause=BARRED, tag=tag)
    else:
        ledger.enqueue(key, account_id, priority, attempt, timeout_ms, tag=tag)
