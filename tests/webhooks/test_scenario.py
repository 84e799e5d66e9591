"""Webhooks of two schedulers, one of which is killed while it delivers: each event arrives, by one id however often."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
import sqlalchemy as sa

from contentgen import AsyncContentGenerationClient, EventType
from tests.harness.receivers import Receiver, receiving
from tests.harness.stack import Scheduler, Stack
from tests.harness.waiting import wait_until_async

pytestmark = pytest.mark.e2e

TASKS = 100
LIMIT = 60
EVENTS: Sequence[EventType] = ["task.ended"]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def pair(stack: Stack) -> tuple[Scheduler, Scheduler]:
    """Two schedulers on one database."""
    first, second = (stack.scheduler(name, CONTENTGEN_WEBHOOK_ALLOW="127.0.0.1") for name in ("first", "second"))
    return first.start(), second.start()


def expire_claims(engine: sa.Engine) -> None:
    """Makes every pending delivery due: what a killed scheduler was trying would be after half a minute."""
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE webhook_deliveries SET next_attempt_time = now() WHERE status = 1"))


async def end_a_task(client: AsyncContentGenerationClient) -> str:
    task_id = await client.submit_task(1, "a topic")
    await client.cancel_task(task_id)
    return task_id


async def test_the_other_scheduler_repeats_what_a_killed_one_was_trying(
    pair: tuple[Scheduler, Scheduler], receiver: Receiver, engine: sa.Engine
) -> None:
    first, second = pair
    receiver.answer = receiver.hang
    async with AsyncContentGenerationClient(first.target) as client:
        await client.create_account("an account")
        webhook = await client.create_webhook(receiver.url, EVENTS)
        task_id = await end_a_task(client)
    await receiver.take(1)
    first.kill()
    receiver.hanging.set()
    expire_claims(engine)
    before, after = (await receiver.take(2))[:2]
    assert before.message_id == after.message_id
    after.verify(webhook["secret"])
    assert {request.message["data"]["task_id"] for request in receiver.received} == {task_id}
    async with AsyncContentGenerationClient(second.target) as client:

        async def delivered() -> bool:
            return [delivery["status"] async for delivery in client.iter_deliveries(webhook["webhook_id"])] == [
                "delivered"
            ]

        predicate: Callable[[], bool | Awaitable[bool]] = delivered
        await wait_until_async(predicate, within=LIMIT, what="it is delivered")


@pytest.mark.costly("two schedulers under load")
async def test_each_event_arrives_by_one_id_though_a_scheduler_is_killed_midway(
    pair: tuple[Scheduler, Scheduler], receiver: Receiver, engine: sa.Engine
) -> None:
    first, second = pair
    async with AsyncContentGenerationClient(first.target) as client:
        await client.create_account("an account")
        await client.create_webhook(receiver.url, EVENTS)
    await known_to(second, receiver)
    async with AsyncContentGenerationClient(f"ipv4:{first.target},{second.target}") as client:
        ended = [await end_a_task(client) for _ in range(TASKS // 2)]
        first.kill()
        ended += [await end_a_task(client) for _ in range(TASKS // 2)]
    expire_claims(engine)

    def ids() -> dict[str, set[str]]:
        """The ids of the messages about each task."""
        message_ids: dict[str, set[str]] = {}
        for request in receiver.received:
            message_ids.setdefault(request.message["data"]["task_id"], set()).add(request.message_id)
        return message_ids

    await wait_until_async(lambda: ids().keys() >= set(ended), within=LIMIT, what="every event has arrived")
    assert [len(ids()[task_id]) for task_id in ended] == [1] * TASKS


async def known_to(scheduler: Scheduler, receiver: Receiver) -> None:
    """Once an event of this scheduler arrives: another one has created the webhook."""
    async with AsyncContentGenerationClient(scheduler.target) as client:

        async def told() -> bool:
            await end_a_task(client)
            return bool(receiver.received)

        predicate: Callable[[], bool | Awaitable[bool]] = told
        await wait_until_async(predicate, within=LIMIT, what="the other scheduler knows the webhook")
