"""The calls in flight, and their end when this replica shuts down. Part of `api`.

gRPC's own shutdown ends calls that no handler has started with CANCELLED, which clients do not retry; these end with
UNAVAILABLE.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from scheduler_svc.domain.errors import ShuttingDown

CANCEL_TIMEOUT = 1.0
"""Seconds that cancelled calls have to send their status."""


class InFlight:
    """Tracks the calls. Runs on the event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cancelled: set[asyncio.Task[Any]] = set()
        self._ending = False

    @contextmanager
    def call(self) -> Iterator[None]:
        """For the handler of one call, on gRPC's task for it. Raises ShuttingDown."""
        if self._ending:
            raise ShuttingDown
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)  # gRPC's task sends the response too
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._cancelled:
                raise
            task.uncancel()
            raise ShuttingDown from None

    async def end(self, grace: float) -> None:
        """Refuses new calls, cancels those in flight after `grace` seconds, and returns once they have ended."""
        self._ending = True
        if not await self._ended(grace):
            self._cancelled |= self._tasks
            for task in self._cancelled:
                task.cancel()
            await self._ended(CANCEL_TIMEOUT)

    async def _ended(self, seconds: float) -> bool:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        return not self._tasks


async def send_headers(sending: Coroutine[Any, Any, None]) -> None:
    """Awaits `sending`, a coroutine that sends a call's headers. If cancelled, it ends first: gRPC can send no status
    while it sends headers.
    """
    task = asyncio.ensure_future(sending)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
