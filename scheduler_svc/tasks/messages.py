"""Tasks from and to messages: bounds and defaults of submits and updates, and the tasks that are answered.

Tasks are filled in place, since lists have a thousand of them; the other messages are built by keyword or by name.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

from google.protobuf.duration_pb2 import Duration

from contentgen.v1 import task_pb2 as task_pb
from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.domain.change import TaskChange
from scheduler_svc.domain.lifecycle import DEFAULT_BACKOFF, RetryBackoff
from scheduler_svc.domain.rollup import HistoryPoint, Resolution
from scheduler_svc.domain.task import (
    DEFAULT_MAX_RETRIES,
    DEFAULT_PRIORITY,
    DEFAULT_TIMEOUT,
    MAX_MULTIPLIER,
    MAX_PRIORITY,
    MAX_RETRIES,
    MIN_PRIORITY,
    NO_TIME,
    TEXTS,
    AttemptLog,
    NewTask,
    PendingReason,
    Task,
    TaskEdit,
    TaskError,
    TaskEvent,
    TaskStats,
)
from scheduler_svc.runtime.validation import (
    LISTED_TEXTS,
    MAX_NAME,
    SubmitViolations,
    Violations,
    duration,
    fill_brief,
    message_of,
    read_brief,
    set_duration,
    set_timestamp,
    timestamp,
)

MIN_TIMEOUT = timedelta(seconds=1)
MAX_TIMEOUT = timedelta(days=3_650)
"""Keeps every time that is computed from it storable."""
MIN_BACKOFF = timedelta(milliseconds=1)
MAX_BACKOFF = timedelta(days=30)


def new_task(request: pb.SubmitTaskRequest, bad: SubmitViolations) -> NewTask:
    """Returns the task to store, if `bad` stays empty."""
    is_set = request.HasField
    bad.id("account_id", request.account_id)
    new = NewTask(
        account_id=request.account_id,
        brief=read_brief(request, bad),
        priority=request.priority if is_set("priority") else DEFAULT_PRIORITY,
        auto_approve=request.auto_approve if is_set("auto_approve") else True,
        max_retries=request.max_retries if is_set("max_retries") else DEFAULT_MAX_RETRIES,
        auto_retry=request.auto_retry if is_set("auto_retry") else True,
        timeout=bad.duration("timeout", request.timeout, MIN_TIMEOUT, MAX_TIMEOUT)
        if is_set("timeout")
        else DEFAULT_TIMEOUT,
        schedule_time=bad.time("schedule_time", request.schedule_time) if is_set("schedule_time") else None,
        request_id=request.request_id,
        labels=bad.labels("labels", request.labels),
        backoff=_backoff(request, bad),
        expire_time=bad.time("expire_time", request.expire_time) if is_set("expire_time") else None,
        unique_key=request.unique_key,
        unique_for=_unique_for(request, bad) if is_set("unique_for") else NO_TIME,
        worker_selector=bad.labels("worker_selector", request.worker_selector),
    )
    bad.text("request_id", new.request_id, MAX_NAME)
    if new.unique_key:
        bad.text("unique_key", new.unique_key, MAX_NAME)
    bad.number("priority", new.priority, MIN_PRIORITY, MAX_PRIORITY)
    bad.number("max_retries", new.max_retries, 0, MAX_RETRIES)
    if new.expire_time and new.schedule_time and new.expire_time <= new.schedule_time:
        bad.add("expire_time", "must be after schedule_time")
    return new


def _unique_for(request: pb.SubmitTaskRequest, violations: Violations) -> timedelta:
    if not request.unique_key:
        violations.add("unique_for", "must not be set without unique_key")
    return violations.duration("unique_for", request.unique_for, NO_TIME, MAX_TIMEOUT)


def _backoff(request: pb.SubmitTaskRequest, violations: Violations) -> RetryBackoff:
    is_set = request.HasField
    multiplier = request.backoff_multiplier if is_set("backoff_multiplier") else None
    if multiplier is not None:
        violations.number("backoff_multiplier", multiplier, 1, MAX_MULTIPLIER)
    initial = _wait_ms("initial_backoff", request.initial_backoff, violations) if is_set("initial_backoff") else None
    longest = _wait_ms("max_backoff", request.max_backoff, violations) if is_set("max_backoff") else None
    if initial is not None and longest is not None and longest < initial:
        violations.add("max_backoff", "must be at least initial_backoff")
    return RetryBackoff(initial, multiplier, longest)


def _wait_ms(field: str, message: Duration, violations: Violations) -> int:
    return violations.duration(field, message, MIN_BACKOFF, MAX_BACKOFF) // MIN_BACKOFF


_MESSAGES: tuple[Literal["timeout", "schedule_time", "expire_time"], ...] = ("timeout", "schedule_time", "expire_time")
"""Fields that are unset or given; the others always have a value."""
EDITABLE = (*TEXTS, "priority", "auto_approve", "max_retries", "auto_retry", "labels", *_MESSAGES)


def task_edit(request: pb.UpdateTaskRequest, bad: SubmitViolations) -> TaskEdit:
    """Returns the values of the fields that the mask names, if `bad` stays empty."""
    paths = bad.mask("update_mask", request.update_mask, EDITABLE)
    outer, bad.path = bad.path, "task."
    new = new_task(_as_submit(request, paths), bad)
    bad.path = outer
    texts = {name: getattr(new.brief, name) for name in TEXTS if name in paths}
    return TaskEdit(texts, {name: getattr(new, name) for name in paths.difference(TEXTS)})


def _as_submit(request: pb.UpdateTaskRequest, paths: frozenset[str]) -> pb.SubmitTaskRequest:
    """Returns a submit with the named fields, which is valid if they are."""
    task, submit = request.task, pb.SubmitTaskRequest(account_id=1, topic="a topic")
    for name in paths.difference(_MESSAGES, ("labels",)):
        setattr(submit, name, getattr(task, name))
    if "labels" in paths:
        submit.labels.update(task.labels)
    for message in _MESSAGES:
        if message in paths and task.HasField(message):
            getattr(submit, message).CopyFrom(getattr(task, message))
    return submit


MAX_POINTS = 1_000
_USUAL = {Resolution.HOUR: timedelta(days=1), Resolution.DAY: timedelta(days=30)}
"""How long before the end a period begins."""
_FIRST = datetime.min.replace(tzinfo=UTC)


def read_period(request: pb.GetTaskHistoryRequest, bad: Violations) -> tuple[Resolution, datetime, datetime]:
    """Returns the resolution, the start of the first hour or day, and the time before which the last one begins."""
    resolution = bad.status("resolution", request.resolution, Resolution) or Resolution.HOUR
    end = bad.optional_time("end_time", request) or datetime.now(UTC)
    earliest = max(end, _FIRST + _USUAL[resolution]) - _USUAL[resolution]
    start = resolution.floor(bad.optional_time("start_time", request) or earliest)
    if end < start:
        bad.add("end_time", "must not be earlier than start_time")
    elif (end - start) / resolution.length > MAX_POINTS:
        bad.add("start_time", f"must be at most {MAX_POINTS:,} {resolution.name.lower()}s before end_time")
    return resolution, start, end


task_status = task_pb.TaskStatus.ValueType
_pending_reason = task_pb.PendingReason.ValueType


def task(
    stored_task: Task, reason: PendingReason = PendingReason.NONE, next_attempt_time: datetime | None = None
) -> task_pb.Task:
    """Returns a whole task; what it waits for is for GetTask only."""
    message = listed_task(stored_task)
    message.requirements = stored_task.brief.requirements
    message.pending_reason = _pending_reason(reason)
    if next_attempt_time:
        set_timestamp(message.next_attempt_time, next_attempt_time)
    return message


def listed_task(stored_task: Task) -> task_pb.Task:
    """Returns a task without `requirements`."""
    message = task_pb.Task()
    fill_task(message, stored_task)
    return message


def fill_task(message: task_pb.Task, stored_task: Task) -> None:
    """Sets the fields of a task but `requirements`: half the cost of a constructor."""
    message.task_id = stored_task.task_id
    message.account_id = stored_task.account_id
    fill_brief(message, stored_task.brief, LISTED_TEXTS)
    message.priority = stored_task.priority
    message.auto_approve = stored_task.auto_approve
    message.status = task_status(stored_task.status)
    set_timestamp(message.create_time, stored_task.create_time)
    if stored_task.schedule_time:
        set_timestamp(message.schedule_time, stored_task.schedule_time)
    set_duration(message.timeout, stored_task.timeout)
    message.max_retries = stored_task.max_retries
    message.auto_retry = stored_task.auto_retry
    if stored_task.backoff != DEFAULT_BACKOFF:
        _fill_backoff(message, stored_task.backoff)
    if stored_task.labels:
        message.labels.update(stored_task.labels)
    message.request_id = stored_task.request_id
    message.regenerates_content_id = stored_task.regenerates_content_id
    if stored_task.attempt:
        _fill_attempts(message, stored_task)
    if stored_task.error is not None:
        message.error.CopyFrom(task_error(stored_task.error))
    if stored_task.end_time:
        set_timestamp(message.end_time, stored_task.end_time)
    if stored_task.schedule_id:
        message.schedule_id = stored_task.schedule_id
    if stored_task.expire_time:
        set_timestamp(message.expire_time, stored_task.expire_time)
    if stored_task.unique_key or stored_task.trace or stored_task.worker_selector:
        _fill_rare(message, stored_task)


def _fill_rare(message: task_pb.Task, stored_task: Task) -> None:
    message.unique_key = stored_task.unique_key
    if stored_task.unique_for:
        set_duration(message.unique_for, stored_task.unique_for)
    message.worker_selector.update(stored_task.worker_selector)
    if stored_task.trace:
        message.trace_id = stored_task.trace.trace_id


def _fill_backoff(message: task_pb.Task, backoff: RetryBackoff) -> None:
    if backoff.initial_ms is not None:
        message.initial_backoff.FromMilliseconds(backoff.initial_ms)
    if backoff.multiplier is not None:
        message.backoff_multiplier = backoff.multiplier
    if backoff.max_ms is not None:
        message.max_backoff.FromMilliseconds(backoff.max_ms)


def _fill_attempts(message: task_pb.Task, stored_task: Task) -> None:
    message.attempt = stored_task.attempt
    message.retry_count = stored_task.retry_count
    message.worker_id = stored_task.worker_id
    message.lease_id = stored_task.lease_id
    if stored_task.submit_time:
        set_timestamp(message.submit_time, stored_task.submit_time)
    if stored_task.start_time:
        set_timestamp(message.start_time, stored_task.start_time)
    if stored_task.timeout_time:
        set_timestamp(message.timeout_time, stored_task.timeout_time)
    if stored_task.progress is not None:
        progress = stored_task.progress
        message.progress.CopyFrom(
            task_pb.TaskProgress(percent=progress.percent, step=progress.step, message=progress.message)
        )
    message.content_id = stored_task.content_id


def task_error(error: TaskError) -> task_pb.TaskError:
    return task_pb.TaskError(reason=error.reason, message=error.message, details=error.details)


def task_event(event: TaskEvent) -> task_pb.TaskEvent:
    return message_of(task_pb.TaskEvent, event)


def attempt_log(log: AttemptLog) -> task_pb.AttemptLog:
    return message_of(task_pb.AttemptLog, log, **log.output._asdict())


def task_stats(stats: TaskStats) -> pb.GetTaskStatsResponse:
    """Returns counts of all seven states, zeros included."""
    return pb.GetTaskStatsResponse(
        counts={status.label: n for status, n in stats.counts.items()},
        oldest_pending_age=duration(stats.oldest_pending_age),
        queue_depth=stats.queue_depth,
    )


def history_point(point: HistoryPoint) -> pb.TaskHistoryPoint:
    return message_of(
        pb.TaskHistoryPoint,
        point,
        counts={status.label: n for status, n in point.counts.items()},
        duration_p50=duration(point.duration_p50),
        duration_p95=duration(point.duration_p95),
    )


def task_change(change: TaskChange, resume_token: str) -> pb.TaskChange:
    message = pb.TaskChange(
        previous_status=task_status(change.previous_status),
        event_time=timestamp(change.event_time),
        will_retry=change.will_retry,
        resume_token=resume_token,
    )
    fill_task(message.task, change.task)
    return message
