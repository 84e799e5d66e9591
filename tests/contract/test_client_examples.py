"""The examples in the docstrings of the client's methods, each with the objects that it needs."""

from __future__ import annotations

import doctest
import inspect
from asyncio import to_thread
from collections.abc import Callable
from typing import Any

import pytest

from contentgen import ContentGenerationClient
from tests.contract.maker import Maker
from tests.harness.scripted_worker import ScriptedWorker

pytestmark = pytest.mark.usefixtures("shared")

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
