"""What clients do to many tasks at once: one bounded transaction after the other, beside the hot path.

What a call that was cut short has done stays done.
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
    """The loops round the batches."""

    def __init__(self, calls: Calls, reaper: ReaperSettings) -> None:
        self._calls = calls
        self._caution = SkipLocked(calls)
        self._reaper = reaper

    async def handle_timeouts(self, scope: Scope) -> int:
        """Times out what ran too long; returns how many attempts that were."""
        count, full = 0, True
        while full:
            batch = await self._caution.run(time_out, self._reaper, scope)
            count, full = count + batch.count, batch.full
        return count

    async def retry(self, scope: Scope, statuses: Collection[Status], limit: int) -> int:
        """Retries up to `limit` tasks of these states, failed or timeout, oldest first; returns how many.

        Each is looked at once, and left as it is where its retries are used up.
        """
        count = 0
        after: int | None = 0
        while after is not None and count < limit:
            batch = await self._calls.run(retry_batch, scope, statuses, after, limit - count)
            count, after = count + batch.moved, batch.last
        return count

    async def clean_up(self, scope: Scope, age: timedelta, *, dry_run: bool) -> int:
        """Deletes tasks that ended so long ago, or counts them; returns how many.

        After that request ids which need not be remembered any more are forgotten, of all accounts.
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
