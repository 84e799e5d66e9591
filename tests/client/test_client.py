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
    FieldViolation,
    InvalidArgument,
    InvalidStateException,
    ResourceNotFoundException,
    Task,
    TaskCancelledException,
    WaitTimeoutException,
)
from tests.harness.client import KINDS, opened
from tests.harness.maker import Maker
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
    assert task == {
        **dict.fromkeys(Task.__annotations__),
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
        "schedule_time": None,
        "submitted_at": None,
        "started_at": None,
        "completed_at": None,
        "timeout_at": None,
        "timeout": 1_800.0,
        "error": None,
        "error_reason": None,
        "error_message": None,
        "error_details": {},
        "content_id": None,
        "retry_count": 0,
        "max_retries": 3,
        "auto_retry": True,
        "initial_backoff": None,
        "backoff_multiplier": None,
        "max_backoff": None,
        "schedule_id": None,
        "expire_time": None,
        "unique_key": None,
        "unique_for": None,
        "trace_id": None,
        "regenerates_content_id": None,
        "attempt": 0,
        "progress": None,
        "worker_id": None,
        "lease_id": None,
        "pending_reason": "no_workers",
    }


async def test_a_unique_key_returns_the_open_task(client: ContentGenerationClient, account: int) -> None:
    first = await to_thread(client.submit_task, account, "once", unique_key="u", unique_for=60)
    assert await to_thread(client.submit_task, account, "another", unique_key="u") == first
    task = await to_thread(client.get_task_status, first)
    assert task is not None
    assert (task["unique_key"], task["unique_for"]) == ("u", 60.0)


async def test_a_repeated_request_id_creates_nothing(client: ContentGenerationClient, account: int) -> None:
    first = await to_thread(client.submit_task, account, "once", request_id="r1")
    assert await to_thread(client.submit_task, account, "once", request_id="r1") == first
    assert await to_thread(client.submit_task, account, "once") != first
    assert len(await to_thread(client.list_tasks, account)) == 2


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


async def test_an_invalid_argument_names_its_bad_fields(client: ContentGenerationClient, account: int) -> None:
    with pytest.raises(InvalidArgument) as raised:
        await to_thread(client.submit_task, account, "", priority=11)
    assert raised.value.reason == "INVALID_ARGUMENT"
    violations = raised.value.field_violations
    assert all(isinstance(violation, FieldViolation) and violation.description for violation in violations)
    assert {violation.field for violation in violations} == {"topic", "priority"}


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


async def test_a_task_that_ended_cannot_be_cancelled(client: ContentGenerationClient, account: int) -> None:
    task_id = await to_thread(client.submit_task, account, "cancelled")
    assert await to_thread(client.cancel_task, task_id) is True
    for call in (client.cancel_task, client.retry_task):
        with pytest.raises(InvalidStateException) as raised:
            await to_thread(call, task_id)
        assert raised.value.current_state == "cancelled"
        assert "cancelled" not in raised.value.required_state.split(",")
        assert task_id in raised.value.message


async def test_a_running_task_is_cancelled_by_force_only(
    client: ContentGenerationClient, account: int, worker: ScriptedWorker
) -> None:
    task_id = await to_thread(client.submit_task, account, "running")
    [lease] = await worker.take()
    await worker.start(lease)
    with pytest.raises(InvalidStateException) as raised:
        await to_thread(client.cancel_task, task_id)
    assert raised.value.current_state == "processing"
    assert await to_thread(client.cancel_task, task_id, force=True) is True
    task = await to_thread(client.get_task_status, task_id)
    assert task is not None
    assert task["status"] == "cancelled"


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


