"""Both clients over a real server on a real database. They block, so tests call them in threads."""

from __future__ import annotations

import asyncio
import doctest
import inspect
from asyncio import to_thread
from collections.abc import Iterator
from contextlib import chdir
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, cast

import pytest

from contentgen import (
    ContentGenerationClient,
    CreatorException,
    InvalidArgument,
    ResourceNotFoundException,
    Task,
    TaskCancelledException,
    TaskChange,
    WaitTimeoutException,
)
from contentgen.v1 import worker_service_pb2 as worker_pb
from tests.harness.client import opened
from tests.harness.maker import Maker
from tests.harness.scripted_worker import ScriptedWorker

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]

NO_TASK = "task-0000000000000000"


@pytest.fixture
def client(kind: str, target: str, ended_threads: None) -> Iterator[ContentGenerationClient]:
    with opened(kind, target) as client:
        yield client


async def test_a_submitted_task_has_the_reference_s_status_dict(client: ContentGenerationClient, account: int) -> None:
    task_id = await to_thread(
        partial(client.submit_task, labels={"order": "7"}, request_id="r1"),
        account,
        "人工智能的未来发展",
        "AI,技术",
        "科技",
        "请详细论述",
        "专业",
        8,
        False,
    )
    task = await to_thread(client.get_task_status, task_id)
    assert task is not None
    assert abs(datetime.now(UTC) - datetime.fromisoformat(task["created_at"])) < timedelta(minutes=1)
    expected = {
        "task_id": task_id,
        "status": "pending",
        "account_id": account,
        "topic": "人工智能的未来发展",
        "keywords": "AI,技术",
        "category": "科技",
        "requirements": "请详细论述",
        "tone": "专业",
        "priority": 8,
        "auto_approve": False,
        "labels": {"order": "7"},
        "request_id": "r1",
        "created_at": task["created_at"],
        "timeout": 1_800.0,
        "error_details": {},
        "retry_count": 0,
        "max_retries": 3,
        "auto_retry": True,
        "attempt": 0,
        "pending_reason": "no_workers",
        "worker_selector": {},
    }
    assert task == {**dict.fromkeys(Task.__annotations__), **expected}


async def test_missing_objects_return_none_or_raise(client: ContentGenerationClient, account: int) -> None:
    task_id = await to_thread(client.submit_task, account, "there")
    assert await to_thread(client.get_task_status, NO_TASK) is None
    statuses = await to_thread(client.get_task_statuses, [NO_TASK, task_id])
    assert [status and status["task_id"] for status in statuses] == [None, task_id]
    assert await to_thread(client.get_task_statuses, []) == []
    assert await to_thread(client.cancel_task, NO_TASK) is False
    assert await to_thread(client.get_content, 2**40) is None
    for call in (client.retry_task, client.wait):
        with pytest.raises(ResourceNotFoundException, match=NO_TASK) as raised:
            await to_thread(call, NO_TASK)
        assert NO_TASK in raised.value.message
    with pytest.raises(ResourceNotFoundException, match="account 999"):
        await to_thread(client.submit_task, 999, "测试")


async def test_lists_iterate_over_all_pages(client: ContentGenerationClient, account: int) -> None:
    task_ids = [await to_thread(client.submit_task, account, f"topic {i}") for i in range(5)]
    await to_thread(client.cancel_task, task_ids[0])

    paged = await to_thread(lambda: list(client.iter_tasks(account, page_size=2)))
    assert [task["task_id"] for task in paged] == task_ids[::-1]
    newest = await to_thread(client.list_tasks, account, limit=3)
    assert [task["task_id"] for task in newest] == task_ids[:1:-1]
    cancelled = await to_thread(client.list_tasks, account, "cancelled")
    assert [task["task_id"] for task in cancelled] == task_ids[:1]
    assert len(await to_thread(client.list_tasks, None, ["pending", "cancelled"])) == 5
    page = await to_thread(client.get_task_page, account, page_size=3)
    assert [task["task_id"] for task in page["tasks"]] == task_ids[:1:-1]
    token = page["next_page_token"]
    page = await to_thread(client.get_task_page, account, page_size=3, page_token=token)
    assert ([task["task_id"] for task in page["tasks"]], page["next_page_token"]) == (task_ids[1::-1], "")
    with pytest.raises(InvalidArgument):
        await to_thread(client.get_task_page, account, "cancelled", page_token=token)
    with pytest.raises(ValueError, match="'lost' should be one of pending, submitted"):
        await to_thread(client.list_tasks, account, cast("Any", "lost"))


async def test_wait_returns_the_ended_task_whose_content_can_be_read(
    client: ContentGenerationClient, account: int, worker: ScriptedWorker
) -> None:
    task_id = await to_thread(client.submit_task, account, "an end", priority=7)
    waiting = asyncio.create_task(to_thread(client.wait, task_id, 30, check=True))
    await worker.complete(await worker.run(), body="the body", images=["a.jpg"], quality_score=0.5)
    ended = await waiting
    assert (ended["status"], ended["error"], ended["worker_id"], ended["attempt"]) == ("completed", None, "w1", 1)
    assert ended["completed_at"] is not None
    content = await to_thread(client.get_content, ended["content_id"])
    assert content is not None
    assert content["task_id"] == task_id
    assert (content["body"], content["cover_image"], content["quality_score"]) == ("the body", "a.jpg", 0.5)
    assert content["review_status"] == "approved"
    [listed] = await to_thread(lambda: list(client.iter_contents(account, "approved")))
    assert listed == {**content, "body": "", "html_body": ""}
    assert await to_thread(lambda: list(client.iter_contents(account, "pending_review"))) == []
    [entry] = await to_thread(lambda: list(client.iter_publish_pool(account)))
    assert (entry["content_id"], entry["priority"], entry["status"]) == (ended["content_id"], 7, "pending")


