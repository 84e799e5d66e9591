"""Unique keys: which task of an account holds one.

A task takes its key when it becomes open, by a submit or a retry, under the lock of the key's row; so no two open tasks
of an account have the same one, on any number of replicas. Whether a holder is open is read after that lock was got.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from scheduler_svc.application.records import UniqueKey
from scheduler_svc.domain.lifecycle import Status

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx


def take(tx: Tx, rows: Sequence[UniqueKey], now: datetime) -> dict[int, int]:
    """Takes keys for new tasks, which this transaction inserts; of equal keys the first row gets it.

    Returns the other tasks, each with the open or young enough task that holds its key.
    """
    return _take(tx, rows, now)


def retake(tx: Tx, keys: Sequence[int]) -> dict[int, int]:
    """Takes the keys of ended tasks, which this transaction opens again, from tasks that have ended.

    Returns the tasks whose key an open task holds, each with that one.
    """
    rows = tx.unique_keys.of_tasks(keys)
    return _take(tx, rows, None) if rows else {}


def _take(tx: Tx, rows: Sequence[UniqueKey], young_at: datetime | None) -> dict[int, int]:
    own = {row.task_key for row in rows}
    held: dict[int, int] = {}
    left = list(rows)
    while left:  # again for those whose holder was deleted between the two statements
        tx.unique_keys.insert(left)
        holders = tx.unique_keys.lock(left)
        bars = own | _barring(tx, holders.values(), young_at)
        free = []
        for row in left:
            holder = holders.get(row.name)
            if holder is not None and holder.task_key != row.task_key:
                if holder.task_key in bars:
                    held[row.task_key] = holder.task_key
                else:
                    holders[row.name] = row
                    free.append(row)
        tx.unique_keys.replace(free)
        left = [row for row in left if row.name not in holders]
    return held


def _barring(tx: Tx, holders: Iterable[UniqueKey], young_at: datetime | None) -> set[int]:
    """Returns those that are open, or young enough. A replica of the version before deletes no keys."""
    until = {holder.task_key: holder.until for holder in holders}
    return {
        key
        for key, task in tx.tasks.peek(sorted(until)).items()
        if task.status is Status.PENDING or (young_at is not None and until[key] > young_at)
    }
