"""Replicas within the test's process, each on a free port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from scheduler_svc.config import Address, Settings
from scheduler_svc.replica import Replica
from tests.waiting import wait_until_async

MAX_QUEUE_SIZE = 5_000


@asynccontextmanager
async def serving(db_url: str, **settings: Any) -> AsyncIterator[Replica]:
    """A replica that serves; at the end it is stopped without waiting for calls in flight."""
    async with serving_several(db_url, 1, **settings) as (replica,):
        yield replica


@asynccontextmanager
async def serving_several(db_url: str, count: int, **settings: Any) -> AsyncIterator[list[Replica]]:
    """So many of them on one database."""
    made = [
        Replica(Settings(listen=Address("127.0.0.1", 0), max_queue_size=MAX_QUEUE_SIZE, **settings), db_url)
        for _ in range(count)
    ]
    started: list[Replica] = []
    try:
        for replica in made:
            await replica.start()
            started.append(replica)
            await wait_until_async(lambda: started[-1].health.serving, within=10, what="the replica serves")
        yield started
    finally:
        for replica in started:
            await replica.stop(within=0)
        await asyncio.get_running_loop().shutdown_default_executor()  # else its threads would live as long as the loop
