"""`ContentGenerationClient`: one method a call, plain dicts out.

Layer: the top of client.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from itertools import islice
from typing import Self

import grpc
from contentgen.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    content_service_pb2,
    content_service_pb2_grpc,
    task_pb2,
    task_service_pb2,
    task_service_pb2_grpc,
    worker_pool_service_pb2,
    worker_pool_service_pb2_grpc,
)
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from scheduler_svc.client import documents
from scheduler_svc.client.connection import Caller, open_channel
from scheduler_svc.client.documents import Document
from scheduler_svc.client.errors import ResourceNotFoundException, creator_exception, refusal

TIMEOUT = 10.0
"""Seconds that a call may take, the waiting in `wait` not counted."""
LONGEST_WAIT = 60.0
"""Seconds of one WaitTask: proxies cut calls that are silent for long, so a long wait is several."""
PAGE_SIZE = 200


class ContentGenerationClient:
    """The schedulers at a target, from a thread's point of view. Any number of threads may share one.

    Methods raise ResourceNotFoundException, InvalidStateException, and for the rest (a bad field, no scheduler, a
    deadline) `grpc.RpcError`. Calls that are safe to repeat are, when the scheduler is UNAVAILABLE.
    """

    def __init__(
        self,
        target: str,
        *,
        token: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float = TIMEOUT,
        channel: grpc.Channel | None = None,
    ) -> None:
        """Connects at the first call.

        Args:
            target: any gRPC target, such as `host:50051` or `ipv4:10.0.0.1:50051,10.0.0.2:50051`.
            token: sent with every call, where the scheduler asks for one.
            credentials: of a TLS channel, such as `grpc.ssl_channel_credentials(ca)`; None: plaintext.
            timeout: seconds that a call may take.
            channel: used in place of one to `target`, and left open by `close`; it repeats no call by itself.
        """
        self._owned = ExitStack()
        if channel is None:
            channel = self._owned.enter_context(open_channel(target, credentials))
        self._call = Caller(token, timeout)
        self._tasks = task_service_pb2_grpc.TaskServiceStub(channel)
        self._contents = content_service_pb2_grpc.ContentServiceStub(channel)
        self._accounts = account_service_pb2_grpc.AccountServiceStub(channel)
        self._pool = worker_pool_service_pb2_grpc.WorkerPoolServiceStub(channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends what is under way. Calls after it raise ValueError."""
        self._owned.close()

    def submit_task(  # noqa: PLR0917 - the reference's own order
        self,
        account_id: int,
        topic: str,
        keywords: str | None = None,
        category: str | None = None,
        requirements: str | None = None,
        tone: str | None = None,
        priority: int = 5,
        auto_approve: bool = True,
        *,
        max_retries: int | None = None,
        auto_retry: bool | None = None,
        timeout: float | None = None,
        schedule_time: datetime | None = None,
        request_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        creator_options: Mapping[str, str] | None = None,
    ) -> str:
        """The id of a new task, once it is committed. What is None has the scheduler's default.

        Args:
            account_id: an existing, active account.
            topic: what to write about.
            keywords: by comma.
            category: kept with the content.
            requirements: what the text must heed.
            tone: such as `专业`.
            priority: 1 to 10, 10 first.
            auto_approve: whether the content skips the review.
            max_retries: 0 to 100; default 3.
            auto_retry: whether failures are retried by themselves; default True.
            timeout: seconds that one attempt may take; default 30 minutes.
            schedule_time: not before; one without a zone is UTC.
            request_id: the same id again returns the first task. Default: a new one, so that a repeated call is safe.
            labels: the caller's own.
            creator_options: extra `--key=value` for the CLI.

        Raises:
            ResourceNotFoundException: no such account.
            grpc.RpcError: INVALID_ARGUMENT a bad field, ALREADY_EXISTS the request_id was used for something else,
                FAILED_PRECONDITION the account is deactivated, RESOURCE_EXHAUSTED the queue is full.
        """
        request = task_service_pb2.SubmitTaskRequest(
            account_id=account_id,
            topic=topic,
            keywords=keywords or "",
            category=category or "",
            requirements=requirements or "",
            tone=tone or "",
            priority=priority,
            auto_approve=auto_approve,
            max_retries=max_retries,
            auto_retry=auto_retry,
            timeout=_duration(timeout),
            schedule_time=_timestamp(schedule_time),
            request_id=request_id or uuid.uuid4().hex,
            labels=labels or {},
            creator_options=creator_options or {},
        )
        return self._call(self._tasks.SubmitTask, request).task.task_id

    def get_task_status(self, task_id: str) -> Document | None:
        """How the task stands; None where there is no such task."""
        try:
            response = self._call(self._tasks.GetTask, task_service_pb2.GetTaskRequest(task_id=task_id))
        except ResourceNotFoundException:
            return None
        return documents.task(response.task)

    def get_task_statuses(self, task_ids: Sequence[str]) -> list[Document | None]:
        """How up to 1,000 tasks stand, in the order asked; None for each that is not there."""
        if not task_ids:
            return []
        request = task_service_pb2.BatchGetTasksRequest(task_ids=task_ids)
        found = {task.task_id: documents.task(task) for task in self._call(self._tasks.BatchGetTasks, request).tasks}
        return [found.get(task_id) for task_id in task_ids]

    def list_tasks(
        self, account_id: int | None = None, status: str | Sequence[str] | None = None, limit: int = 50
    ) -> list[Document]:
        """The newest tasks, `limit` at most. See `iter_tasks`."""
        return list(islice(self.iter_tasks(account_id, status, page_size=limit), limit))

    def iter_tasks(
        self,
        account_id: int | None = None,
        status: str | Sequence[str] | None = None,
        *,
        page_size: int = PAGE_SIZE,
    ) -> Iterator[Document]:
        """All tasks, newest first, fetched page by page: of this account, in this state or one of these.

        Raises:
            ValueError: there is no such state.
        """
        names = [status] if isinstance(status, str) else status or ()
        request = task_service_pb2.ListTasksRequest(
            account_id=account_id or 0,
            statuses=[documents.value(documents.TASK_STATUS, name) for name in names],
            page_size=page_size,
        )
        for page in self._call.pages(self._tasks.ListTasks, request):
            yield from map(documents.task, page.tasks)

    def cancel_task(self, task_id: str, force: bool = False) -> bool:
        """True once it is cancelled, False where there is no such task.

        Args:
            task_id: the task.
            force: also where a worker holds it; what it runs is then killed.

        Raises:
            InvalidStateException: it has ended, or a worker holds it and `force` is off.
        """
        request = task_service_pb2.CancelTaskRequest(task_id=task_id, force=force)
        try:
            self._call(self._tasks.CancelTask, request)
        except ResourceNotFoundException:
            return False
        return True

    def retry_task(self, task_id: str) -> bool:
        """True once it is pending again, False where its retries are used up.

        Raises:
            ResourceNotFoundException: no such task.
            InvalidStateException: it has neither failed nor timed out.
        """
        try:
            self._call(self._tasks.RetryTask, task_service_pb2.RetryTaskRequest(task_id=task_id))
        except grpc.RpcError as error:
            if refusal(error).reason == "RETRIES_EXHAUSTED":
                return False
            raise
        return True

    def wait(self, task_id: str, timeout: float | None = None, check: bool = False) -> Document:
        """The status dict once the task has ended, or as it stands after `timeout` seconds; None: however long.

        Ended is completed, cancelled, or failed or timed out with no retry to come; then `completed_at` is set.

        Raises:
            ResourceNotFoundException: no such task.
            CreatorException: with `check`, where the task has ended as failed or timed out.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            waits = LONGEST_WAIT if end is None else min(max(end - time.monotonic(), 0.0), LONGEST_WAIT)
            request = task_service_pb2.WaitTaskRequest(task_id=task_id, timeout=_duration(waits))
            task = self._call(self._tasks.WaitTask, request, waits=waits).task
            if task.HasField("end_time") or (end is not None and time.monotonic() >= end):
                break
        if check and task.HasField("end_time") and task.status in _FAILED:
            raise creator_exception(task.error)
        return documents.task(task)

    def get_worker_pool_status(self) -> Document:
        """`num_workers`, `active_workers`, `total_queue_size`, `total_slots`, `worker_statuses`."""
        request = worker_pool_service_pb2.GetWorkerPoolRequest()
        return documents.worker_pool(self._call(self._pool.GetWorkerPool, request))

    def get_content(self, content_id: int) -> Document | None:
        """A content with its texts; None where there is no such content."""
        request = content_service_pb2.GetContentRequest(content_id=content_id)
        try:
            return documents.content(self._call(self._contents.GetContent, request).content)
        except ResourceNotFoundException:
            return None

    def iter_contents(self, account_id: int | None = None, review_status: str | None = None) -> Iterator[Document]:
        """All contents without their texts, newest first, fetched page by page.

        Raises:
            ValueError: `review_status` is none of `pending_review`, `approved`, `rejected`.
        """
        request = content_service_pb2.ListContentsRequest(account_id=account_id or 0, page_size=PAGE_SIZE)
        if review_status is not None:
            request.review_status = documents.value(documents.REVIEW_STATUS, review_status)
        for page in self._call.pages(self._contents.ListContents, request):
            yield from map(documents.content, page.contents)

    def iter_publish_pool(self, account_id: int | None = None) -> Iterator[Document]:
        """All entries of the publish pool, fetched page by page."""
        request = content_service_pb2.ListPublishPoolRequest(account_id=account_id or 0, page_size=PAGE_SIZE)
        for page in self._call.pages(self._contents.ListPublishPool, request):
            yield from map(documents.publish_pool_entry, page.entries)

    def review_content(self, content_id: int, *, approve: bool, comment: str = "") -> Document:
        """The content after its review; an approved one is in the publish pool.

        Raises:
            ResourceNotFoundException: no such content.
            InvalidStateException: it was decided before, by a review or by `auto_approve`.
        """
        decision = (
            content_service_pb2.REVIEW_DECISION_APPROVE if approve else content_service_pb2.REVIEW_DECISION_REJECT
        )
        request = content_service_pb2.ReviewContentRequest(content_id=content_id, decision=decision, comment=comment)
        return documents.content(self._call(self._contents.ReviewContent, request).content)

    def claim_publish_pool(
        self, account_id: int | None = None, limit: int = 1, *, lease: float | None = None
    ) -> list[Document]:
        """Up to `limit` (1,000 at most) due entries for this publisher only, the highest priority first.

        Args:
            account_id: only of this account; None: of any.
            limit: how many at most.
            lease: seconds until what is not reported can be claimed by others; default 10 minutes.
        """
        request = content_service_pb2.ClaimPublishPoolRequest(
            account_id=account_id or 0, limit=limit, lease=_duration(lease)
        )
        return [documents.publish_pool_entry(it) for it in self._call(self._contents.ClaimPublishPool, request).entries]

    def report_published(self, content_id: int, claim_id: str, *, error: str | None = None) -> Document:
        """The entry once it is published or, with an `error`, has failed for good.

        Raises:
            ResourceNotFoundException: not in the pool.
            InvalidStateException: the claim ran out, is not the latest, or was reported before.
        """
        request = content_service_pb2.ReportPublishedRequest(
            content_id=content_id, claim_id=claim_id, published=error is None, error=error or ""
        )
        return documents.publish_pool_entry(self._call(self._contents.ReportPublished, request).entry)

    def create_account(self, name: str, max_concurrent_tasks: int = 0, weight: float = 1.0) -> Document:
        """A new account; `max_concurrent_tasks` 0: no limit. Operators only, where tokens are asked."""
        request = account_service_pb2.CreateAccountRequest(
            name=name, max_concurrent_tasks=max_concurrent_tasks, weight=weight
        )
        return documents.account(self._call(self._accounts.CreateAccount, request).account)

    def iter_accounts(self) -> Iterator[Document]:
        """All accounts by id, fetched page by page."""
        request = account_service_pb2.ListAccountsRequest(page_size=PAGE_SIZE)
        for page in self._call.pages(self._accounts.ListAccounts, request):
            yield from map(documents.account, page.accounts)


_FAILED = (task_pb2.TASK_STATUS_FAILED, task_pb2.TASK_STATUS_TIMEOUT)


def _duration(seconds: float | None) -> Duration | None:
    if seconds is None:
        return None
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def _timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
