"""HandleTimeouts, BulkCancelTasks, BulkRetryTasks, CleanupTasks: many tasks, a bounded number in each transaction.

A call that is cut short keeps what it has done. A cleanup keeps contents and the publish pool. For a task that another
session has locked, a cancel waits as CancelTask does, and then leaves it out; retry and cleanup leave it out at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from scheduler_svc.domain.account import ALL_ACCOUNTS, Scope
from scheduler_svc.domain.lifecycle import ENDED, OPEN, RETRYABLE, Status
from scheduler_svc.domain.task import TaskFilter
from scheduler_svc.leases.recover import time_out
from scheduler_svc.runtime.calls import Calls, Pacing, SkipLocked
from scheduler_svc.tasks.change import cancel_batch, retry_batch
from scheduler_svc.tasks.rows import BatchResult

if TYPE_CHECKING:
    from scheduler_svc.config import Settings
    from scheduler_svc.transactions import Tx


MAX_REQUESTS = 500
"""Request ids that one transaction deletes."""


def delete_batch(tx: Tx, wanted: TaskFilter, until: datetime, after: int, limit: int) -> BatchResult:
    """Deletes up to `limit` tasks that ended at `until` or before, with keys above `after`, oldest first.

    Tasks that another transaction has locked are skipped.
    """
    matches = tx.task_reads.find(wanted, after, limit)
    locked = tx.ended.lock(matches.keys, until) if matches.keys else []
    delete(tx, locked)
    return BatchResult(len(matches.keys), len(locked), matches.last)


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
    times = tx.ended.forget_requests(since, MAX_REQUESTS)
    return max(times) if len(times) == MAX_REQUESTS else None


MAX_BATCH = 500
"""Tasks that one transaction changes."""
MAX_COUNTED = 5_000
"""Tasks that one transaction counts."""


class BulkResult(NamedTuple):
    """How many tasks matched, as far as the call has come, and how many of them it has changed.

    The others were being moved by other sessions.
    """

    matched: int
    changed: int


class Bulk:
    def __init__(self, calls: Calls, settings: Settings) -> None:
        self._calls = calls
        self._timing_out, self._cancelling = SkipLocked(calls), SkipLocked(calls)
        self._settings = settings

    async def handle_timeouts(self, scope: Scope) -> int:
        """Times out attempts that ran too long; returns how many."""
        count, full = 0, True
        while full:
            batch = await self._timing_out.run(time_out, self._settings, scope)
            count, full = count + batch.count, batch.full
        return count

    async def cancel(
        self, wanted: TaskFilter, *, force: bool = False, limit: int | None = None, dry_run: bool = False
    ) -> BulkResult:
        """Cancels pending tasks, with `force` running ones too, oldest first."""
        wanted = _among(wanted, OPEN if force else frozenset({Status.PENDING}))
        if dry_run:
            return await self._count(wanted)
        return await self._each(lambda after, size: self._cancelling.run(cancel_batch, wanted, after, size), limit)

    async def retry(
        self, wanted: TaskFilter, *, reset: bool = False, limit: int | None = None, dry_run: bool = False
    ) -> BulkResult:
        """Retries failed and timed out tasks, oldest first. Each is read once.

        Without `reset`, only those that have retries left; with it, all, and each counts its retries anew.
        """
        wanted = replace(_among(wanted, RETRYABLE), has_retries_left=not reset)
        if dry_run:
            return await self._count(wanted)
        return await self._each(lambda after, size: self._calls.run(retry_batch, wanted, after, size, reset), limit)

    async def clean_up(
        self, wanted: TaskFilter, age: timedelta, *, limit: int | None = None, dry_run: bool = False
    ) -> BulkResult:
        """Deletes tasks that ended that long ago, oldest first, with pauses between the batches as long as these.

        Also deletes request ids of all accounts that need not be remembered.
        """
        until = await self._calls.run(lambda tx: tx.now - age)
        wanted = replace(_among(wanted, ENDED), deletable_since=until)
        if dry_run:
            return await self._count(wanted)
        pacing = Pacing()
        deleted = await self._each(
            lambda after, size: pacing.run(partial(self._calls.run, delete_batch, wanted, until, after, size)), limit
        )
        since = await pacing.run(partial(self._calls.run, forget_requests, None))
        while since is not None:
            since = await pacing.run(partial(self._calls.run, forget_requests, since))
        return deleted

    async def _count(self, task_filter: TaskFilter) -> BulkResult:
        matched = 0
        after: int | None = 0
        while after is not None:
            keys, after = await self._calls.run(
                lambda tx, start: tx.task_reads.find(task_filter, start, MAX_COUNTED), after
            )
            matched += len(keys)
        return BulkResult(matched, 0)

    async def _each(self, run: Callable[[int, int], Awaitable[BatchResult]], limit: int | None) -> BulkResult:
        """Runs batches, of keys above the first argument and of as many as the second, to the end or to the limit."""
        matched = changed = 0
        after: int | None = 0
        while after is not None and (limit is None or changed < limit):
            batch = await run(after, MAX_BATCH if limit is None else min(MAX_BATCH, limit - changed))
            matched, changed, after = matched + batch.matched, changed + batch.changed, batch.last
        return BulkResult(matched, changed)


def _among(task_filter: TaskFilter, statuses: frozenset[Status]) -> TaskFilter:
    """Returns the filter with all of these states if it names none."""
    return task_filter if task_filter.statuses else replace(task_filter, statuses=statuses)
