"""CancelTask."""

from __future__ import annotations

from scheduler_svc.application.leases.resolve_attempts import EndedLease, Inconsistent, end_attempts, error_json
from scheduler_svc.application.ports import Tx
from scheduler_svc.application.records import DequeuedTask, LiveLease
from scheduler_svc.application.tasks.ledger import Ledger
from scheduler_svc.application.tasks.query import get_task
from scheduler_svc.domain.errors import InvalidState
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.domain.lease import LeaseEnd
from scheduler_svc.domain.lifecycle import RUNNING, Move, Status
from scheduler_svc.domain.resolution import Cause
from scheduler_svc.domain.retry import CANCELLED_BY_CLIENT
from scheduler_svc.domain.task import Task, TaskError

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
            _cancel_waiting(tx, waiting)
            return tx.task_reads.get([task_key])[task_key]
        lease = tx.leases.lock([task_key]).get(task_key)  # it may have been claimed meanwhile
    if lease is None or lease.revoked:
        raise InvalidState.of_task(
            task_id, "cancelled", get_task(tx, task_key).status, [Status.PENDING, *sorted(RUNNING)]
        )
    if not force:
        raise InvalidState.of_task(task_id, "cancelled without force", lease.status, [Status.PENDING])
    _cancel_running(tx, lease)
    return tx.task_reads.get([task_key])[task_key]


def _cancel_waiting(tx: Tx, waiting: DequeuedTask) -> None:
    ledger = Ledger(tx)
    ledger.dequeued(waiting)
    ledger.move(waiting.task_key, waiting.account_id, Status.PENDING, Status.CANCELLED, CANCELLED_BY_CLIENT)
    if not tx.tasks.cancel_waiting(waiting.task_key, error_json(_CANCELLED) or ""):
        raise Inconsistent(f"{format_task_id(waiting.task_key)} was in a queue, but is not pending")
    ledger.write()
    tx.signals.ended.append(waiting.task_key)


def _cancel_running(tx: Tx, lease: LiveLease) -> None:
    ledger = Ledger(tx)
    cause = Cause(Move.CANCEL_BY_FORCE, LeaseEnd.REVOKED, CANCELLED_BY_CLIENT, _CANCELLED)
    end_attempts(tx, ledger, [EndedLease(lease, cause, revoke=True)], max_losses=1)
    ledger.write()
    tx.signals.cancelled.append((lease.worker_id, lease.ref.lease_id, CANCELLED_BY_CLIENT))
