"""Submit tasks, and look at them. Layer: client."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from contentgen.client import documents
from contentgen.client.connection import Connected
from contentgen.client.documents import Document
from contentgen.client.errors import ResourceNotFoundException
from contentgen.client.fields import duration, timestamp
from contentgen.v1 import task_service_pb2 as pb

PAGE_SIZE = 200


class TaskMethods(Connected):
    def submit_task(  # noqa: PLR0917 - the old application's own order
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
        initial_backoff: float | None = None,
        backoff_multiplier: float | None = None,
        max_backoff: float | None = None,
    ) -> str:
        """The id of a new task, once it is committed. What is None has the scheduler's default.

        Args:
            account_id: an existing, active account.
            topic: what to write about, 1 to 4,000 characters.
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
            initial_backoff: seconds before the first retry; default 30.
            backoff_multiplier: what each further wait is longer by, 1 to 100; default 2.
            max_backoff: seconds of the longest wait; default 10 minutes.

        Raises:
            ResourceNotFoundException: no such account.
            grpc.RpcError: INVALID_ARGUMENT a bad field, ALREADY_EXISTS the request_id was used for something else,
                FAILED_PRECONDITION the account is deactivated, RESOURCE_EXHAUSTED the queue or the account's part of it
                is full.

        Example:
            >>> task_id = client.submit_task(1, "人工智能的未来发展", tone="专业", priority=8, timeout=600)
        """
        request = _submit(
            account_id=account_id,
            topic=topic,
            keywords=keywords,
            category=category,
            requirements=requirements,
            tone=tone,
            priority=priority,
            auto_approve=auto_approve,
            max_retries=max_retries,
            auto_retry=auto_retry,
            timeout=timeout,
            schedule_time=schedule_time,
            request_id=request_id,
            labels=labels,
            creator_options=creator_options,
            initial_backoff=initial_backoff,
            backoff_multiplier=backoff_multiplier,
            max_backoff=max_backoff,
        )
        return self._connection.call(self._connection.tasks.SubmitTask, request).task.task_id

    def submit_tasks(self, tasks: Iterable[Mapping[str, Any]]) -> list[str]:
        """The ids of 1 to 1,000 new tasks in their order, once all are committed, in one transaction: all or none.

        Args:
            tasks: of each the arguments of `submit_task`, by name. Together they hold 4 MiB at most.

        Raises:
            ValueError: a name that is no argument of `submit_task`.
            ResourceNotFoundException, grpc.RpcError: as `submit_task`; INVALID_ARGUMENT names the task by its index.

        Example:
            >>> task_ids = client.submit_tasks({"account_id": 1, "topic": topic} for topic in ("春天", "秋天"))
        """
        request = pb.BatchSubmitTasksRequest(requests=[_submit(**each) for each in tasks])
        answer = self._connection.call(self._connection.tasks.BatchSubmitTasks, request)
        return [task.task_id for task in answer.tasks]

    def get_task_status(self, task_id: str) -> Document | None:
        """How the task stands, as a status dict; None where there is no such task.

        `task_id`, `status` (`pending`, `submitted`, `processing`, `completed`, `failed`, `timeout`, `cancelled`),
        `account_id`, `topic`, `priority`, `auto_approve`, `created_at`, `submitted_at`, `started_at`, `completed_at`
        (when it ended, well or not), `timeout_at` (ISO 8601 with zone, or None), `error` (text or None), `content_id`
        (or None), `retry_count`, `attempt`, `progress` (`percent`, `step`, `message`, or None), `worker_id` (or None).

        Example:
            >>> status = client.get_task_status(task_id)
            >>> print(status["status"], status["progress"])
        """
        try:
            answer = self._connection.call(self._connection.tasks.GetTask, pb.GetTaskRequest(task_id=task_id))
        except ResourceNotFoundException:
            return None
        return documents.task(answer.task)

    def get_task_statuses(self, task_ids: Sequence[str]) -> list[Document | None]:
        """How up to 1,000 tasks stand, in the order asked; None for each that is not there.

        Example:
            >>> [status["status"] for status in client.get_task_statuses([task_id]) if status]
        """
        if not task_ids:
            return []
        request = pb.BatchGetTasksRequest(task_ids=task_ids)
        answer = self._connection.call(self._connection.tasks.BatchGetTasks, request)
        found = {task.task_id: documents.task(task) for task in answer.tasks}
        return [found.get(task_id) for task_id in task_ids]

    def list_tasks(
        self, account_id: int | None = None, status: str | Sequence[str] | None = None, limit: int = 50
    ) -> list[Document]:
        """The newest tasks, `limit` at most. See `iter_tasks`.

        Example:
            >>> pending = client.list_tasks(account_id=1, status="pending")
        """
        return list(islice(self.iter_tasks(account_id, status, page_size=limit), limit))

    def iter_tasks(
        self,
        account_id: int | None = None,
        status: str | Sequence[str] | None = None,
        *,
        page_size: int = PAGE_SIZE,
    ) -> Iterator[Document]:
        """Status dicts of all tasks, newest first, fetched by pages: of this account, in this state or any of these.

        Raises:
            ValueError: there is no such state.

        Example:
            >>> for task in client.iter_tasks(status=["failed", "timeout"]):
            ...     print(task["task_id"], task["error"])
        """
        names = [status] if isinstance(status, str) else status or ()
        request = pb.ListTasksRequest(
            account_id=account_id or 0,
            statuses=[documents.value(documents.TASK_STATUS, name) for name in names],
            page_size=page_size,
        )
        for page in self._connection.call.pages(self._connection.tasks.ListTasks, request):
            yield from map(documents.task, page.tasks)


def _submit(
    *,
    timeout: float | None = None,
    schedule_time: datetime | None = None,
    request_id: str | None = None,
    initial_backoff: float | None = None,
    max_backoff: float | None = None,
    **fields: Any,
) -> pb.SubmitTaskRequest:
    """The message of one submit. What is None is unset; a field that there is not raises ValueError."""
    return pb.SubmitTaskRequest(
        timeout=duration(timeout),
        schedule_time=timestamp(schedule_time),
        request_id=request_id or uuid.uuid4().hex,
        initial_backoff=duration(initial_backoff),
        max_backoff=duration(max_backoff),
        **fields,
    )
