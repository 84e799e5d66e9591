"""Cancels tasks that were not started by their `expire_time`. The expiry loop calls it, in bounded batches."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler_svc.application.leases.resolve_attempts import Inconsistent, error_json
from scheduler_svc.application.ports import Tx
from scheduler_svc.application.tasks.ledger import Ledger
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.retry import EXPIRED
from scheduler_svc.domain.task import TaskError

MAX_BATCH = 500
_EXPIRED = TaskError(EXPIRED, "it was not started by its expire_time")


@dataclass(frozen=True, slots=True)
class Expired:
    """How many tasks were cancelled, and the seconds until the next one expires (None: none will)."""

    count: int
    next_expiry: float | None


def expire_tasks(tx: Tx) -> Expired:
    """Cancels tasks that have expired while they waited. Those that another session has locked are left for later."""
    keys = tx.expiry.expired(MAX_BATCH)
    free = sorted(tx.tasks.lock(sorted(keys), skip_locked=True)) if keys else []
    removed = tx.expiry.remove(free) if free else []
    if removed:
        expired = sorted(waiting.task_key for waiting in removed)
        if tx.expiry.cancel(expired, error_json(_EXPIRED) or "") != len(expired):
            raise Inconsistent(f"{len(expired)} tasks were in a queue, but not all of them are pending")
        ledger = Ledger(tx)
        for waiting in removed:
            ledger.dequeued(waiting)
            ledger.move(waiting.task_key, waiting.account_id, Status.PENDING, Status.CANCELLED, EXPIRED)
        ledger.write()
        tx.signals.ended += expired
    return Expired(len(removed), tx.expiry.next())
