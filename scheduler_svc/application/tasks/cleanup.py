"""Deletes tasks that ended long ago, in bounded batches. Contents and the publish pool stay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from scheduler_svc.application.records import BatchResult
from scheduler_svc.application.tasks.ledger import ALL_ACCOUNTS
from scheduler_svc.domain.task_filter import TaskFilter

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx

MAX_BATCH = 500
"""Request ids that one transaction deletes."""


def ago(tx: Tx, age: timedelta) -> datetime:
    """Returns the time that long ago, by the database's clock."""
    return tx.now - age


def delete_batch(tx: Tx, wanted: TaskFilter, until: datetime, after: int, limit: int) -> BatchResult:
    """Deletes up to `limit` tasks that ended at `until` or before, with keys above `after`, oldest first.

    Tasks that another transaction has locked are skipped.
    """
    found = tx.task_reads.find(wanted, after, limit)
    locked = tx.ended.lock(found.keys, until) if found.keys else []
    delete(tx, locked)
    return BatchResult(len(found.keys), len(locked), found.last)


def delete(tx: Tx, locked: Sequence[int]) -> None:
    """Deletes these ended tasks, which are locked, and adjusts the counts."""
    if not locked:
        return
    deltas: Counter[tuple[int, int]] = Counter()
    for (account, status), n in tx.ended.delete(locked).items():
        deltas[account, status] -= n
        deltas[ALL_ACCOUNTS, status] -= n
    tx.counts.add(deltas)


def forget_requests(tx: Tx, since: datetime | None) -> datetime | None:
    """Deletes request ids that need not be remembered, from this time on; returns where more may be, if so."""
    made = tx.ended.forget_requests(since, MAX_BATCH)
    return max(made) if len(made) == MAX_BATCH else None
