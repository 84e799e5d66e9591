"""Bounds the backlog of a stream: how much memory a worker that does not read its answers can cost.

Lives on the event loop.
"""

from __future__ import annotations

import asyncio

MAX_MESSAGES = 64
MAX_NAMES = 10_000
"""Leases named by heartbeats, and updates of reports. A heartbeat of so many takes 4 MB until its answer is sent."""


class StreamBacklog:
    """The messages of a stream that were read and not answered."""

    def __init__(self) -> None:
        self._messages = self._names = 0
        self._less: asyncio.Future[None] | None = None  # an asyncio.Event takes 700 bytes, and most workers are idle

    async def enter(self, names: int) -> None:
        """Waits until a message with so many names fits; a single message always does. For one reader."""
        while self._messages and (self._messages >= MAX_MESSAGES or self._names + names > MAX_NAMES):
            self._less = asyncio.get_running_loop().create_future()
            await self._less
        self._messages += 1
        self._names += names

    def leave(self, names: int) -> None:
        self._messages -= 1
        self._names -= names
        if self._less and not self._less.done():
            self._less.set_result(None)
