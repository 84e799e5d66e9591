"""Deletes what is older than its retention: ended tasks, contents, and helper rows, in bounded batches.

Each batch finds what is due by an index, or at the old end of a table, so a batch with nothing due costs nothing.
Replicas take turns: one that finds another at work leaves it to that one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias

from scheduler_svc.domain.audit import first_key
from scheduler_svc.domain.content import PoolEntry, PublishStatus
from scheduler_svc.domain.rollup import Resolution
from scheduler_svc.domain.webhook import DeliveryStatus
from scheduler_svc.tasks import bulk

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


MAX_BATCH = 500
"""Rows that one transaction reads."""
WORKER_RETENTION = timedelta(days=7)
DELIVERED_RETENTION = timedelta(days=3)
EXHAUSTED_RETENTION = timedelta(days=30)
"""Meanwhile they can be sent again."""
ROLLUP_RETENTION = {Resolution.HOUR: timedelta(days=40), Resolution.DAY: timedelta(days=400)}

Position: TypeAlias = Any
"""Where a batch begins: the time or the key that its sweep gave; None: at the oldest."""


class Swept(NamedTuple):
    """How many rows a batch deleted, whether more may be due, and where the next batch begins then."""

    deleted: int
    more: bool
    position: Position = None

    @classmethod
    def of(cls, deleted: int, position: Position = None) -> Self:
        """More may be due if the batch was full."""
        return cls(deleted, deleted == MAX_BATCH, position)


Sweep: TypeAlias = "Callable[[Tx, Position], Swept]"


def sweep_exclusively(tx: Tx, sweep: Sweep, position: Position) -> Swept | None:
    """Does one batch; returns None if another replica is at work."""
    return sweep(tx, position) if tx.sweeps.take_turn() else None


def ended_tasks(age: timedelta) -> Sweep:
    """Returns the sweep of tasks that ended that long ago, oldest first, except those that are locked."""

    def sweep(tx: Tx, since: Position) -> Swept:
        due = tx.sweeps.lock_ended(since, age, MAX_BATCH)
        bulk.delete(tx, [key for key, _ in due])
        return Swept.of(len(due), due[-1][1] if due else None)

    return sweep


def old_contents(age: timedelta) -> Sweep:
    """Returns the sweep of contents of that age, with their pool entries; see `_is_deletable`.

    Their ids rise with their time, so the first one that is too young ends the batch.
    """

    def sweep(tx: Tx, after: Position) -> Swept:
        until = tx.now - age
        page = tx.sweeps.contents(after or 0, MAX_BATCH)
        old = [content_id for content_id, create_time in page if create_time <= until]
        entries = tx.contents.lock(old) if old else {}
        gone = [content_id for content_id, entry in entries.items() if _is_deletable(entry, until)]
        tx.contents.delete(gone)
        return Swept(len(gone), len(old) == MAX_BATCH, old[-1] if old else None)

    return sweep


def _is_deletable(entry: PoolEntry | None, until: datetime) -> bool:
    """Returns False while a publisher has claimed it, and if it was scheduled to be published later than `until`."""
    if entry is None:
        return True
    waits = entry.status is PublishStatus.PENDING and entry.schedule_time is not None and entry.schedule_time > until
    return entry.status is not PublishStatus.PUBLISHING and not waits


def silent_workers(tx: Tx, _: Position) -> Swept:
    """Deletes workers that were silent for a week and hold no lease."""
    return Swept.of(tx.sweeps.forget_workers(WORKER_RETENTION, MAX_BATCH))


def old_requests(tx: Tx, since: Position) -> Swept:
    """Deletes request ids of deleted tasks, once they need not be remembered."""
    times = tx.ended.forget_requests(since, MAX_BATCH)
    return Swept.of(len(times), max(times, default=None))


def old_imports(age: timedelta) -> Sweep:
    """Returns the sweep of import marks of sources from which nothing was imported for that long."""
    return lambda tx, _: Swept.of(tx.sweeps.forget_imports(age, MAX_BATCH))


def delivered(tx: Tx, since: Position) -> Swept:
    """Deletes deliveries of webhooks, some days after their success."""
    return _delete_deliveries(tx, DeliveryStatus.DELIVERED, DELIVERED_RETENTION, since)


def exhausted(tx: Tx, since: Position) -> Swept:
    """Deletes deliveries that were given up, after the time in which they can be sent again.

    First gives up those that have waited for too long.
    """
    given_up = tx.sweeps.exhaust_deliveries(MAX_BATCH)
    swept = _delete_deliveries(tx, DeliveryStatus.EXHAUSTED, EXHAUSTED_RETENTION, since)
    return swept._replace(more=swept.more or given_up == MAX_BATCH)


def _delete_deliveries(tx: Tx, status: DeliveryStatus, age: timedelta, since: Position) -> Swept:
    ended = tx.sweeps.delete_deliveries(status, since, age, MAX_BATCH)
    return Swept.of(len(ended), max(ended, default=since))


def of_deleted_webhooks(tx: Tx, _: Position) -> Swept:
    return Swept.of(tx.sweeps.delete_deliveries_of_deleted(MAX_BATCH))


def old_rollups(resolution: Resolution) -> Sweep:
    return lambda tx, _: Swept.of(tx.rollups.delete(resolution, ROLLUP_RETENTION[resolution], MAX_BATCH))


def old_audit_events(age: timedelta) -> Sweep:
    """Returns the sweep of audit events of that age, oldest first."""

    def sweep(tx: Tx, since: Position) -> Swept:
        keys = tx.sweeps.delete_audit_events(since or 0, first_key(tx.now - age), MAX_BATCH)
        return Swept.of(len(keys), max(keys, default=None))

    return sweep
