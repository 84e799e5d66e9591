"""Cancels tasks that were not started by their `expire_time`. The expiry loop calls it, in bounded batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scheduler_svc.application.tasks.cancel import cancel_waiting
from scheduler_svc.application.tasks.ledger import Ledger
from scheduler_svc.domain.retry import EXPIRED
from scheduler_svc.domain.task import TaskError

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx

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
        ledger = Ledger(tx)
        cancel_waiting(tx, ledger, removed, _EXPIRED)
        ledger.write()
    return Expired(len(removed), tx.expiry.next())
