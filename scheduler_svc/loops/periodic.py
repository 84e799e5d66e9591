"""A loop that does one thing, again after a while or when it is woken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from scheduler_svc.domain.errors import StoreUnavailable
from scheduler_svc.loops.service import TaskService
from scheduler_svc.loops.supervision import Supervision

RETRY_INTERVAL = 0.5
"""Seconds until the next try while the database is away."""


class Periodic(TaskService):
    """Runs `work` at once, then whenever the seconds that it returned are over (None: when it is woken)."""

    def __init__(
        self, name: str, work: Callable[[], Awaitable[float | None]], supervision: Supervision | None = None
    ) -> None:
        """Without `supervision` it starts again however often it fails."""
        super().__init__(name, supervision)
        self._work = work

    def wake(self) -> None:
        """Runs now, or once more after the round under way."""
        self._wake.set()

    async def run_once(self) -> float | None:
        try:
            return await self._work()
        except StoreUnavailable:
            return RETRY_INTERVAL

    async def _serve(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            seconds = await self.run_once()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
