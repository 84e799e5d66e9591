"""Submit tasks, and read them: the message of a submit, the conditions of a list. Layer: client."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict, TypeVar, Unpack

from contentgen.client.documents import RESOLUTION, TASK_STATUS, document, duration, timestamp, value
from contentgen.client.methods import Methods, lists, plain, returns, returns_all, returns_by, returns_if_found, takes
from contentgen.client.results import (
    AttemptLog,
    Resolution,
    Task,
    TaskEvent,
    TaskHistoryPoint,
    TaskOrder,
    TaskPage,
    TaskStats,
    TaskStatus,
)
from contentgen.client.transport import Pages
from contentgen.submit_fields import BY_NAME, FixedFields, Kind, LastingFields, NewTask, SubmitFields, TaskFields
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb

PAGE_SIZE = 200
SubmitRequest = pb.SubmitTaskRequest
"""A submit whose fields are set and checked, as `submit_request` makes it."""
Item = TypeVar("Item")


def _task_id(answer: pb.SubmitTaskResponse) -> str:
    return answer.task.task_id


def _task_ids(answer: pb.BatchSubmitTasksResponse) -> list[str]:
    return [task.task_id for task in answer.tasks]


def _statuses(tasks: list[task_pb2.Task | None]) -> list[Task | None]:
    return [None if task is None else document(Task, task) for task in tasks]


class TaskMethods(Methods):
    @returns_by(_task_id)
    @takes(LastingFields, TaskFields, FixedFields, SubmitFields)
    async def submit_task(  # noqa: PLR0917 - the old application's own order
        self,
        account_id: int,
        topic: str,
        keywords: str | None = None,
        category: str | None = None,
        requirements: str | None = None,
        tone: str | None = None,
        priority: int = 5,
        auto_approve: bool = True,
        **more: Unpack[SubmitFields],
    ) -> pb.SubmitTaskResponse:
        """Submits a task, and returns its id once it is committed. What is None has the scheduler's default.

        Args:
            account_id: an existing, active account.
            topic: what to write about, 1 to 4,000 characters.
            keywords: by comma.
            category: stored with the content.
            requirements: what the text must follow.
            tone: such as `专业`.
            priority: 1 to 10, 10 first.
            auto_approve: whether the content skips the review.
            more: the other fields, by name: those of `SubmitFields`.

        Raises:
            ResourceNotFoundException: the account does not exist.
            InvalidArgument: a bad field.
            AlreadyExists: the request_id was used for another payload.
            FailedPrecondition: the account is deactivated.
            ResourceExhausted: the queue, or the account's part of it, is full.

        Example:
            >>> task_id = client.submit_task(1, "人工智能的未来发展", tone="专业", priority=8, timeout=600)
        """
        request = submit_request(
            account_id=account_id,
            topic=topic,
            keywords=keywords,
            category=category,
            requirements=requirements,
            tone=tone,
            priority=priority,
            auto_approve=auto_approve,
            **more,
        )
        return await self._call(self._stubs.tasks.SubmitTask, _submit(request))

    @returns_by(_task_ids)
    async def submit_tasks(self, tasks: Iterable[NewTask]) -> pb.BatchSubmitTasksResponse:
        """Submits 1 to 1,000 tasks in one transaction, all or none, and returns their ids in order.

        Args:
            tasks: the arguments of `submit_task` of each, by name. Together they hold 4 MiB at most.

        Raises:
            ValueError: a name that is no argument of `submit_task`.
            TypeError: a field of another type.
            RequestError: as `submit_task`; InvalidArgument names the task by its index.

        Example:
            >>> task_ids = client.submit_tasks({"account_id": 1, "topic": topic} for topic in ("春天", "秋天"))
        """
        request = pb.BatchSubmitTasksRequest(requests=map(_submit, tasks))
        return await self._call(self._stubs.tasks.BatchSubmitTasks, request)

    @returns_if_found(Task)
    async def get_task_status(self, task_id: str) -> task_pb2.Task:
        """Returns the status dict of a task, or None if it does not exist.

        Example:
            >>> status = client.get_task_status(task_id)
            >>> print(status["status"], status["progress"])
        """
        return (await self._call(self._stubs.tasks.GetTask, pb.GetTaskRequest(task_id=task_id))).task

    @returns_by(_statuses)
    async def get_task_statuses(self, task_ids: Sequence[str]) -> list[task_pb2.Task | None]:
        """Returns the status dicts of up to 1,000 tasks in the order asked; None for each that does not exist.

        Example:
            >>> [status["status"] for status in client.get_task_statuses([task_id]) if status]
        """
        if not task_ids:
            return []
        request = pb.BatchGetTasksRequest(task_ids=task_ids)
        answer = await self._call(self._stubs.tasks.BatchGetTasks, request)
        tasks_by_id = {task.task_id: task for task in answer.tasks}
        return [tasks_by_id.get(task_id) for task_id in task_ids]

    @returns_all(Task)
    async def list_tasks(
        self,
        account_id: int | None = None,
        status: TaskStatus | Sequence[TaskStatus] | None = None,
        limit: int = 50,
        *,
        order_by: TaskOrder | None = None,
        **more: Unpack[TaskFilter],
    ) -> list[task_pb2.Task]:
        """Returns the first tasks of `iter_tasks`, `limit` at most: the newest, without `order_by`.

        Example:
            >>> pending = client.list_tasks(account_id=1, status="pending")
        """
        return await self._tasks(account_id, status, more, limit, order_by).first(limit)

    @lists(Task)
    def iter_tasks(
        self,
        account_id: int | None = None,
        status: TaskStatus | Sequence[TaskStatus] | None = None,
        *,
        page_size: int = PAGE_SIZE,
        order_by: TaskOrder | None = None,
        **more: Unpack[TaskFilter],
    ) -> Pages[task_pb2.Task]:
        """Iterates over the status dicts of tasks, which it reads page by page.

        Args:
            account_id: only of this account.
            status: only in this state, or in one of these.
            page_size: tasks a page, 1,000 at most.
            order_by: by creation or by end, rising or, with `desc`, falling; by end: only tasks that have ended. None:
                newest first.
            more: `labels`, `schedule_id`, `error_reasons`, `created_after`, `created_before`, `worker_id`, `topic`: the
                conditions of `TaskFilter`.

        Raises:
            ValueError: a state that does not exist.

        Example:
            >>> for task in client.iter_tasks(status=["failed", "timeout"], created_after="2026-01-31", topic="咖啡"):
            ...     print(task["task_id"], task["error"])
        """
        return self._tasks(account_id, status, more, page_size, order_by)

    @plain
    async def get_task_page(
        self,
        account_id: int | None = None,
        status: TaskStatus | Sequence[TaskStatus] | None = None,
        *,
        page_token: str = "",
        page_size: int = PAGE_SIZE,
        order_by: TaskOrder | None = None,
        **more: Unpack[TaskFilter],
    ) -> TaskPage:
        """Returns one page of `iter_tasks`, and where the next one begins: for lists that somebody else turns over.

        A page may be short or empty although more follow.

        Args:
            account_id: only of this account.
            status: only in this state, or in one of these.
            page_token: `next_page_token` of the page before, with the same conditions and order; empty: the first page.
            page_size: tasks, 1,000 at most.
            order_by: as in `iter_tasks`.
            more: as in `iter_tasks`.

        Raises:
            ValueError: a state that does not exist.
            InvalidArgument: the token is none, or of other conditions or another order.

        Example:
            >>> page = client.get_task_page(status="failed", page_size=50)
            >>> older = client.get_task_page(status="failed", page_size=50, page_token=page["next_page_token"])
        """
        pages = self._tasks(account_id, status, more, page_size, order_by)
        pages.token = page_token
        tasks = await pages.next() or ()
        return {"tasks": [document(Task, task) for task in tasks], "next_page_token": pages.token}

    def _tasks(
        self,
        account_id: int | None,
        status: TaskStatus | Sequence[TaskStatus] | None,
        more: TaskFilter,
        page_size: int,
        order_by: TaskOrder | None,
    ) -> Pages[task_pb2.Task]:
        request = pb.ListTasksRequest(
            account_id=account_id or 0,
            statuses=task_statuses(status),
            filter=task_filter(more),
            page_size=page_size,
            order_by=order_by or "",
        )
        return Pages(self._transport, self._stubs.tasks.ListTasks, request, lambda page: page.tasks)

    @lists(TaskEvent)
    def iter_task_events(self, task_id: str, *, page_size: int = PAGE_SIZE) -> Pages[task_pb2.TaskEvent]:
        """Iterates over the whole history of a task, oldest first, which it reads page by page.

        Raises:
            ResourceNotFoundException: the task does not exist.

        Example:
            >>> for event in client.iter_task_events(task_id):
            ...     print(event["event_time"], event["status"], event["reason"])
        """
        request = pb.ListTaskEventsRequest(task_id=task_id, page_size=page_size)
        return Pages(self._transport, self._stubs.tasks.ListTaskEvents, request, lambda page: page.events)

    @lists(AttemptLog)
    def iter_attempt_logs(self, task_id: str, *, page_size: int = PAGE_SIZE) -> Pages[task_pb2.AttemptLog]:
        """Iterates over what the CLI printed in a task's attempts, oldest first, which it reads page by page.

        Attempts that printed nothing, still run, or lost their worker are missing; the 20 newest are kept.

        Raises:
            ResourceNotFoundException: the task does not exist.

        Example:
            >>> for log in client.iter_attempt_logs(task_id):
            ...     print(log["attempt"], log["stderr"])
        """
        request = pb.ListAttemptLogsRequest(task_id=task_id, page_size=page_size)
        return Pages(self._transport, self._stubs.tasks.ListAttemptLogs, request, lambda page: page.logs)

    @returns(TaskStats)
    async def get_task_stats(self, account_id: int | None = None) -> pb.GetTaskStatsResponse:
        """Returns how many tasks are in each state, of an account or of all.

        Raises:
            ResourceNotFoundException: the account does not exist.

        Example:
            >>> print(client.get_task_stats()["counts"]["pending"])
        """
        request = pb.GetTaskStatsRequest(account_id=account_id or 0)
        return await self._call(self._stubs.tasks.GetTaskStats, request)

    @returns_all(TaskHistoryPoint)
    async def get_task_history(
        self,
        account_id: int | None = None,
        resolution: Resolution = "hour",
        *,
        start_time: datetime | str | None = None,
        end_time: datetime | str | None = None,
    ) -> Iterable[pb.TaskHistoryPoint]:
        """Returns what happened to tasks in each hour or day (of UTC), oldest first.

        Args:
            account_id: None: tasks of any account.
            resolution: "hour" or "day".
            start_time: a time in the first one; None: 24 hours, or 30 days, before `end_time`.
            end_time: a time after the last one has begun; None: now. A time without a zone is UTC.

        Raises:
            ResourceNotFoundException: the account does not exist.
            InvalidArgument: more than 1,000 points.

        Example:
            >>> for point in client.get_task_history(resolution="day"):
            ...     print(point["time"], point["submitted"], point["counts"]["completed"], point["duration_p95"])
        """
        request = pb.GetTaskHistoryRequest(
            account_id=account_id or 0,
            resolution=value(RESOLUTION, resolution),
            start_time=timestamp(start_time),
            end_time=timestamp(end_time),
        )
        return (await self._call(self._stubs.tasks.GetTaskHistory, request)).points


def _submit(task: NewTask | SubmitRequest) -> SubmitRequest:
    """Returns a submit with a `request_id`, by which it makes one task however often it arrives.

    The command has requests already. `submit_tasks` does not say that it takes them: beside them in a union, type
    checkers would not name the field that is wrong.
    """
    request = task if isinstance(task, SubmitRequest) else submit_request(**task)
    request.request_id = request.request_id or uuid.uuid4().hex
    return request


_CONVERTERS: Mapping[Kind, Callable[[Any], Any]] = {Kind.LENGTH: duration, Kind.TIME: timestamp}
_WANTED: Mapping[Kind, str] = {
    Kind.ID: "a whole number",
    Kind.TEXT: "text",
    Kind.WORDS: "text, by comma",
    Kind.WHOLE: "a whole number",
    Kind.NUMBER: "a number",
    Kind.YES_NO: "True or False",
    Kind.LENGTH: "a number of seconds",
    Kind.TIME: "a datetime, or text in ISO 8601",
    Kind.PAIRS: "a mapping of texts to texts",
}
"""What a field of each kind takes."""


OF_ONE_SUBMIT = frozenset({"INVALID_ARGUMENT", "ACCOUNT_INACTIVE", "ACCOUNT_FORBIDDEN", "REQUEST_ID_CONFLICT"})
"""Refusals of a batch for what one submit says: without it the others are taken."""


def batches(
    submits: Iterable[Item], size_of: Callable[[Item], int], largest: int, largest_size: int
) -> Iterator[list[Item]]:
    """Yields the submits in order, in batches of at most `largest`, whose sizes add up to `largest_size` at most.

    A submit that is larger by itself has a batch of its own.
    """
    batch: list[Item] = []
    batch_size = 0
    for submit in submits:
        size = size_of(submit)
        if batch and (len(batch) == largest or batch_size + size > largest_size):
            yield batch
            batch, batch_size = [], 0
        batch.append(submit)
        batch_size += size
    if batch:
        yield batch


def submit_request(**fields: Any) -> SubmitRequest:
    """Returns a submit with these fields. See `set_field`."""
    request = SubmitRequest()
    for name, field_value in fields.items():
        set_field(request, name, field_value)
    return request


def set_field(message: SubmitRequest | task_pb2.Task, name: str, value: Any) -> None:
    """Sets a field of a submit, or that of a task with the same name.

    Lengths are seconds, times datetimes or ISO 8601, pairs a mapping that replaces the one before; None is unset.

    Raises ValueError for a name that no field has and a value that is none of the field, TypeError for another type.
    """
    field = BY_NAME.get(name)
    if field is None:
        raise ValueError(f"{name!r} is no field of a submit; there are: {', '.join(BY_NAME)}")
    if value is None:
        return
    try:
        if field.kind is Kind.PAIRS:
            field_map = getattr(message, name)
            field_map.clear()
            field_map.update(value)
        elif convert := _CONVERTERS.get(field.kind):
            getattr(message, name).CopyFrom(convert(value))
        else:
            setattr(message, name, value)
    except (AttributeError, TypeError, ValueError) as error:  # they name neither the field nor what it takes
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"{name} should be {_WANTED[field.kind]}, not {value!r:.100}") from error


class TaskFilter(TypedDict, total=False):
    """Conditions that hold together, beside `account_id` and `status`; None and empty: any."""

    labels: Mapping[str, str] | None
    """Only with all of these labels."""
    schedule_id: int | None
    """Only those that this schedule submitted."""
    error_reasons: Sequence[str]
    """Only with an error of one of these reasons, such as `CREATOR_ERROR`."""
    created_after: datetime | str | None
    """Only those created then or later; a time without a zone is UTC."""
    created_before: datetime | str | None
    """Only those created earlier than that."""
    worker_id: str
    """Only those that this worker runs, or ran last."""
    topic: str
    """Only with this text in the topic, whatever the case."""


def task_filter(more: TaskFilter, status: TaskStatus | Sequence[TaskStatus] | None = None) -> pb.TaskFilter:
    """Raises ValueError for a state or a time that does not exist, or a name that is no condition."""
    fields = dict(more)
    times = {name: timestamp(fields.pop(name, None)) for name in ("created_after", "created_before")}  # type: ignore[arg-type]
    return pb.TaskFilter(statuses=task_statuses(status), **times, **fields)  # type: ignore[arg-type] # by its own names


def task_statuses(status: TaskStatus | Sequence[TaskStatus] | None) -> list[task_pb2.TaskStatus.ValueType]:
    """Raises ValueError for a state that does not exist."""
    names = [status] if isinstance(status, str) else status or ()
    return [value(TASK_STATUS, name) for name in names]
