"""Deletes tasks that ended long ago, in bounded batches. Contents and the publish pool stay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from scheduler_svc.application.ports import Tx
from scheduler_svc.application.records import BatchResult
from scheduler_svc.application.tasks.ledger import ALL_ACCOUNTS
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.lifecycle import OPEN, Status

MAX_BATCH = 500
"""Tasks that one transaction reads."""
_ENDED = frozenset(Status) - OPEN - {Status.NONE}


def ago(tx: Tx, age: timedelta) -> datetime:
    """Returns the time that long ago, by the database's clock."""
    return tx.now - age


def count_batch(tx: Tx, scope: Scope, until: datetime, after: int) -> BatchResult:
    keys = tx.ended.page(scope, _ENDED, after, MAX_BATCH)
    return _batch(keys, tx.ended.count(keys, until) if keys else 0)


def delete_batch(tx: Tx, scope: Scope, until: datetime, after: int) -> BatchResult:
    """Deletes ended tasks that ended at `until` or before, of a bounded number with keys above `after`.

    Tasks that another transaction has locked are skipped.
    """
    keys = tx.ended.page(scope, _ENDED, after, MAX_BATCH)
    locked = tx.ended.lock(keys, until) if keys else []
    delete(tx, locked)
    return _batch(keys, len(locked))


def delete(tx: Tx, locked: Sequence[int]) -> None:
    """Deletes these ended tasks, which are locked, and adjusts the counts."""
    if not locked:
        return
    deltas: Counter[tuple[int, int]] = Counter()
    for (account, status), n in tx.ended.delete(locked).items():
        deltas[account, status] -= n
        deltas[ALL_ACCOUNTS, status] -= n
    tx.counts.add(deltas)


def _batch(keys: list[int], moved: int) -> BatchResult:
    return BatchResult(moved, keys[-1] if len(keys) == MAX_BATCH else None)


def forget_requests(tx: Tx) -> bool:
    """Deletes request ids that need not be remembered; returns whether there may be more."""
    return tx.ended.forget_requests(MAX_BATCH) == MAX_BATCH
