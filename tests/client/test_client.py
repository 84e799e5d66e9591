"""Both clients over a real server on a real database. They block, so tests call them in threads."""

from __future__ import annotations

import asyncio
from asyncio import to_thread
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, cast

import pytest

from contentgen import (
    ContentGenerationClient,
    CreatorException,
    InvalidArgument,
    ResourceNotFoundException,
    Task,
    TaskCancelledException,
    WaitTimeoutException,
)
from tests.harness.client import KINDS, opened
from tests.harness.scripted_worker import ScriptedWorker

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]

NO_TASK = "task-0000000000000000"


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, target: str, ended_threads: None) -> Iterator[ContentGenerationClient]:
    with opened(request.param, target) as client:
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
    told = {
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
    }
    assert task == {**dict.fromkeys(Task.__annotations__), **told}


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
    [lease] = await worker.take()
    await worker.start(lease)
    await worker.complete(lease, body="the body", images=["a.jpg"], quality_score=0.5)
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
    [lease] = await worker.take()
    await worker.start(lease)
    await worker.fail(lease)
    failed = await to_thread(client.wait, task_id)
    assert (failed["status"], failed["error"]) == ("failed", "CREATOR_ERROR: it failed")
    with pytest.raises(CreatorException, match="it failed") as raised:
        await to_thread(client.wait, task_id, check=True)
    assert raised.value.details["reason"] == "CREATOR_ERROR"
    assert await to_thread(client.retry_task, task_id) is True
    [lease] = await worker.take()
    await worker.start(lease)
    await worker.fail(lease)
    assert (await to_thread(client.wait, task_id))["retry_count"] == 1
    assert await to_thread(client.retry_task, task_id) is False
