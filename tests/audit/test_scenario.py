"""The audit and the rollups of two schedulers, one of which is killed."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from contentgen import AsyncContentGenerationClient, ContentGenerationError
from tests.harness.stack import Scheduler, Stack

pytestmark = pytest.mark.e2e

CALLERS = 8


@pytest.fixture
def pair(stack: Stack) -> tuple[Scheduler, Scheduler]:
    """Two schedulers on one database."""
    first, second = (stack.scheduler(name) for name in ("first", "second"))
    return first.start(), second.start()


@pytest.mark.costly("two schedulers")
async def test_what_was_answered_is_in_the_audit_of_a_killed_scheduler(pair: tuple[Scheduler, Scheduler]) -> None:
    first, second = pair
    async with AsyncContentGenerationClient(first.target) as client:
        account = await client.create_account("an account")
    first.kill()
    async with AsyncContentGenerationClient(second.target) as client:
        (event,) = [event async for event in client.iter_audit_events()]
    assert (event["method"], event["outcome"]) == ("AccountService/CreateAccount", "OK")
    assert (event["account_id"], event["resource"]) == (account["account_id"], f"account:{account['account_id']}")


@pytest.mark.costly("two schedulers under load")
async def test_each_task_counts_once_in_history_though_a_scheduler_dies(pair: tuple[Scheduler, Scheduler]) -> None:
    first, second = pair
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
