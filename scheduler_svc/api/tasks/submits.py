"""Converts a SubmitTaskRequest to a NewTask: checks bounds, fills in defaults. Part of `api`."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.api.messages.briefs import read_brief
from scheduler_svc.api.messages.validation import MAX_NAME, Violations
from scheduler_svc.domain.bounds import MAX_MULTIPLIER, MAX_PRIORITY, MAX_RETRIES, MIN_PRIORITY
from scheduler_svc.domain.retry import RetryBackoff
from scheduler_svc.domain.task import DEFAULT_MAX_RETRIES, DEFAULT_PRIORITY, DEFAULT_TIMEOUT, NO_TIME, NewTask

MIN_TIMEOUT = timedelta(seconds=1)
MAX_TIMEOUT = timedelta(days=3_650)
"""Keeps every time that is computed from it storable."""
MIN_BACKOFF = timedelta(milliseconds=1)
MAX_BACKOFF = timedelta(days=30)


def new_task(request: pb.SubmitTaskRequest, bad: Violations) -> NewTask:
    """The task to store, if `bad` stays empty."""
    given = request.HasField
    bad.id("account_id", request.account_id)
    new = NewTask(
        account_id=request.account_id,
        brief=read_brief(request, bad),
        priority=request.priority if given("priority") else DEFAULT_PRIORITY,
        auto_approve=request.auto_approve if given("auto_approve") else True,
        max_retries=request.max_retries if given("max_retries") else DEFAULT_MAX_RETRIES,
        auto_retry=request.auto_retry if given("auto_retry") else True,
        timeout=_timeout(request.timeout, bad) if given("timeout") else DEFAULT_TIMEOUT,
        schedule_time=bad.time("schedule_time", request.schedule_time) if given("schedule_time") else None,
        request_id=request.request_id,
        labels=bad.labels("labels", request.labels),
        backoff=_backoff(request, bad),
        expire_time=bad.time("expire_time", request.expire_time) if given("expire_time") else None,
        unique_key=request.unique_key,
        unique_for=_unique_for(request, bad) if given("unique_for") else NO_TIME,
    )
    bad.text("request_id", new.request_id, MAX_NAME)
    if new.unique_key:
        bad.text("unique_key", new.unique_key, MAX_NAME)
    bad.number("priority", new.priority, MIN_PRIORITY, MAX_PRIORITY)
    bad.number("max_retries", new.max_retries, 0, MAX_RETRIES)
    if new.expire_time and new.schedule_time and new.expire_time <= new.schedule_time:
        bad.add("expire_time", "must be after schedule_time")
    return new


def _timeout(message: Duration, bad: Violations) -> timedelta:
    return bad.duration("timeout", message, MIN_TIMEOUT, MAX_TIMEOUT)


def _unique_for(request: pb.SubmitTaskRequest, bad: Violations) -> timedelta:
    if not request.unique_key:
        bad.add("unique_for", "must not be set without unique_key")
    return bad.duration("unique_for", request.unique_for, NO_TIME, MAX_TIMEOUT)


def _backoff(request: pb.SubmitTaskRequest, bad: Violations) -> RetryBackoff:
    given = request.HasField
    multiplier = request.backoff_multiplier if given("backoff_multiplier") else None
    if multiplier is not None:
        bad.number("backoff_multiplier", multiplier, 1, MAX_MULTIPLIER)
    initial = _wait_ms("initial_backoff", request.initial_backoff, bad) if given("initial_backoff") else None
    longest = _wait_ms("max_backoff", request.max_backoff, bad) if given("max_backoff") else None
    if initial is not None and longest is not None and longest < initial:
        bad.add("max_backoff", "must be at least initial_backoff")
    return RetryBackoff(initial, multiplier, longest)


def _wait_ms(field: str, message: Duration, bad: Violations) -> int:
    return bad.duration(field, message, MIN_BACKOFF, MAX_BACKOFF) // MIN_BACKOFF
