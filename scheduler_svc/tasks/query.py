"""What clients read, and whether it is theirs. Nothing here writes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from scheduler_svc.domain import rollup
from scheduler_svc.domain.account import ALL, Scope
from scheduler_svc.domain.errors import NotFound, existing
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.rollup import HistoryPoint, Resolution
from scheduler_svc.domain.task import (
    BACKOFF,
    READY,
    SCHEDULED,
    AttemptLog,
    PendingReason,
    Task,
    TaskEvent,
    TaskStats,
)
from scheduler_svc.tasks.rows import WaitsFor

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


def require_own_tasks(tx: Tx, scope: Scope, keys: Sequence[int]) -> None:
    """Raises NotFound for the first task that is another account's, or does not exist.

    A task's account never changes, so this may be a transaction before that of the call.
    """
    accounts = tx.task_reads.accounts_of(keys)
    for key in keys:
        if key not in accounts or accounts[key] not in scope:
            raise NotFound("task", format_task_id(key))


def get_task(tx: Tx, task_key: int) -> Task:
    """Returns one task. Raises NotFound."""
    return existing(tx.task_reads.get([task_key]).get(task_key), "task", format_task_id(task_key))


def explain_task(tx: Tx, task_key: int, lease_ttl: float) -> tuple[Task, PendingReason, datetime | None]:
    """Returns one task, why it is pending (NONE if it is not), and when the wait for its next attempt ends.

    Raises NotFound.

    A task behind a revoked lease waits for a worker to release it, which counts as waiting for a slot.
    """
    task = get_task(tx, task_key)
    if task.status is not Status.PENDING:
        return task, PendingReason.NONE, None
    waits = tx.task_reads.waits_for(task_key, lease_ttl)
    reason = _reason(waits)
    return task, reason, {PendingReason.BACKOFF: waits.due_time, PendingReason.BUDGET: waits.budget_until}.get(reason)


def _reason(waits: WaitsFor) -> PendingReason:
    if waits.cause in _REASON_OF_DELAY:
        return _REASON_OF_DELAY[waits.cause]
    holds = {
        PendingReason.ACCOUNT_LIMIT: waits.limit_reached,
        PendingReason.RATE_LIMIT: waits.quota_used,
        PendingReason.PAUSED: waits.paused,
        PendingReason.BUDGET: waits.budget_until,
        PendingReason.NO_MATCHING_WORKER: not waits.matched,
        PendingReason.NO_WORKERS: not waits.any_worker,
    }
    return next((reason for reason, holds_it in holds.items() if holds_it), PendingReason.ALL_SLOTS_BUSY)


_REASON_OF_DELAY = {BACKOFF: PendingReason.BACKOFF, SCHEDULED: PendingReason.SCHEDULED}


def get_tasks(tx: Tx, keys: Sequence[int]) -> list[Task]:
    """Returns the tasks that exist, in the order asked."""
    tasks = tx.task_reads.get(keys)
    return [tasks[key] for key in keys if key in tasks]


def list_events(tx: Tx, task_key: int, after: int, limit: int) -> list[TaskEvent]:
    """Returns a task's moves with numbers above `after`, oldest first. Raises NotFound."""
    events = tx.task_reads.events(task_key, after, limit)
    if not events:
        require_own_tasks(tx, ALL, [task_key])
    return events


def list_attempt_logs(tx: Tx, task_key: int, after: int, limit: int) -> list[AttemptLog]:
    """Returns the output of a task's attempts above `after`, oldest first. Raises NotFound."""
    logs = tx.attempt_logs.list(task_key, after, limit)
    if not logs:
        require_own_tasks(tx, ALL, [task_key])
    return logs


def task_stats(tx: Tx, scope: Scope) -> TaskStats:
    """Returns the counts of these accounts together. Raises NotFound for a single account that does not exist."""
    tx.accounts.require_in(scope)
    counts = tx.counts.read(scope)
    by_status: dict[Status, int] = {status: counts.get(status, 0) for status in Status if status is not Status.NONE}
    return TaskStats(by_status, tx.task_reads.oldest_pending_age(scope), counts.get(READY, 0))


def task_history(
    tx: Tx, scope: Scope, resolution: Resolution, start: datetime, end: datetime
) -> Sequence[HistoryPoint]:
    """Returns each hour or day from `start` to before `end`. Raises NotFound for an account that does not exist."""
    tx.accounts.require_in(scope)
    counts: dict[datetime, dict[int, float]] = {}
    for time, kind, n in tx.rollups.read(scope, resolution, start, end):
        counts.setdefault(time, {})[kind] = n
    times = [start + i * resolution.length for i in range(math.ceil((end - start) / resolution.length))]
    return [rollup.point(time, counts.get(time, {})) for time in times]
