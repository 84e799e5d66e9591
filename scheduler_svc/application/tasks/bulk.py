"""HandleTimeouts, BulkRetryTasks, CleanupTasks: many tasks, in one bounded transaction after the other.

A call that is cut short keeps what it has done.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from scheduler_svc.application.calls import Calls
from scheduler_svc.application.leases.recover import ReaperSettings, time_out
from scheduler_svc.application.skip_locked import SkipLocked
from scheduler_svc.application.tasks import cleanup
from scheduler_svc.application.tasks.retry import retry_batch
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.lifecycle import Status


class Bulk:
    def __init__(self, calls: Calls, reaper: ReaperSettings) -> None:
        self._calls = calls
        self._skipping = SkipLocked(calls)
        self._reaper = reaper

    async def handle_timeouts(self, scope: Scope) -> int:
        """Times out attempts that ran too long; returns how many."""
        count, full = 0, True
        while full:
            batch = await self._skipping.run(time_out, self._reaper, scope)
            count, full = count + batch.count, batch.full
        return count

    async def retry(self, scope: Scope, statuses: Collection[Status], limit: int) -> int:
        """Retries up to `limit` tasks in these states, oldest first; returns how many.

        Each task is read once, and skipped if its retries are used up.
        """
        count = 0
        after: int | None = 0
        while after is not None and count < limit:
            batch = await self._calls.run(retry_batch, scope, statuses, after, limit - count)
            count, after = count + batch.moved, batch.last
        return count

    async def clean_up(self, scope: Scope, age: timedelta, *, dry_run: bool) -> int:
        """Deletes tasks that ended that long ago, or counts them; returns how many.

        Also deletes request ids of all accounts that need not be remembered.
        """
        until = await self._calls.run(cleanup.ago, age)
        work = cleanup.count_batch if dry_run else cleanup.delete_batch
        count = 0
        after: int | None = 0
        while after is not None:
            batch = await self._calls.run(work, scope, until, after)
            count, after = count + batch.moved, batch.last
        while not dry_run and await self._calls.run(cleanup.forget_requests):
            pass
        return count
