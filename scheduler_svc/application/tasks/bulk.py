"""HandleTimeouts, BulkCancelTasks, BulkRetryTasks, CleanupTasks: many tasks, a bounded number in each transaction.

A call that is cut short keeps what it has done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import NamedTuple

from scheduler_svc.application.calls import Calls
from scheduler_svc.application.leases.recover import ReaperSettings, time_out
from scheduler_svc.application.pacing import Pacing
from scheduler_svc.application.records import BatchResult
from scheduler_svc.application.skip_locked import SkipLocked
from scheduler_svc.application.tasks import cleanup
from scheduler_svc.application.tasks.cancel import cancel_batch
from scheduler_svc.application.tasks.query import find_tasks
from scheduler_svc.application.tasks.retry import retry_batch
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.lifecycle import ENDED, OPEN, RETRYABLE, Status
from scheduler_svc.domain.task_filter import TaskFilter

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
    def __init__(self, calls: Calls, reaper: ReaperSettings) -> None:
        self._calls = calls
        self._timing_out, self._cancelling = SkipLocked(calls), SkipLocked(calls)
        self._reaper = reaper

    async def handle_timeouts(self, scope: Scope) -> int:
        """Times out attempts that ran too long; returns how many."""
        count, full = 0, True
        while full:
            batch = await self._timing_out.run(time_out, self._reaper, scope)
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
        until = await self._calls.run(cleanup.ago, age)
        wanted = replace(_among(wanted, ENDED), deletable_since=until)
        if dry_run:
            return await self._count(wanted)
        pacing = Pacing()
        deleted = await self._each(
            lambda after, size: pacing.run(partial(self._calls.run, cleanup.delete_batch, wanted, until, after, size)),
            limit,
        )
        since = await pacing.run(partial(self._calls.run, cleanup.forget_requests, None))
        while since is not None:
            since = await pacing.run(partial(self._calls.run, cleanup.forget_requests, since))
        return deleted

    async def _count(self, wanted: TaskFilter) -> BulkResult:
        matched = 0
        after: int | None = 0
        while after is not None:
            keys, after = await self._calls.run(find_tasks, wanted, after, MAX_COUNTED)
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


def _among(wanted: TaskFilter, statuses: frozenset[Status]) -> TaskFilter:
    """The filter with all of these states if it names none."""
    return wanted if wanted.statuses else replace(wanted, statuses=statuses)
