"""A loop that does one thing, again after a while or when it is woken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from scheduler_svc.domain.errors import StoreUnavailable
from scheduler_svc.loops.supervision import Supervision

RETRY = 0.5
"""Seconds before a loop tries again that found the database away."""


class Periodic:
    """Runs `run_once`; it returns the seconds until the next time (None: when it is woken)."""

    def __init__(
        self, name: str, run_once: Callable[[], Awaitable[float | None]], supervision: Supervision | None = None
    ) -> None:
        """Without `supervision` it goes on for ever, however often it fails."""
        self._name = name
        self._run_once = run_once
        self._supervision = supervision or Supervision()
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Runs for the first time at once."""
        running = self._supervision.run_async(self._name, self._run, self._stopping)
        self._task = asyncio.create_task(running, name=self._name)

    async def stop(self) -> None:
        """Ends after the run that is under way."""
        if self._task is not None:
            self._stopping.set()
            self._wake.set()
            await self._task

    def wake(self) -> None:
        """Runs now, or once more after the run that is under way."""
        self._wake.set()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            seconds = await self._once()
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _once(self) -> float | None:
        try:
            return await self._run_once()
        except StoreUnavailable:
            return RETRY
