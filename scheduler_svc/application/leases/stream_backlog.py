"""What one worker's stream may have under way: how much a worker that does not read its answers can cost.

Lives on the event loop.
"""

from __future__ import annotations

import asyncio

MAX_MESSAGES = 64
MAX_NAMES = 10_000
"""Leases named by states, and updates of reports: a state of so many takes 4 MB until its answer is sent."""


class StreamBacklog:
    """The messages of a stream that were read and whose answers are not written yet."""

    def __init__(self) -> None:
        self._messages = self._names = 0
        self._less: asyncio.Future[None] | None = None  # an asyncio.Event takes 700 bytes, and most workers are idle

    async def enter(self, names: int) -> None:
        """Returns once there is room for a message with so many names; one alone always has it. For one reader."""
        while self._messages and (self._messages >= MAX_MESSAGES or self._names + names > MAX_NAMES):
            self._less = asyncio.get_running_loop().create_future()
            await self._less
        self._messages += 1
        self._names += names

    def leave(self, names: int) -> None:
        """The answer to such a message is written."""
        self._messages -= 1
        self._names -= names
        if self._less and not self._less.done():
            self._less.set_result(None)
