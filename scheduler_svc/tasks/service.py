"""TaskService: submit, read, watch, cancel and retry tasks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter
from typing import Any

from grpc import aio

from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1.task_service_pb2_grpc import TaskServiceServicer
from scheduler_svc.config import Settings
from scheduler_svc.domain.account import ALL
from scheduler_svc.domain.ids import parse_task_id
from scheduler_svc.domain.lifecycle import ENDED, OPEN, RETRYABLE, Status
from scheduler_svc.domain.task import ExistingTask, NewTask, TaskFilter, TaskOrder
from scheduler_svc.runtime.access import Context, caller, caller_trace
from scheduler_svc.runtime.auditing import counts_resources, replaces
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.interceptor import send_headers
from scheduler_svc.runtime.pages import MAX_PAGE_BYTES, PageRequest
from scheduler_svc.runtime.server import MAX_MESSAGE_BYTES
from scheduler_svc.runtime.tracing import Tracer
from scheduler_svc.runtime.validation import MAX_DURATION, MAX_INT32, MAX_ITEMS, SubmitViolations, Violations, task_key
from scheduler_svc.tasks import change, messages, query, requests
from scheduler_svc.tasks.bulk import Bulk
from scheduler_svc.tasks.messages import new_task, read_period, task_edit
from scheduler_svc.tasks.requests import end_place, end_position, read_filter, read_order
from scheduler_svc.tasks.submit import SubmitCommitter, SubmitItem
from scheduler_svc.tasks.tails import Tails
from scheduler_svc.tasks.waits import PollWaiters, Waiters
from scheduler_svc.watch.watchers import Overrun
from scheduler_svc.watch.watches import Watches

DEFAULT_WAIT = timedelta(seconds=30)
MAX_WAIT = timedelta(minutes=10)
DEFAULT_BULK_LIMIT = 1_000
DEFAULT_CLEANUP_DAYS = 7
MAX_CLEANUP_DAYS = 365_000
"""More counts as this: no task is that old."""
_MAX_ADDED_BYTES = 320
"""The most bytes by which a new task exceeds its request: ids, times, defaults, trace."""


@dataclass(eq=False)
class TaskService(TaskServiceServicer):
    reads: Calls
    writes: Calls
    submits: SubmitCommitter
    settings: Settings
    waiters: Waiters
    watches: Watches
    polls: PollWaiters
    tails: Tails
    bulk: Bulk
    tracer: Tracer

    async def SubmitTask(self, request: pb.SubmitTaskRequest, context: Context) -> pb.SubmitTaskResponse:
        with SubmitViolations(self.settings) as violations:
            new = new_task(request, violations)
        with self.tracer.submit("TaskService/SubmitTask", caller_trace(context)) as span:
            stored = await self.submits.commit(SubmitItem(span.traced((new,)), request.ByteSize()))
            span.stored(stored)
        (task,) = stored
        return pb.SubmitTaskResponse(task=messages.task(task), existing=isinstance(task, ExistingTask))

    async def BatchSubmitTasks(
        self, request: pb.BatchSubmitTasksRequest, context: Context
    ) -> pb.BatchSubmitTasksResponse:
        size = request.ByteSize()
        with SubmitViolations(self.settings) as violations:
            new = _new_tasks(request, size, violations)
        counts_resources(task.account_id for task in new)
        with self.tracer.submit("TaskService/BatchSubmitTasks", caller_trace(context)) as span:
            tasks = await self.submits.commit(SubmitItem(span.traced(new), size, batch=True))
            span.stored(tasks)
        response = pb.BatchSubmitTasksResponse()
        for i, task in enumerate(tasks):
            messages.fill_task(response.tasks.add(), task)
            if isinstance(task, ExistingTask):
                response.existing_indexes.append(i)
        return response

    async def GetTask(self, request: pb.GetTaskRequest, context: object) -> pb.GetTaskResponse:
        key = await self._own_task_key(request.task_id)
        task, reason, next_time = await self.reads.run(query.explain_task, key, self.settings.lease_ttl)
        return pb.GetTaskResponse(task=messages.task(task, reason, next_time))

    async def BatchGetTasks(self, request: pb.BatchGetTasksRequest, context: object) -> pb.BatchGetTasksResponse:
        with Violations() as violations:
            if violations.count("task_ids", len(request.task_ids), 1, MAX_ITEMS):
                for i, task_id in enumerate(request.task_ids):
                    violations.required(f"task_ids[{i}]", task_id)
        keys = {task_id: parse_task_id(task_id) for task_id in request.task_ids}
        stored_tasks = await self.reads.run(query.get_tasks, [key for key in keys.values() if key is not None])
        scope = caller().scope
        tasks = [messages.task(task) for task in stored_tasks if task.account_id in scope]
        with violations:
            size = sum(task.ByteSize() for task in tasks)
            if size > MAX_PAGE_BYTES:
                text = f"must be fewer: the response would have {size:,} bytes, the limit is {MAX_PAGE_BYTES:,}"
                violations.add("task_ids", text)
        present = {task.task_id for task in tasks}
        missing = [task_id for task_id in keys if task_id not in present]
        return pb.BatchGetTasksResponse(tasks=tasks, missing_task_ids=missing)

    async def ListTasks(self, request: pb.ListTasksRequest, context: object) -> pb.ListTasksResponse:
        with Violations() as violations:
            task_filter, order = read_filter(request, violations), read_order(request, violations)
            listed = ("ListTasks", *task_filter.selection(), *([] if order is TaskOrder.NEWEST else [order]))
            if order.of_ends:
                ends = PageRequest.of_times(request, violations, *listed)
            else:
                page = PageRequest.of(request, violations, *listed)
        if order.of_ends:
            return await self._list_ended(task_filter.wanted, ends, first_ended=order.rises)
        result = await self.reads.run(
            lambda tx: tx.task_reads.list(task_filter.wanted, page.position, page.limit, oldest_first=order.rises)
        )
        tasks, token = page.cut(result.rows, messages.listed_task, attrgetter("task_key"), result.rest)
        return pb.ListTasksResponse(tasks=tasks, next_page_token=token)

    async def _list_ended(
        self, wanted: TaskFilter, page: PageRequest[list[int]], *, first_ended: bool
    ) -> pb.ListTasksResponse:
        behind = end_place(page.position)
        result = await self.reads.run(
            lambda tx: tx.task_reads.list_ended(wanted, behind, page.limit, first_ended=first_ended)
        )
        rest = result.rest and end_position(result.rest)
        tasks, token = page.cut(result.rows, messages.listed_task, end_position, rest)
        return pb.ListTasksResponse(tasks=tasks, next_page_token=token)

    async def CancelTask(self, request: pb.CancelTaskRequest, context: object) -> pb.CancelTaskResponse:
        task = await self.writes.run(change.cancel_task, await self._own_task_key(request.task_id), request.force)
        return pb.CancelTaskResponse(task=messages.task(task))

    async def UpdateTask(self, request: pb.UpdateTaskRequest, context: object) -> pb.UpdateTaskResponse:
        with SubmitViolations(self.settings) as violations:
            violations.required("task.task_id", request.task.task_id)
            edit = task_edit(request, violations)
        key = await self._own_task_key(request.task.task_id)
        before, task = await self.writes.run(change.update_task, key, edit)
        replaces(messages.task(before))
        return pb.UpdateTaskResponse(task=messages.task(task))

    async def RetryTask(self, request: pb.RetryTaskRequest, context: object) -> pb.RetryTaskResponse:
        key = await self._own_task_key(request.task_id)
        task = await self.writes.run(change.retry_task, key, request.reset_retry_count)
        return pb.RetryTaskResponse(task=messages.task(task))

    async def WaitTask(self, request: pb.WaitTaskRequest, context: object) -> pb.WaitTaskResponse:
        with Violations() as violations:
            violations.required("task_id", request.task_id)
            timeout = DEFAULT_WAIT
            if request.HasField("timeout"):
                timeout = violations.duration("timeout", request.timeout, timedelta(0), MAX_DURATION)
        key = await self._own_task_key(request.task_id)
        task = await self.waiters.wait(key, min(timeout, MAX_WAIT).total_seconds())
        return pb.WaitTaskResponse(task=messages.task(task))

    async def ListTaskEvents(self, request: pb.ListTaskEventsRequest, context: object) -> pb.ListTaskEventsResponse:
        with Violations() as violations:
            violations.required("task_id", request.task_id)
            page = PageRequest.of(request, violations, "ListTaskEvents", request.task_id)
        key = await self._own_task_key(request.task_id)
        events = await self.reads.run(query.list_events, key, page.position or 0, page.limit)
        listed, token = page.cut(events, messages.task_event, attrgetter("seq"))
        return pb.ListTaskEventsResponse(events=listed, next_page_token=token)

    async def ListAttemptLogs(self, request: pb.ListAttemptLogsRequest, context: object) -> pb.ListAttemptLogsResponse:
        with Violations() as violations:
            violations.required("task_id", request.task_id)
            page = PageRequest.of(request, violations, "ListAttemptLogs", request.task_id)
        key = await self._own_task_key(request.task_id)
        logs = await self.reads.run(query.list_attempt_logs, key, page.position or 0, page.limit)
        listed, token = page.cut(logs, messages.attempt_log, attrgetter("attempt"))
        return pb.ListAttemptLogsResponse(logs=listed, next_page_token=token)

    async def GetTaskStats(self, request: pb.GetTaskStatsRequest, context: object) -> pb.GetTaskStatsResponse:
        with Violations() as violations:
            violations.account_filter("account_id", request.account_id)
        return messages.task_stats(await self.reads.run(query.task_stats, caller().scope))

    async def GetTaskHistory(self, request: pb.GetTaskHistoryRequest, context: object) -> pb.GetTaskHistoryResponse:
        with Violations() as violations:
            violations.account_filter("account_id", request.account_id)
            period = read_period(request, violations)
        points = await self.reads.run(query.task_history, caller().scope, *period)
        return pb.GetTaskHistoryResponse(points=map(messages.history_point, points))

    async def HandleTimeouts(self, request: pb.HandleTimeoutsRequest, context: object) -> pb.HandleTimeoutsResponse:
        with Violations() as violations:
            violations.account_filter("account_id", request.account_id)
        count = await self.bulk.handle_timeouts(caller().scope)
        return pb.HandleTimeoutsResponse(timeout_count=count)

    async def BulkCancelTasks(self, request: pb.BulkCancelTasksRequest, context: object) -> pb.BulkCancelTasksResponse:
        with Violations() as violations:
            task_filter = read_filter(request, violations, among=OPEN if request.force else frozenset({Status.PENDING}))
            violations.number("limit", request.limit, 0, MAX_INT32)
        matched, changed = await self.bulk.cancel(
            task_filter.wanted, force=request.force, limit=request.limit or DEFAULT_BULK_LIMIT, dry_run=request.dry_run
        )
        return pb.BulkCancelTasksResponse(matched_count=matched, changed_count=changed)

    async def BulkRetryTasks(self, request: pb.BulkRetryTasksRequest, context: object) -> pb.BulkRetryTasksResponse:
        with Violations() as violations:
            task_filter = read_filter(request, violations, among=RETRYABLE)
            violations.number("limit", request.limit, 0, MAX_INT32)
        matched, changed = await self.bulk.retry(
            task_filter.wanted,
            reset=request.reset_retry_count,
            limit=request.limit or DEFAULT_BULK_LIMIT,
            dry_run=request.dry_run,
        )
        return pb.BulkRetryTasksResponse(retried_count=changed, matched_count=matched, changed_count=changed)

    async def CleanupTasks(self, request: pb.CleanupTasksRequest, context: object) -> pb.CleanupTasksResponse:
        days = request.days if request.HasField("days") else DEFAULT_CLEANUP_DAYS
        with Violations() as violations:
            task_filter = read_filter(request, violations, among=ENDED)
            violations.number("days", days, 0, MAX_INT32)
            violations.number("limit", request.limit, 0, MAX_INT32)
        age = timedelta(days=min(days, MAX_CLEANUP_DAYS))
        matched, changed = await self.bulk.clean_up(
            task_filter.wanted, age, limit=request.limit or None, dry_run=request.dry_run
        )
        deleted = matched if request.dry_run else changed
        return pb.CleanupTasksResponse(deleted_count=deleted, matched_count=matched, changed_count=changed)

    async def PollRunningTasks(
        self, request: pb.PollRunningTasksRequest, context: object
    ) -> pb.PollRunningTasksResponse:
        with Violations() as violations:
            violations.account_filter("account_id", request.account_id)
        result = await self.polls.poll_running(caller().scope)
        return pb.PollRunningTasksResponse(**result._asdict())

    async def PollTask(self, request: pb.PollTaskRequest, context: object) -> pb.PollTaskResponse:
        status = await self.polls.poll_task(await self._own_task_key(request.task_id))
        return pb.PollTaskResponse(status=messages.task_status(status))

    async def WatchTasks(  # type: ignore[override] # its messages are serialized already
        self, request: pb.WatchTasksRequest, context: aio.ServicerContext[Any, Any]
    ) -> AsyncGenerator[bytes, None]:
        selection = requests.selection(request, caller().scope)
        await self._check_ownership(selection.keys)
        resumed = requests.resume_position(request, selection)
        async with self.watches.open(selection, resumed, present=not request.skip_present) as watch:
            await send_headers(context.send_initial_metadata(()))  # the client misses no event from here on
            responses = requests.Responses(watch, selection)
            try:
                async with aclosing(watch.changes()) as changes:
                    async for selected in changes:
                        yield selected.encoded(responses.encode)
            except Overrun as overrun:
                raise overrun.kind(responses.token) from None

    async def TailAttempt(
        self, request: pb.TailAttemptRequest, context: object
    ) -> AsyncGenerator[pb.TailAttemptResponse, None]:
        position = requests.tail_position(request)
        key = await self._own_task_key(request.task_id)
        async with aclosing(self.tails.follow(key, position)) as pieces:
            async for piece in pieces:
                yield requests.tail_response(request.task_id, piece)

    async def _own_task_key(self, task_id: str) -> int:
        """Returns the key of a task that the caller may access. Raises InvalidArgument, NotFound."""
        key = task_key(task_id)
        await self._check_ownership([key])
        return key

    async def _check_ownership(self, keys: Sequence[int]) -> None:
        """Raises NotFound if the caller may not access one of these tasks."""
        scope = caller().scope
        if keys and scope != ALL:
            await self.reads.run(query.require_own_tasks, scope, keys)


def _new_tasks(request: pb.BatchSubmitTasksRequest, size: int, violations: SubmitViolations) -> tuple[NewTask, ...]:
    if not violations.count("requests", len(request.requests), 1, MAX_ITEMS):
        return ()
    tasks = []
    for i, task_request in enumerate(request.requests):
        violations.path = f"requests[{i}]."
        tasks.append(new_task(task_request, violations))
    violations.path = ""
    _check_request_ids(tasks, violations)
    _check_response_size(request, size, violations)
    return tuple(tasks)


def _check_request_ids(tasks: Sequence[NewTask], violations: Violations) -> None:
    """Adds a violation for each request_id that is repeated with another payload."""
    first: dict[tuple[int, str], int] = {}
    for i, task in enumerate(tasks):
        first_index = first.setdefault((task.account_id, task.request_id), i) if task.request_id else i
        if first_index != i and tasks[first_index].fingerprint() != task.fingerprint():
            violations.add(
                f"requests[{i}].request_id", f"must not repeat that of requests[{first_index}], whose payload differs"
            )


def _check_response_size(request: pb.BatchSubmitTasksRequest, size: int, violations: Violations) -> None:
    """Refuses a batch whose response the client could not receive after all is stored."""
    size += len(request.requests) * _MAX_ADDED_BYTES
    if size > MAX_MESSAGE_BYTES:
        size -= sum(len(task_request.requirements.encode()) for task_request in request.requests)
    if size > MAX_MESSAGE_BYTES:
        text = f"must be split: the response could have {size:,} bytes, the limit is {MAX_MESSAGE_BYTES:,}"
        violations.add("requests", text)