async def test_wait_returns_the_present_task_at_its_timeout(client: ContentGenerationClient, account: int) -> None:
    task_id = await to_thread(client.submit_task, account, "for ever pending")
    assert (await to_thread(client.wait, task_id, 0.05))["status"] == "pending"
    with pytest.raises(WaitTimeoutException, match=task_id) as raised:
        await to_thread(client.wait, task_id, 0.05, check=True)
    assert isinstance(raised.value, TimeoutError)
    assert (raised.value.task["task_id"], raised.value.task["status"]) == (task_id, "pending")


async def test_wait_with_check_raises_if_the_task_was_cancelled(client: ContentGenerationClient, account: int) -> None:
    task_id = await to_thread(client.submit_task, account, "cancelled")
    await to_thread(client.cancel_task, task_id)
    assert (await to_thread(client.wait, task_id))["status"] == "cancelled"
    with pytest.raises(TaskCancelledException, match=task_id) as raised:
        await to_thread(client.wait, task_id, check=True)
    assert raised.value.task["error_reason"] == "CANCELLED_BY_CLIENT"


async def test_a_failed_task_raises_with_check_and_is_retried_up_to_max_retries(
    client: ContentGenerationClient, account: int, worker: ScriptedWorker
) -> None:
    task_id = await to_thread(client.submit_task, account, "fails", auto_retry=False, max_retries=1)
    await worker.fail(await worker.run())
    failed = await to_thread(client.wait, task_id)
    assert (failed["status"], failed["error"]) == ("failed", "CREATOR_ERROR: it failed")
    with pytest.raises(CreatorException, match="it failed") as raised:
        await to_thread(client.wait, task_id, check=True)
    assert raised.value.details["reason"] == "CREATOR_ERROR"
    assert await to_thread(client.retry_task, task_id) is True
    await worker.fail(await worker.run())
    assert (await to_thread(client.wait, task_id))["retry_count"] == 1
    assert await to_thread(client.retry_task, task_id) is False


WHOLE_LIFE = [None, "pending", "submitted", "processing", "completed"]


async def run_one(worker: ScriptedWorker) -> None:
    await worker.complete(await worker.run())


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


# The examples in the docstrings of the client's methods, each with the objects that it needs.


async def end_with_tail(worker: ScriptedWorker, lease: worker_pb.AssignedLease) -> None:
    """Completes a lease once a caller reads what its CLI prints."""
    tail_id = (await worker.read("tail")).tail.tail_id
    await worker.write(worker_pb.LeaseRequest(output=worker_pb.Output(tail_id=tail_id, text="all", size=3, ended=True)))
    await worker.complete(lease)


def _leave_archive(client: ContentGenerationClient, name: str, account_id: int) -> None:
    """Makes of an account that is to be imported an archive."""
    if name == "import_account":
        client.export_account(account_id, "account.tar")
        client.erase_account(account_id)


METHODS = {
    name: method
    for name, method in inspect.getmembers(ContentGenerationClient, inspect.isfunction)
    if not name.startswith("_") and name != "close"
}


@pytest.mark.parametrize("name", sorted(METHODS))
async def test_an_example_can_be_run(
    name: str, target: str, maker: Maker, worker: ScriptedWorker, tmp_path: Path
) -> None:
    examples = doctest.DocTestParser().get_examples(inspect.getdoc(METHODS[name]) or "")
    source = "".join(statement.source for statement in examples)
    assert f"client.{name}(" in source
    with ContentGenerationClient(target) as client, chdir(tmp_path):
        names: dict[str, Any] = {"client": client, "task_id": "", "worker_id": worker.hello.worker_id}
        await to_thread(_leave_archive, client, name, maker.account)
        if "content_id" in source:
            names["content_id"] = (
                await maker(auto_approve=name not in {"review_content", "review_contents"})
            ).content_id
        if "claim_id" in source:
            [entry] = await to_thread(client.claim_publish_pool)
            names["claim_id"] = entry["claim_id"]
        if "task_id" in source:
            names["task_id"] = await to_thread(client.submit_task, maker.account, "a topic", auto_retry=False)
        if "schedule_id" in source:
            schedule = await to_thread(client.create_schedule, maker.account, "0 0 1 1 *", {"topic": "a topic"})
            names["schedule_id"] = schedule["schedule_id"]
        if "channel_id" in source:
            channel = await to_thread(client.create_channel, "feishu://0123456789abcdef", ["task.failed"])
            names["channel_id"] = channel["channel_id"]
        if "webhook_id" in source or "delivery_id" in source:
            hook = await to_thread(client.create_webhook, "https://news.example/hook", ["task.ended"])
            names["webhook_id"] = hook["webhook_id"]
        if "delivery_id" in source:
            names["delivery_id"] = (await to_thread(client.ping_webhook, names["webhook_id"]))["delivery_id"]
        if name == "retry_task":
            await worker.fail(await worker.run())
        if name in {"wait", "watch"}:
            await to_thread(client.cancel_task, names["task_id"])
        ends = [end_with_tail(worker, await worker.run())] if name == "tail_attempt" else []
        await asyncio.gather(to_thread(exec, compile(source, name, "exec"), names), *ends)
