"""Makes contents, by tasks that a scripted worker completes, and does with them what editors and publishers do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from grpc import aio

from contentgen.v1 import account_service_pb2 as account_pb
from contentgen.v1 import content_service_pb2 as pb
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from scheduler_svc.contents.sql.reads import ContentPage
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.content import ContentFilter
from tests.harness.client import pages_of
from tests.harness.scheduling import Scheduling
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stubs import AccountServiceAsyncStub, ContentServiceAsyncStub, TaskServiceAsyncStub


async def new_account(channel: aio.Channel, **fields: Any) -> int:
    """Returns the id of an account that takes submits."""
    request = account_pb.CreateAccountRequest(**{"name": "an account"} | fields)
    return (await AccountServiceAsyncStub(channel).CreateAccount(request)).account.account_id


class TaskClient:
    """TaskService, as a client of one account calls it."""

    def __init__(self, stub: TaskServiceAsyncStub, account: int) -> None:
        self.stub, self.account = stub, account

    def request(self, topic: str = "a topic", **fields: Any) -> task_pb.SubmitTaskRequest:
        return task_pb.SubmitTaskRequest(account_id=self.account, topic=topic, **fields)

    async def submit(self, topic: str = "a topic", **fields: Any) -> task_pb2.Task:
        return (await self.stub.SubmitTask(self.request(topic, **fields))).task

    async def submit_all(self, count: int, **fields: Any) -> list[task_pb2.Task]:
        return list((await self.batch([self.request(**fields)] * count)).tasks)

    async def batch(self, requests: Sequence[task_pb.SubmitTaskRequest]) -> task_pb.BatchSubmitTasksResponse:
        return await self.stub.BatchSubmitTasks(task_pb.BatchSubmitTasksRequest(requests=requests))

    async def get(self, task_id: str) -> task_pb2.Task:
        return (await self.stub.GetTask(task_pb.GetTaskRequest(task_id=task_id))).task

    async def cancel(self, task_id: str, *, force: bool = False) -> task_pb2.Task:
        return (await self.stub.CancelTask(task_pb.CancelTaskRequest(task_id=task_id, force=force))).task

    async def retry(self, task_id: str, *, reset_retry_count: bool = False) -> task_pb2.Task:
        request = task_pb.RetryTaskRequest(task_id=task_id, reset_retry_count=reset_retry_count)
        return (await self.stub.RetryTask(request)).task

    async def events(self, task_id: str) -> list[task_pb2.TaskEvent]:
        request = task_pb.ListTaskEventsRequest(task_id=task_id, page_size=1_000)
        return list((await self.stub.ListTaskEvents(request)).events)

    async def history(self, task_id: str) -> list[tuple[int, int]]:
        """Returns from which status to which it has moved."""
        return [(event.previous_status, event.status) for event in await self.events(task_id)]

    async def stats(self) -> task_pb.GetTaskStatsResponse:
        return await self.stub.GetTaskStats(task_pb.GetTaskStatsRequest(account_id=self.account))


async def submitted(tasks: TaskServiceAsyncStub, account: int, **fields: Any) -> str:
    """Returns the id of a new task."""
    return (await TaskClient(tasks, account).submit(**fields)).task_id


async def batch(tasks: TaskServiceAsyncStub, account: int, count: int, **fields: Any) -> list[str]:
    """Returns the ids of so many new tasks, oldest first."""
    return [task.task_id for task in await TaskClient(tasks, account).submit_all(count, **fields)]


class Desk:
    """ContentService, as editors and publishers call it."""

    def __init__(self, contents: ContentServiceAsyncStub) -> None:
        self.contents = contents

    async def read(self, content_id: int) -> pb.Content:
        return (await self.contents.GetContent(pb.GetContentRequest(content_id=content_id))).content

    async def edit(self, content_id: int, etag: str = "", reviewer: str = "", **texts: Any) -> pb.Content:
        content, mask = pb.Content(content_id=content_id, **texts), FieldMask(paths=list(texts))
        request = pb.UpdateContentRequest(content=content, update_mask=mask, etag=etag, reviewer=reviewer)
        return (await self.contents.UpdateContent(request)).content

    async def review(self, content_id: int, decision: Any = pb.REVIEW_DECISION_APPROVE, **more: Any) -> pb.Content:
        request = pb.ReviewContentRequest(content_id=content_id, decision=decision, **more)
        return (await self.contents.ReviewContent(request)).content

    async def reopen(self, content_id: int) -> pb.Content:
        return (await self.contents.ReopenContent(pb.ReopenContentRequest(content_id=content_id))).content

    async def delete(self, content_id: int, *, force: bool = False) -> None:
        await self.contents.DeleteContent(pb.DeleteContentRequest(content_id=content_id, force=force))

    async def pool(self, **wanted: Any) -> list[pb.PublishPoolEntry]:
        """Returns all pages of the entries of the publish pool together."""
        request = pb.ListPublishPoolRequest(**wanted)
        pages = await pages_of(self.contents.ListPublishPool, request, "entries")
        return [entry for page in pages for entry in page]

    async def pooled(self, **wanted: Any) -> list[int]:
        """Returns the contents in the publish pool."""
        return [entry.content_id for entry in await self.pool(**wanted)]

    async def claim(self, **fields: Any) -> list[pb.PublishPoolEntry]:
        return list((await self.contents.ClaimPublishPool(pb.ClaimPublishPoolRequest(**fields))).entries)

    async def report(self, claimed: pb.PublishPoolEntry, **fields: Any) -> pb.PublishPoolEntry:
        request = pb.ReportPublishedRequest(content_id=claimed.content_id, claim_id=claimed.claim_id, **fields)
        return (await self.contents.ReportPublished(request)).entry

    async def renew(self, claimed: pb.PublishPoolEntry, **fields: Any) -> pb.PublishPoolEntry:
        request = pb.RenewPublishClaimRequest(content_id=claimed.content_id, claim_id=claimed.claim_id, **fields)
        return (await self.contents.RenewPublishClaim(request)).entry

    async def update_entry(self, content_id: int, *paths: str, **values: Any) -> pb.PublishPoolEntry:
        entry = pb.PublishPoolEntry(content_id=content_id, **values)
        request = pb.UpdatePublishPoolEntryRequest(entry=entry, update_mask=FieldMask(paths=paths))
        return (await self.contents.UpdatePublishPoolEntry(request)).entry

    async def attempts(self, content_id: int, **fields: Any) -> list[pb.PublishAttempt]:
        request = pb.ListPublishAttemptsRequest(content_id=content_id, **fields)
        return list((await self.contents.ListPublishAttempts(request)).attempts)

    async def retry(self, content_id: int) -> pb.PublishPoolEntry:
        return (await self.contents.RetryPublish(pb.RetryPublishRequest(content_id=content_id))).entry

    async def remove(self, content_id: int) -> None:
        await self.contents.RemoveFromPublishPool(pb.RemoveFromPublishPoolRequest(content_id=content_id))


RESULT = ("html_body", "images", "quality_score", "title", "usage", "model")
"""What the worker reports, rather than what is submitted."""
BODY = "人工智能" * 100


class Maker(Desk):
    """Makes the contents of one account, one after the other."""

    def __init__(
        self, tasks: TaskServiceAsyncStub, contents: ContentServiceAsyncStub, worker: ScriptedWorker, account: int
    ) -> None:
        super().__init__(contents)
        self.tasks, self.worker, self.account = tasks, worker, account

    async def __call__(self, topic: str = "a topic", body: str = BODY, **more: object) -> pb.Content:
        result = {key: more.pop(key) for key in RESULT if key in more}
        task_id = await submitted(self.tasks, self.account, topic=topic, **more)
        await self.worker.complete(await self.worker.run(), body, **result)
        return await self.content_of(task_id)

    async def leased(self) -> worker_pb.AssignedLease:
        """Returns the lease of a new task whose CLI has started."""
        await submitted(self.tasks, self.account)
        return await self.worker.run()

    async def content_of(self, task_id: str) -> pb.Content:
        """Returns the content of a task that has completed."""
        task = (await self.tasks.GetTask(task_pb.GetTaskRequest(task_id=task_id))).task
        return await self.read(task.content_id)


# All pages of a list of contents.


PAGE = 7


def page_of(
    scheduling: Scheduling, scope: Scope, wanted: ContentFilter, after: int | None = None, *, oldest_first: bool = False
) -> ContentPage:
    """Returns the page behind a content."""
    return scheduling.run(lambda tx: tx.contents.list(scope, wanted, after, PAGE, oldest_first=oldest_first))


def pages(scheduling: Scheduling, scope: Scope, wanted: ContentFilter, *, oldest_first: bool = False) -> list[int]:
    """Returns the ids of all pages together. A page that says where it stopped must not be full."""
    ids: list[int] = []
    after: int | None = None
    while (page := page_of(scheduling, scope, wanted, after, oldest_first=oldest_first)).rows or page.rest:
        assert page.rest is None or len(page.rows) < PAGE
        ids += [content.content_id for content in page.rows]
        after = page.rest or ids[-1]
    return ids
