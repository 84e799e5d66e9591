"""A loop that does one thing, again after a while or when it is woken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from scheduler_svc.domain.errors import StoreUnavailable

_log = structlog.get_logger(__name__)

RETRY = 0.5
"""Seconds before a loop tries again that found the database away."""


class Periodic:
    """Runs `run_once`; it returns the seconds until the next time (None: when it is woken)."""

    def __init__(self, name: str, run_once: Callable[[], Awaitable[float | None]]) -> None:
        self._name = name
        self._run_once = run_once
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Runs for the first time at once."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """Ends after the run that is under way."""
        if self._task is not None:
            task, self._task = self._task, None
            self._wake.set()
            await task

    def wake(self) -> None:
        """Runs now, or once more after the run that is under way."""
        self._wake.set()

    async def _run(self) -> None:
        while self._task is not None:
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
        except Exception:  # noqa: BLE001 - what it does next time may succeed
            _log.exception("a loop failed; it goes on", action=self._name)
            return RETRY
