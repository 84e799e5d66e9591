"""What clients do to many tasks at once: one bounded transaction after the other, beside the hot path.

What a call that was cut short has done stays done.
"""

from __future__ import annotations

from scheduler_svc.application.calls import Calls
from scheduler_svc.application.recover import ReaperSettings, time_out


class Bulk:
    """The loops round the batches. `account_id` 0 means all accounts."""

    def __init__(self, calls: Calls, reaper: ReaperSettings) -> None:
        self._calls = calls
        self._reaper = reaper

    async def handle_timeouts(self, account_id: int) -> int:
        """Times out what ran too long; returns how many attempts that were."""
        count, full = 0, True
        while full:
            batch = await self._calls.run(time_out, self._reaper, account_id)
            count, full = count + batch.count, batch.full
        return count
