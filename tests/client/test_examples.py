"""The examples in the client's docstrings, and what both clients follow."""

from __future__ import annotations

import doctest
import inspect
from asyncio import to_thread
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from typing import Any

import pytest

from contentgen import ContentGenerationClient, TaskChange
from tests.harness.client import KINDS, opened
from tests.harness.maker import Maker
from tests.harness.scripted_worker import ScriptedWorker

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]


# The examples in the docstrings of the client's methods, each with the objects that it needs.


METHODS = {
    name: method
    for name, method in inspect.getmembers(ContentGenerationClient, inspect.isfunction)
    if not name.startswith("_") and name != "close"
}


@pytest.mark.parametrize("name", sorted(METHODS))
async def test_an_example_can_be_run(name: str, target: str, made: Maker, worker: ScriptedWorker) -> None:
    source = example(METHODS[name])
    assert f"client.{name}(" in source
    with ContentGenerationClient(target) as client:
        names: dict[str, Any] = {"client": client, "task_id": "", "worker_id": worker.hello.worker_id}
        if "content_id" in source:
            names["content_id"] = (
                await made(auto_approve=name not in {"review_content", "review_contents"})
            ).content_id
        if "claim_id" in source:
            [entry] = await to_thread(client.claim_publish_pool)
            names["claim_id"] = entry["claim_id"]
        if "task_id" in source:
            names["task_id"] = await to_thread(client.submit_task, made.account, "a topic", auto_retry=False)
        if "schedule_id" in source:
            made_schedule = await to_thread(client.create_schedule, made.account, "0 0 1 1 *", {"topic": "a topic"})
            names["schedule_id"] = made_schedule["schedule_id"]
        if "webhook_id" in source or "delivery_id" in source:
            hook = await to_thread(client.create_webhook, "https://news.example/hook", ["task.ended"])
            names["webhook_id"] = hook["webhook_id"]
        if "delivery_id" in source:
            names["delivery_id"] = (await to_thread(client.ping_webhook, names["webhook_id"]))["delivery_id"]
        if name == "retry_task":
            [lease] = await worker.take()
            await worker.start(lease)
            await worker.fail(lease)
        if name in {"wait", "watch"}:
            await to_thread(client.cancel_task, names["task_id"])
        await to_thread(exec, compile(source, name, "exec"), names)


def example(method: Callable[..., Any]) -> str:
    """The statements of its docstring."""
    examples = doctest.DocTestParser().get_examples(inspect.getdoc(method) or "")
    return "".join(statement.source for statement in examples)


# Both clients' watches and polls over real servers on a real database.


WHOLE_LIFE = [None, "pending", "submitted", "processing", "completed"]


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, target: str, ended_threads: None) -> Iterator[ContentGenerationClient]:
    with opened(request.param, target) as client:
        yield client


async def run_one(worker: ScriptedWorker) -> None:
    [lease] = await worker.take()
    await worker.start(lease)
    await worker.complete(lease)


def moves(events: list[TaskChange]) -> list[tuple[str | None, str]]:
    return [(event["previous_status"], event["task"]["status"]) for event in events]


async def test_a_watch_shows_the_present_state_then_every_move_and_ends_with_the_task(
    client: ContentGenerationClient, account: int, worker: ScriptedWorker
) -> None:
    task_id = await to_thread(client.submit_task, account, "watched")
    with await to_thread(client.watch([task_id], until_ended=True).__enter__) as watch:
        first = await to_thread(next, watch)
        await run_one(worker)
        events = [first, *await to_thread(list, watch)]
    assert moves(events) == [(None, "pending"), *pairwise(WHOLE_LIFE[1:])]
    assert {event["task"]["task_id"] for event in events} == {task_id}
    assert len({event["resume_token"] for event in events}) == len(events)
    assert events[-1]["task"]["content_id"] is not None
    assert await to_thread(list, client.watch([task_id], until_ended=True)) != []


async def test_an_entered_watch_sees_later_submits(
    client: ContentGenerationClient, account: int, worker: ScriptedWorker
) -> None:
    with await to_thread(client.watch(account_id=account).__enter__) as watch:
        task_id = await to_thread(client.submit_task, account, "seen from its submit")
        await run_one(worker)
        events = await to_thread(lambda: list(islice(watch, 4)))
    assert moves(events) == list(pairwise(WHOLE_LIFE))
    assert {event["task"]["task_id"] for event in events} == {task_id}
