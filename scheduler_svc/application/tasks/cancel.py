"""CancelTask, and a batch of BulkCancelTasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scheduler_svc.application.leases.resolve_attempts import EndedLease, Inconsistent, end_attempts, error_json
from scheduler_svc.application.records import BatchResult, DequeuedTask, LiveLease
from scheduler_svc.application.tasks.ledger import Ledger
from scheduler_svc.application.tasks.query import get_task
from scheduler_svc.domain.errors import InvalidState
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.domain.lease import LeaseEnd
from scheduler_svc.domain.lifecycle import RUNNING, Move, Status
from scheduler_svc.domain.resolution import Cause
from scheduler_svc.domain.retry import CANCELLED_BY_CLIENT
from scheduler_svc.domain.task import Task, TaskError
from scheduler_svc.domain.task_filter import TaskFilter

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx

_CANCELLED = TaskError(CANCELLED_BY_CLIENT, "cancelled by a client")


def cancel_task(tx: Tx, task_key: int, force: bool) -> Task:
    """Cancels a pending task; with `force` also a running one, whose worker gets an order to stop it.

    Raises NotFound, and InvalidState if the task has ended, or runs and `force` is off.
    """
    task_id = format_task_id(task_key)
    lease = tx.leases.lock([task_key]).get(task_key)
    if lease is None or lease.revoked:
        waiting = tx.waiting.remove([task_key]).get(task_key)
        if waiting is not None:
            _cancel(tx, [waiting], [])
            return tx.task_reads.get([task_key])[task_key]
        lease = tx.leases.lock([task_key]).get(task_key)  # it may have been claimed meanwhile
    if lease is None or lease.revoked:
        raise InvalidState.of_task(
            task_id, "cancelled", get_task(tx, task_key).status, [Status.PENDING, *sorted(RUNNING)]
        )
    if not force:
        raise InvalidState.of_task(task_id, "cancelled without force", lease.status, [Status.PENDING])
    _cancel(tx, [], [lease])
    return tx.task_reads.get([task_key])[task_key]


def cancel_batch(tx: Tx, wanted: TaskFilter, after: int, limit: int, *, skip_locked: bool = False) -> BatchResult:
    """Cancels up to `limit` tasks with keys above `after`, oldest first; all states of the filter are open.

    A task that leaves those states meanwhile is left out, and with `skip_locked` one that another session has locked.
    """
    found = tx.task_reads.find(wanted, after, limit)
    keys = sorted(tx.tasks.lock(found.keys, skip_locked=True)) if skip_locked else found.keys
    locked = tx.leases.lock(keys, skip_locked=skip_locked) if keys and wanted.statuses & RUNNING else {}
    live = {key: lease for key, lease in locked.items() if not lease.revoked}
    leases = {key: lease for key, lease in live.items() if lease.status in wanted.statuses}
    rest = [key for key in keys if key not in live] if Status.PENDING in wanted.statuses else []
    waiting = tx.waiting.remove(rest, skip_locked=skip_locked) if rest else {}
    _cancel(tx, list(waiting.values()), list(leases.values()))
    return BatchResult(len(found.keys), len(waiting) + len(leases), found.last)


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
