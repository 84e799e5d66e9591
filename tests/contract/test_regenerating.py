"""Contents that are written anew, and what becomes of the old ones; over a real server on a real database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from grpc import StatusCode

from contentgen.v1 import content_service_pb2 as pb
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as task_pb
from tests.contract.maker import Maker
from tests.harness.rpc_errors import refused

if TYPE_CHECKING:
    from contentgen.v1.content_service_pb2_grpc import ContentServiceAsyncStub

pytestmark = pytest.mark.usefixtures("shared")

APPROVE = pb.REVIEW_DECISION_APPROVE
APPROVED, REJECTED = pb.REVIEW_STATUS_APPROVED, pb.REVIEW_STATUS_REJECTED


async def regenerate(contents: ContentServiceAsyncStub, content_id: int, feedback: str = "shorter") -> task_pb2.Task:
    request = pb.RegenerateContentRequest(content_id=content_id, feedback=feedback)
    return (await contents.RegenerateContent(request)).task


async def read(contents: ContentServiceAsyncStub, content_id: int) -> pb.Content:
    return (await contents.GetContent(pb.GetContentRequest(content_id=content_id))).content


async def approve(contents: ContentServiceAsyncStub, content_id: int) -> None:
    request = pb.ReviewContentRequest(content_id=content_id, decision=APPROVE, reviewer="anna")
    await contents.ReviewContent(request)


async def reopen(contents: ContentServiceAsyncStub, content_id: int) -> None:
    await contents.ReopenContent(pb.ReopenContentRequest(content_id=content_id))


async def pool(contents: ContentServiceAsyncStub) -> list[int]:
    return [entry.content_id for entry in (await contents.ListPublishPool(pb.ListPublishPoolRequest())).entries]


async def rewritten(made: Maker, content_id: int) -> pb.Content:
    """The content that is written in its place."""
    task = await regenerate(made.contents, content_id)
    (lease,) = await made.worker.take()
    await made.worker.start(lease)
    await made.worker.complete(lease, "a shorter body")
    ended = (await made.tasks.GetTask(task_pb.GetTaskRequest(task_id=task.task_id))).task
    return await read(made.contents, ended.content_id)


async def test_the_new_task_has_the_brief_and_the_feedback(made: Maker) -> None:
    content = await made(
        "题", requirements="800 words", tone="dry", category="c", priority=8, labels={"run": "7"}, max_retries=1
    )
    task = await regenerate(made.contents, content.content_id, "shorter")
    assert task.regenerates_content_id == content.content_id
    new_task = (await made.tasks.GetTask(task_pb.GetTaskRequest(task_id=task.task_id))).task
    assert (new_task.topic, new_task.tone, new_task.category, new_task.priority) == ("题", "dry", "c", 8)
    assert (dict(new_task.labels), new_task.max_retries, new_task.auto_approve) == ({"run": "7"}, 1, False)
    assert new_task.requirements == "800 words\n\nshorter"
    assert new_task.regenerates_content_id == content.content_id
    listed = (await made.tasks.ListTasks(task_pb.ListTasksRequest())).tasks
    assert [item.regenerates_content_id for item in listed] == [content.content_id, 0]
    assert await read(made.contents, content.content_id) == content


@pytest.mark.parametrize("auto_approve", [True, False])
async def test_an_approved_one_supersedes_the_old_one(made: Maker, auto_approve: bool) -> None:
    old = await made(auto_approve=auto_approve)
    new = await rewritten(made, old.content_id)
    assert new.review_status == pb.REVIEW_STATUS_PENDING_REVIEW
    assert await read(made.contents, old.content_id) == old, "nothing happens to it before that"
    await approve(made.contents, new.content_id)
    superseded = await read(made.contents, old.content_id)
    assert superseded.superseded_by_content_id == new.content_id
    assert (superseded.review_status, superseded.reviewer) == (REJECTED, "anna")
    assert superseded.review_comment == f"superseded by content {new.content_id}"
    assert superseded.etag != old.etag
    assert await pool(made.contents) == [new.content_id]


@pytest.mark.parametrize("newest_first", [True, False])
async def test_of_both_in_one_batch_only_the_new_one_is_published(made: Maker, newest_first: bool) -> None:
    old = await made(auto_approve=False)
    new = await rewritten(made, old.content_id)
    ids = [new.content_id, old.content_id] if newest_first else [old.content_id, new.content_id]
    reviews = [pb.ReviewContentRequest(content_id=content_id, decision=APPROVE) for content_id in ids]
    decided = await made.contents.BatchReviewContents(pb.BatchReviewContentsRequest(requests=reviews))
    assert [content.content_id for content in decided.contents] == ids
    superseded = await read(made.contents, old.content_id)
    assert (superseded.review_status, superseded.superseded_by_content_id) == (REJECTED, new.content_id)
    assert await pool(made.contents) == [new.content_id]


async def test_a_rejected_one_supersedes_nothing(made: Maker) -> None:
    old = await made()
    new = await rewritten(made, old.content_id)
    request = pb.ReviewContentRequest(content_id=new.content_id, decision=pb.REVIEW_DECISION_REJECT)
    await made.contents.ReviewContent(request)
    assert await read(made.contents, old.content_id) == old
    assert await pool(made.contents) == [old.content_id]


async def test_what_a_publisher_has_stays_approved(made: Maker) -> None:
    old = await made()
    await made.contents.ClaimPublishPool(pb.ClaimPublishPoolRequest())
    new = await rewritten(made, old.content_id)
    await approve(made.contents, new.content_id)
    superseded = await read(made.contents, old.content_id)
    assert (superseded.review_status, superseded.superseded_by_content_id) == (APPROVED, new.content_id)
    assert await pool(made.contents) == [old.content_id, new.content_id]


async def test_the_approval_can_be_taken_back(made: Maker) -> None:
    old = await made()
    new = await rewritten(made, old.content_id)
    await approve(made.contents, new.content_id)
    await reopen(made.contents, new.content_id)
    assert (await read(made.contents, old.content_id)).superseded_by_content_id == 0
    await reopen(made.contents, old.content_id)
    await approve(made.contents, old.content_id)
    assert await pool(made.contents) == [old.content_id]


async def test_a_deleted_one_is_superseded_by_nothing(made: Maker) -> None:
    old = await made()
    new = await rewritten(made, old.content_id)
    await made.contents.DeleteContent(pb.DeleteContentRequest(content_id=old.content_id))
    await approve(made.contents, new.content_id)
    assert await pool(made.contents) == [new.content_id]
    await reopen(made.contents, new.content_id)


async def test_requirements_stay_within_their_bounds(made: Maker) -> None:
    long, wide = await made(requirements="x" * 19_000), await made("题" * 4_000, requirements="字" * 17_000)
    for content, feedback in ((long, "y" * 999), (wide, "字" * 1_000)):
        with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
            await regenerate(made.contents, content.content_id, feedback)
        assert refusal.fields == ["feedback"]
    assert await regenerate(made.contents, long.content_id, "y" * 998)


async def test_a_content_whose_task_was_cleaned_up_cannot_be_written_anew(made: Maker) -> None:
    content = await made()
    await made.tasks.CleanupTasks(task_pb.CleanupTasksRequest(days=0))
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND") as refusal:
        await regenerate(made.contents, content.content_id)
    assert refusal.metadata == {"resource_type": "task", "resource_id": content.task_id}
