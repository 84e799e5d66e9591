"""Makes contents: submits tasks that a scripted worker completes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from contentgen.v1 import content_service_pb2 as pb
from contentgen.v1 import task_service_pb2 as task_pb
from scheduler_svc.contents.work import list_contents
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.content import ContentFilter
from tests.harness.scheduling import Scheduling
from tests.harness.scripted_worker import ScriptedWorker

if TYPE_CHECKING:
    from contentgen.v1.content_service_pb2_grpc import ContentServiceAsyncStub
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub


# Makes contents: submits tasks that a scripted worker completes.


RESULT = ("html_body", "images", "quality_score", "title", "usage", "model")
"""What the worker reports, rather than what is submitted."""
BODY = "人工智能" * 100


class Maker:
    """Makes the contents of one account, one after the other."""

    def __init__(
        self, tasks: TaskServiceAsyncStub, contents: ContentServiceAsyncStub, worker: ScriptedWorker, account: int
    ) -> None:
        self.tasks, self.contents, self.worker, self.account = tasks, contents, worker, account

    async def __call__(self, topic: str = "a topic", body: str = BODY, **more: object) -> pb.Content:
        result = {key: more.pop(key) for key in RESULT if key in more}
        request = task_pb.SubmitTaskRequest(account_id=self.account, topic=topic, **more)  # type: ignore[arg-type]
        task_id = (await self.tasks.SubmitTask(request)).task.task_id
        (lease,) = await self.worker.take()
        await self.worker.start(lease)
        await self.worker.complete(lease, body, **result)
        task = (await self.tasks.GetTask(task_pb.GetTaskRequest(task_id=task_id))).task
        return (await self.contents.GetContent(pb.GetContentRequest(content_id=task.content_id))).content


# All pages of a list of contents.


PAGE = 7


def pages(scheduling: Scheduling, scope: Scope, wanted: ContentFilter, *, oldest_first: bool = False) -> list[int]:
    """The ids of all pages together. A page that says where it stopped must not be full."""
    ids: list[int] = []
    after: int | None = None
    lists = partial(list_contents, oldest_first=oldest_first)
    while (page := scheduling.run(lists, scope, wanted, after, PAGE)).contents or page.rest:
        assert page.rest is None or len(page.contents) < PAGE
        ids += [content.content_id for content in page.contents]
        after = page.rest or ids[-1]
    return ids
