"""Replicas within the test's process, each on a free port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from contentgen.service.values import Address
from scheduler_svc.config import Settings
from scheduler_svc.replica.replica import Replica
from scheduler_svc.runtime.access import Limits
from tests.harness.waiting import wait_until_async

MAX_QUEUE_SIZE = 5_000


@asynccontextmanager
async def serving(db_url: str, **settings: Any) -> AsyncIterator[Replica]:
    """A replica that serves; at the end it is stopped without waiting for calls in flight."""
    async with serving_all(db_url, 1, **settings) as (replica,):
        yield replica


@asynccontextmanager
async def serving_all(db_url: str, count: int, **settings: Any) -> AsyncIterator[list[Replica]]:
    """`count` replicas on one database."""
    try:
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(serving_beside(db_url, **settings)) for _ in range(count)]
    finally:  # else its threads would live as long as the loop
        await asyncio.get_running_loop().shutdown_default_executor()


@asynccontextmanager
async def serving_beside(db_url: str, limits: Limits | None = None, **settings: Any) -> AsyncIterator[Replica]:
    """`serving` beside another replica that lives longer and uses the loop's threads too."""
    with TemporaryDirectory() as assets:
        more = {"assets": Path(assets), **settings}
        wanted = Settings(listen=Address("127.0.0.1", 0), max_queue_size=MAX_QUEUE_SIZE, **more)
        replica = Replica(wanted, db_url, limits)
        await replica.start()
        try:
            await wait_until_async(lambda: replica.health.serving, within=60, what="the replica serves")
            yield replica
        finally:
            await replica.stop(within=0)
