"""SubmitTaskRequest as a NewTask: every bound checked, every default filled in. Part of `api`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.api.messages.validation import MAX_NAME, Violations, keyed
from scheduler_svc.domain.bounds import (
    MAX_CATEGORY,
    MAX_KEYWORDS,
    MAX_MULTIPLIER,
    MAX_PRIORITY,
    MAX_PROMPT_BYTES,
    MAX_REQUIREMENTS,
    MAX_RETRIES,
    MAX_TONE,
    MAX_TOPIC,
    MIN_PRIORITY,
)
from scheduler_svc.domain.retry import RetryBackoff
from scheduler_svc.domain.task import DEFAULT_MAX_RETRIES, DEFAULT_PRIORITY, DEFAULT_TIMEOUT, NewTask

MAX_CREATOR_OPTIONS = 32
MAX_OPTION_KEY = 63
MAX_OPTION_VALUE = 1_000
MIN_TIMEOUT = timedelta(seconds=1)
MAX_TIMEOUT = timedelta(days=3_650)
"""The contract knows no upper bound; this one keeps every time that follows from it a time that can be stored."""
MIN_BACKOFF = timedelta(milliseconds=1)
MAX_BACKOFF = timedelta(days=30)

RESERVED_OPTIONS = frozenset(
    {"type", "mode", "task-id", "topic", "requirements", "tone", "keywords", "json", "version", "help"}
)
"""What the worker sets itself, or what would make the CLI do something else."""

_OPTION_KEY = re.compile(r"[a-z][a-z0-9-]*")
MAX_BYTES_OF_A_CHARACTER = 4


def new_task(request: pb.SubmitTaskRequest, bad: Violations) -> NewTask:
    """The task to store; it may be stored only if nothing was added to `bad`."""
    given = request.HasField
    new = NewTask(
        account_id=request.account_id,
        topic=request.topic,
        keywords=request.keywords,
        category=request.category,
        requirements=request.requirements,
        tone=request.tone,
        priority=request.priority if given("priority") else DEFAULT_PRIORITY,
        auto_approve=request.auto_approve if given("auto_approve") else True,
        max_retries=request.max_retries if given("max_retries") else DEFAULT_MAX_RETRIES,
        auto_retry=request.auto_retry if given("auto_retry") else True,
        timeout=_timeout(request.timeout, bad) if given("timeout") else DEFAULT_TIMEOUT,
        schedule_time=bad.time("schedule_time", request.schedule_time) if given("schedule_time") else None,
        request_id=request.request_id,
        labels=bad.labels("labels", request.labels),
        creator_options=_creator_options(request.creator_options, bad),
        backoff=_backoff(request, bad),
    )
    _check(new, bad)
    return new


def _check(new: NewTask, bad: Violations) -> None:
    bad.id("account_id", new.account_id)
    bad.text("topic", new.topic, MAX_TOPIC, required=True)
    bad.text("keywords", new.keywords, MAX_KEYWORDS)
    bad.text("category", new.category, MAX_CATEGORY)
    bad.text("requirements", new.requirements, MAX_REQUIREMENTS)
    bad.text("tone", new.tone, MAX_TONE)
    bad.text("request_id", new.request_id, MAX_NAME)
    bad.number("priority", new.priority, MIN_PRIORITY, MAX_PRIORITY)
    bad.number("max_retries", new.max_retries, 0, MAX_RETRIES)
    if (len(new.topic) + len(new.requirements)) * MAX_BYTES_OF_A_CHARACTER > MAX_PROMPT_BYTES:
        _check_bytes(new, bad)


def _check_bytes(new: NewTask, bad: Violations) -> None:
    held = len(new.topic.encode()) + len(new.requirements.encode())
    if held > MAX_PROMPT_BYTES:
        text = f"must have at most {MAX_PROMPT_BYTES:,} bytes of UTF-8 together with topic, has {held:,}"
        bad.add("requirements", text)


def _timeout(message: Duration, bad: Violations) -> timedelta:
    return bad.duration("timeout", message, MIN_TIMEOUT, MAX_TIMEOUT)


def _backoff(request: pb.SubmitTaskRequest, bad: Violations) -> RetryBackoff:
    given = request.HasField
    multiplier = request.backoff_multiplier if given("backoff_multiplier") else None
    if multiplier is not None:
        bad.number("backoff_multiplier", multiplier, 1, MAX_MULTIPLIER)
    initial = _wait("initial_backoff", request.initial_backoff, bad) if given("initial_backoff") else None
    most = _wait("max_backoff", request.max_backoff, bad) if given("max_backoff") else None
    if initial is not None and most is not None and most < initial:
        bad.add("max_backoff", "must be as long as initial_backoff, or longer")
    return RetryBackoff(initial, multiplier, most)


def _wait(field: str, message: Duration, bad: Violations) -> int:
    """Milliseconds."""
    return bad.duration(field, message, MIN_BACKOFF, MAX_BACKOFF) // MIN_BACKOFF


def _creator_options(options: Mapping[str, str], bad: Violations) -> dict[str, str]:
    field = "creator_options"
    if not options or not bad.count(field, len(options), 0, MAX_CREATOR_OPTIONS):
        return {}
    for key, value in options.items():
        path = keyed(field, key)
        if len(key) > MAX_OPTION_KEY or not _OPTION_KEY.fullmatch(key):
            bad.add(path, f"must have a key of 1 to {MAX_OPTION_KEY} characters that matches [a-z][a-z0-9-]*")
        elif key in RESERVED_OPTIONS:
            bad.add(path, "is not to be set: the worker gives this option itself")
        bad.text(path, value, MAX_OPTION_VALUE)
    return dict(options)
