"""The time that the message of a call may take to arrive. Part of `api`.

One timer serves all calls: `asyncio.timeout` costs a call as much as reading its message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from scheduler_svc.domain.errors import RequestTooSlow


class ReadTimeout:
    """Cancels reads that take longer than `seconds`. Runs on the event loop."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[asyncio.Task[Any], float] = {}  # the oldest first
        self._expired: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def read(self, message: Awaitable[object]) -> object:
        """Returns the message. Raises RequestTooSlow."""
        task = asyncio.current_task()
        assert task
        self._begin(task)
        try:
            return await message
        except asyncio.CancelledError:
            if task in self._expired and not task.uncancel():
                raise RequestTooSlow(self._seconds) from None
            raise
        finally:
            del self._since[task]
            self._expired.discard(task)

    def end(self, task: asyncio.Task[Any]) -> None:
        """Cancels a task: its read, if it is in one, as if its time were over."""
        if task in self._since:
            self._expired.add(task)
        task.cancel()

    def _begin(self, task: asyncio.Task[Any]) -> None:
        loop = asyncio.get_running_loop()
        self._since[task] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._expire)

    def _expire(self) -> None:
        """Cancels the reads that are too old, and sets the timer for the oldest of the others."""
        self._timer = None
        loop = asyncio.get_running_loop()
        for task, since in self._since.items():
            if since + self._seconds > loop.time():
                self._timer = loop.call_at(since + self._seconds, self._expire)
                return
            if task not in self._expired:
                self.end(task)
