"""Work that can wait leaves the threads, the database and its disk to others for as long as each batch took.

Without that a deletion of many rows takes whatever the machine has left, and on a busy one more than that: every other
call then waits behind it.
"""

from __future__ import annotations

import time
from asyncio import sleep
from collections.abc import Awaitable, Callable
from typing import TypeVar

R = TypeVar("R")


async def timed(batch: Awaitable[R]) -> tuple[R, float]:
    """Returns what the batch returns, and for how many seconds to leave the database to others then."""
    begin = time.monotonic()
    result = await batch
    return result, time.monotonic() - begin


class Pacing:
    """For the batches of one call: each but the first waits for as long as the one before it took."""

    def __init__(self) -> None:
        self._pause = 0.0

    async def run(self, batch: Callable[[], Awaitable[R]]) -> R:
        """Returns what the batch returns."""
        await sleep(self._pause)
        result, self._pause = await timed(batch())
        return result
