"""The calls in flight, and their end when this replica goes away. Part of `api`, inside `guard`.

gRPC's own shutdown can't do this: what no handler has begun by then it drops as CANCELLED, under load a few calls each
time, where callers repeat UNAVAILABLE and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from scheduler_svc.domain.errors import ShuttingDown

CUT_TIMEOUT = 1.0
"""Seconds that calls which are cut off may take to say so."""


class InFlight:
    """Lives on the event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cut: set[asyncio.Task[Any]] = set()
        self._ending = False

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around one call's handler, on gRPC's task for that call. Raises ShuttingDown once they end."""
        if self._ending:
            raise ShuttingDown
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)  # gRPC's task sends the answer too
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._cut:
                raise
            task.uncancel()
            raise ShuttingDown from None

    async def end(self, within: float) -> None:
        """Lets no more calls in; returns once those in flight have ended. After `within` seconds they are cut off."""
        self._ending = True
        if not await self._ended(within):
            self._cut |= self._tasks
            for task in self._cut:
                task.cancel()
            await self._ended(CUT_TIMEOUT)

    async def _ended(self, within: float) -> bool:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within)
        return not self._tasks
