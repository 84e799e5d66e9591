"""Rests between the batches of work for which nobody waits, so that they take half of the database's time at most."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

R = TypeVar("R")


async def resting(batch: Awaitable[R]) -> R:
    """Runs a batch, then rests for as long as it took."""
    began = time.monotonic()
    result = await batch
    await asyncio.sleep(time.monotonic() - began)
    return result
