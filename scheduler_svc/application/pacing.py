"""Work that can wait leaves the threads, the database and its disk to others for as long as each batch took.

Without that a deletion of many rows takes whatever the machine has left, and on a busy one more than that: every other
call then waits behind it.
"""

from __future__ import annotations

import time
from asyncio import sleep
from collections.abc import Awaitable
from typing import TypeVar

R = TypeVar("R")


async def timed(batch: Awaitable[R]) -> tuple[R, float]:
    """Returns what the batch returns, and for how many seconds to leave the database to others then."""
    begin = time.monotonic()
    result = await batch
    return result, time.monotonic() - begin


async def paced(batch: Awaitable[R]) -> R:
    """Returns what the batch returns, after that pause."""
    result, pause = await timed(batch)
    await sleep(pause)
    return result
