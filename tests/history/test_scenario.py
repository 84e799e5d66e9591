"""The rollups of two schedulers, one of which is killed."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from contentgen import AsyncContentGenerationClient, ContentGenerationError
from tests.harness.stack import Stack

pytestmark = pytest.mark.e2e

CALLERS = 8


@pytest.mark.costly("two schedulers under load", seconds=1)
async def test_each_task_counts_once_in_history_though_a_scheduler_dies(stack: Stack) -> None:
    first, second = (stack.scheduler(name).start() for name in ("first", "second"))
    begun = asyncio.Event()

    async def submit(client: AsyncContentGenerationClient) -> None:
        with suppress(ContentGenerationError):  # what was under way at the kill may be stored or not
            while True:
                await client.cancel_task(await client.submit_task(1, "a topic"))
                begun.set()

    async with AsyncContentGenerationClient(first.target) as client:
        await client.create_account("an account")
        async with asyncio.TaskGroup() as callers:
            for _ in range(CALLERS):
                callers.create_task(submit(client))
            await begun.wait()
            first.kill()
    async with AsyncContentGenerationClient(second.target) as client:
        points = await client.get_task_history(1, "day")
        stats = await client.get_task_stats(1)
    submitted = sum(point["submitted"] for point in points)
    cancelled = sum(point["counts"]["cancelled"] for point in points)
    assert submitted == sum(stats["counts"].values()) > 0
    assert cancelled == stats["counts"]["cancelled"] > 0
