"""What clients read. Nothing here writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scheduler_svc.application.ledger import ALL_ACCOUNTS, BACKOFF, READY, SCHEDULED
from scheduler_svc.application.ports import Tx
from scheduler_svc.application.records import WaitsFor
from scheduler_svc.domain.account import Account
from scheduler_svc.domain.content import Content, PoolEntry, ReviewStatus
from scheduler_svc.domain.errors import NotFound
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import PendingReason, Task, TaskEvent, TaskStats


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks: of this account (0: of all), in one of these states (none: in any), with all of these labels."""

    account_id: int = 0
    statuses: frozenset[Status] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)


def get_task(tx: Tx, task_key: int) -> Task:
    """One task. Raises NotFound."""
    task = tx.task_reads.get([task_key]).get(task_key)
    if task is None:
        raise NotFound("task", format_task_id(task_key))
    return task


def explain_task(tx: Tx, task_key: int, lease_ttl: float) -> tuple[Task, PendingReason]:
    """One task, and why it is still pending (NONE where it is not). Raises NotFound.

    Behind a revoked lease it waits for a worker to let go of it: that too is a wait for a slot.
    """
    task = get_task(tx, task_key)
    if task.status is not Status.PENDING:
        return task, PendingReason.NONE
    return task, _reason(tx.task_reads.waits_for(task_key, lease_ttl))


def _reason(waits: WaitsFor) -> PendingReason:
    if waits.cause in _DELAYED_FOR:
        return _DELAYED_FOR[waits.cause]
    if waits.limit_reached:
        return PendingReason.ACCOUNT_LIMIT
    if waits.paused:
        return PendingReason.PAUSED
    return PendingReason.ALL_SLOTS_BUSY if waits.any_worker else PendingReason.NO_WORKERS


_DELAYED_FOR = {BACKOFF: PendingReason.BACKOFF, SCHEDULED: PendingReason.SCHEDULED}


def get_tasks(tx: Tx, keys: Sequence[int]) -> list[Task]:
    """Those of these tasks that exist, in the order asked."""
    found = tx.task_reads.get(keys)
    return [found[key] for key in keys if key in found]


def list_tasks(tx: Tx, wanted: TaskFilter, before: int | None, limit: int) -> list[Task]:
    """Tasks newest first, with keys below `before`."""
    return tx.task_reads.list(wanted.account_id, wanted.statuses, wanted.labels, before, limit)


def list_events(tx: Tx, task_key: int, after: int, limit: int) -> list[TaskEvent]:
    """A task's moves with numbers above `after`, oldest first. Raises NotFound."""
    events = tx.task_reads.events(task_key, after, limit)
    if not events and not tx.task_reads.exists(task_key):
        raise NotFound("task", format_task_id(task_key))
    return events


def task_stats(tx: Tx, account_id: int) -> TaskStats:
    """Counts of an account (0: of all). Raises NotFound where there is no such account."""
    if account_id != ALL_ACCOUNTS:
        get_account(tx, account_id)
    counts = tx.counts.read(account_id)
    by_status: dict[Status, int] = {status: counts.get(status, 0) for status in Status if status is not Status.NONE}
    return TaskStats(by_status, tx.task_reads.oldest_pending_age(account_id), counts.get(READY, 0))


def get_content(tx: Tx, content_id: int) -> Content:
    """One content, whole. Raises NotFound."""
    content = tx.contents.get(content_id)
    if content is None:
        raise NotFound("content", content_id)
    return content


def list_contents(
    tx: Tx, account_id: int, review_status: ReviewStatus | None, before: int | None, limit: int
) -> list[Content]:
    """Contents newest first, with ids below `before`, without their bodies."""
    return tx.contents.list(account_id, review_status, before, limit)


def list_pool(tx: Tx, account_id: int, before: int | None, limit: int) -> list[PoolEntry]:
    """Entries of the publish pool, newest first, with content ids below `before`."""
    return tx.contents.list_pool(account_id, before, limit)


def get_account(tx: Tx, account_id: int) -> Account:
    """One account. Raises NotFound."""
    account = tx.accounts.get(account_id)
    if account is None:
        raise NotFound("account", account_id)
    return account


def list_accounts(tx: Tx, after: int, limit: int) -> list[Account]:
    """Accounts by id, with ids above `after`."""
    return tx.accounts.list(after, limit)
