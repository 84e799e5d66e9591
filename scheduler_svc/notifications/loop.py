"""The loop that makes messages of what is held for channels. The delivery loop of webhooks sends them."""

from __future__ import annotations

import time

from scheduler_svc.notifications import work
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.webhooks.work import WebhookInterest

READ_INTERVAL = 10.0
"""Seconds between two looks: hints may be lost."""
IDLE_INTERVAL = 300.0
"""The same while there is no channel: what was held before one was made inactive."""
MIN_INTERVAL = 1.0
"""The same, however much happens: what comes meanwhile is in one message."""


class MessageLoop:
    """Lives on the event loop. A Periodic repeats `run_once`, and wakes up early if events are held."""

    def __init__(self, calls: Calls, interest: WebhookInterest) -> None:
        self._calls = calls
        self._interest = interest
        self._next_round = 0.0

    async def run_once(self) -> float:
        """Does a round; returns the seconds until the next one."""
        early = self._next_round - time.monotonic()
        if early > 0:
            return early
        self._next_round = time.monotonic() + MIN_INTERVAL
        longest = READ_INTERVAL if self._interest.of_channels else IDLE_INTERVAL
        return max(await self._calls.run(work.gather, longest), MIN_INTERVAL)
