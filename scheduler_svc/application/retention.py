"""What is deleted for its age: ended tasks, contents, and what nobody needs after a while. In bounded batches.

Each batch finds what is due by an index, or at the old end of a table, so a look at what is not due yet costs nothing.
Replicas take turns: whoever finds another one at work leaves it to that one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from scheduler_svc.application.ports import Tx
from scheduler_svc.application.tasks import cleanup
from scheduler_svc.domain.content import PoolEntry, PublishStatus

MAX_BATCH = 500
"""Rows that one transaction looks at."""
WORKER_RETENTION = timedelta(days=7)
"""How long a worker that is silent is remembered."""

Position = datetime | int | None
"""Where a batch begins; None: at the oldest."""


class Swept(NamedTuple):
    """How many rows a batch deleted, whether more may be due, and where the next batch begins then."""

    deleted: int
    more: bool
    position: Position = None


Sweep = Callable[[Tx, Position], Swept]


def sweep_exclusively(tx: Tx, sweep: Sweep, position: Position) -> Swept | None:
    """One batch; None where another replica is at work."""
    return sweep(tx, position) if tx.sweeps.take_turn() else None


def ended_tasks(age: timedelta) -> Sweep:
    """Tasks that ended so long ago, oldest first. What another call is just moving is left to it."""

    def sweep(tx: Tx, since: Position) -> Swept:
        due = tx.sweeps.lock_ended(since if isinstance(since, datetime) else None, age, MAX_BATCH)
        cleanup.delete(tx, [key for key, _ in due])
        return Swept(len(due), len(due) == MAX_BATCH, due[-1][1] if due else None)

    return sweep


def old_contents(age: timedelta) -> Sweep:
    """Contents that are so old, with their entries in the publish pool; see `_may_go`.

    Their ids rise with their time, so the first one that is too young ends the look.
    """

    def sweep(tx: Tx, after: Position) -> Swept:
        until = tx.now - age
        page = tx.sweeps.contents(after if isinstance(after, int) else 0, MAX_BATCH)
        old = [content_id for content_id, create_time in page if create_time <= until]
        standing = tx.contents.lock(old) if old else {}
        gone = [content_id for content_id, entry in standing.items() if _may_go(entry, until)]
        tx.contents.delete(gone)
        return Swept(len(gone), len(old) == MAX_BATCH, old[-1] if old else None)

    return sweep


def _may_go(entry: PoolEntry | None, until: datetime) -> bool:
    """What a publisher holds stays, and so does what is to be published later than its creation by its age."""
    if entry is None:
        return True
    waits = entry.status is PublishStatus.PENDING and entry.schedule_time is not None and entry.schedule_time > until
    return entry.status is not PublishStatus.PUBLISHING and not waits


def silent_workers(tx: Tx, _: Position) -> Swept:
    """Workers that were silent for a week and hold no lease."""
    deleted = tx.sweeps.forget_workers(WORKER_RETENTION, MAX_BATCH)
    return Swept(deleted, deleted == MAX_BATCH)


def old_requests(tx: Tx, _: Position) -> Swept:
    """Request ids of tasks that were cleaned up, once they need not be remembered any more."""
    deleted = tx.ended.forget_requests(MAX_BATCH)
    return Swept(deleted, deleted == MAX_BATCH)


def old_imports(age: timedelta) -> Sweep:
    """Which rows of old databases were taken, of those that nothing was imported from for so long."""

    def sweep(tx: Tx, _: Position) -> Swept:
        deleted = tx.sweeps.forget_imports(age, MAX_BATCH)
        return Swept(deleted, deleted == MAX_BATCH)

    return sweep