async def test_a_content_is_reviewed_claimed_and_published(client: ContentGenerationClient, made: Maker) -> None:
    content_id = (await made(auto_approve=False, priority=7)).content_id
    reviewed = await to_thread(client.review_content, content_id, approve=True, comment="well done")
    assert (reviewed["review_status"], reviewed["review_comment"]) == ("approved", "well done")
    with pytest.raises(InvalidStateException) as raised:
        await to_thread(client.review_content, content_id, approve=False)
    assert (raised.value.current_state, raised.value.required_state) == ("approved", "pending_review")
    [entry] = await to_thread(client.claim_publish_pool, made.account, 10, lease=60)
    assert (entry["content_id"], entry["priority"], entry["status"]) == (content_id, 7, "publishing")
    assert await to_thread(client.claim_publish_pool) == []
    renewed = await to_thread(client.renew_publish_claim, content_id, entry["claim_id"], lease=600)
    assert str(renewed["claim_expires_at"]) > str(entry["claim_expires_at"])
    url = "https://site.example/7"
    published = await to_thread(client.report_published, content_id, entry["claim_id"], url=url)
    over = {"claim_expires_at": None, "publisher": None, "attempt_count": 1, "published_url": url}
    assert published == {**entry, **over, "status": "published"}
    [attempt] = await to_thread(lambda: list(client.iter_publish_attempts(content_id)))
    assert (attempt["number"], attempt["publisher"], attempt["published"]) == (1, "anonymous", True)
    with pytest.raises(InvalidStateException):
        await to_thread(client.report_published, content_id, entry["claim_id"], error="too late")


async def test_rejections_and_publishing_failures_are_shown(client: ContentGenerationClient, made: Maker) -> None:
    rejected = await to_thread(client.review_content, (await made(auto_approve=False)).content_id, approve=False)
    assert (rejected["review_status"], rejected["review_comment"]) == ("rejected", None)
    await made()
    [entry] = await to_thread(client.claim_publish_pool)
    failed = await to_thread(client.report_published, entry["content_id"], entry["claim_id"], error="the site is down")
    assert (failed["status"], failed["error"], failed["attempt_count"]) == ("pending", "the site is down", 1)
    assert failed["next_attempt_at"] is not None
    content_id = entry["content_id"]
    pending = await to_thread(client.retry_publish, content_id)
    assert (pending["status"], pending["attempt_count"], pending["next_attempt_at"]) == ("pending", 0, None)
    changed = await to_thread(client.update_publish_pool_entry, content_id, priority=1, schedule_time="2030-01-31")
    assert (changed["priority"], changed["scheduled_at"]) == (1, "2030-01-31T00:00:00+00:00")
    assert [changed] == await to_thread(lambda: list(client.iter_publish_pool(statuses=["pending"])))
    assert await to_thread(client.remove_from_publish_pool, content_id) is True
    assert await to_thread(client.remove_from_publish_pool, content_id) is False


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


async def test_the_worker_pool_is_shown(client: ContentGenerationClient, account: int, worker: ScriptedWorker) -> None:
    for _ in range(2):
        await to_thread(client.submit_task, account, "one runs, one waits")
    [lease] = await worker.take(free_slots=1)
    await worker.start(lease)
    await worker.heartbeat(free_slots=0)
    pool = await to_thread(client.get_worker_pool_status)
    [status] = pool["worker_statuses"]
    assert pool == {
        "num_workers": 1,
        "active_workers": 1,
        "total_queue_size": 1,
        "total_slots": 3,
        "worker_statuses": [status],
    }
    assert (status["worker_id"], status["running"], status["queue_size"]) == ("w1", True, 0)


async def test_accounts_are_made_and_listed(client: ContentGenerationClient) -> None:
    account = await to_thread(client.create_account, "新闻", 4, 2.5)
    assert (account["name"], account["max_concurrent_tasks"], account["weight"], account["active"]) == (
        "新闻",
        4,
        2.5,
        True,
    )
    quotas = {"max_pending_tasks": 9, "max_priority": 3, "max_starts_per_minute": 60}
    bulk = await to_thread(partial(client.create_account, "bulk", **quotas))
    assert bulk | quotas == bulk
    assert await to_thread(lambda: list(client.iter_accounts())) == [account, bulk]
