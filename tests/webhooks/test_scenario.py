"""Webhooks of two schedulers, one of which is killed while it delivers: each event arrives, by one id however often."""

from __future__ import annotations

from collections import defaultdict

import pytest
import sqlalchemy as sa

from contentgen import AsyncContentGenerationClient
from tests.harness.receivers import receiving
from tests.harness.stack import Stack
from tests.harness.waiting import wait_until_async

pytestmark = pytest.mark.e2e

TASKS = 10
LIMIT = 60


async def end_a_task(client: AsyncContentGenerationClient) -> str:
    task_id = await client.submit_task(1, "a topic")
    await client.cancel_task(task_id)
    return task_id


@pytest.mark.costly("two schedulers under load")
async def test_each_event_arrives_by_one_id_though_a_scheduler_dies_delivering(stack: Stack, engine: sa.Engine) -> None:
    first, second = (stack.scheduler(name, CONTENTGEN_WEBHOOK_ALLOW="127.0.0.1") for name in ("first", "second"))
    first.start()
    second.start()
    async with (
        receiving() as receiver,
        AsyncContentGenerationClient(f"ipv4:{first.target},{second.target}") as client,
        AsyncContentGenerationClient(first.target) as of_first,
        AsyncContentGenerationClient(second.target) as of_second,
    ):
        await client.create_account("an account")
        webhook = await of_first.create_webhook(receiver.url, ["task.ended"])

        async def told() -> bool:
            await end_a_task(of_second)
            return bool(receiver.received)

        await wait_until_async(told, within=LIMIT, what="the other scheduler knows the webhook")
        ended = [await end_a_task(client) for _ in range(TASKS)]
        receiver.answer = receiver.hang
        tried = await end_a_task(of_first)

        def messages() -> dict[str, list[str]]:
            """The ids of the messages about each task."""
            message_ids = defaultdict(list)
            for request in receiver.received:
                message_ids[request.message["data"]["task_id"]].append(request.message_id)
            return message_ids

        await wait_until_async(lambda: tried in messages(), within=LIMIT, what="the first one is trying")
        first.kill()
        receiver.hanging.set()
        with engine.begin() as connection:  # what the killed one was trying would be due after half a minute
            connection.execute(sa.text("UPDATE webhook_deliveries SET next_attempt_time = now() WHERE status = 1"))
        ended += [await end_a_task(client) for _ in range(TASKS)]
        await wait_until_async(
            lambda: messages().keys() >= set(ended) and len(messages()[tried]) > 1,
            within=LIMIT,
            what="every event has arrived, and the other scheduler has repeated what the killed one was trying",
        )
        assert {len(set(messages()[task_id])) for task_id in (*ended, tried)} == {1}
        for request in receiver.received:
            request.verify(webhook["secret"])

        async def delivered() -> bool:
            return {delivery["status"] async for delivery in of_second.iter_deliveries(webhook["webhook_id"])} == {
                "delivered"
            }

        await wait_until_async(delivered, within=LIMIT, what="all is delivered")
