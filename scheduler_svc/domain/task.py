"""Tasks as they are submitted and as they are read. Times are aware datetimes in UTC, durations are timedeltas."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from scheduler_svc.domain.brief import TEXTS, Brief
from scheduler_svc.domain.ids import format_lease_id, format_task_id
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.retry import DEFAULT_BACKOFF, RetryBackoff
from scheduler_svc.domain.trace import TraceContext

DEFAULT_PRIORITY = 5
DEFAULT_MAX_RETRIES = 3
DEFAULT_TIMEOUT = timedelta(minutes=30)
NO_TIME = timedelta(0)


_NONE: Mapping[str, str] = MappingProxyType({})
_FIRST_TEXTS = 5
"""Texts of a brief that count even if empty."""


class NewTask(NamedTuple):
    """A valid submit, with all defaults filled in."""

    account_id: int
    brief: Brief
    priority: int = DEFAULT_PRIORITY
    auto_approve: bool = True
    max_retries: int = DEFAULT_MAX_RETRIES
    auto_retry: bool = True
    timeout: timedelta = DEFAULT_TIMEOUT
    schedule_time: datetime | None = None
    request_id: str = ""
    labels: Mapping[str, str] = _NONE
    backoff: RetryBackoff = DEFAULT_BACKOFF
    regenerates_content_id: int = 0
    expire_time: datetime | None = None
    unique_key: str = ""
    unique_for: timedelta = NO_TIME
    trace: TraceContext | None = None
    """Of the call that submits it; not part of the payload: a submit that is repeated may come in another one."""

    def fingerprint(self) -> bytes:
        """Returns 16 bytes that identify the payload, to compare submits with the same `request_id`."""
        texts = self.brief.texts
        payload: list[object] = [
            *texts[:_FIRST_TEXTS], self.priority, self.auto_approve,
            self.max_retries, self.auto_retry, self.timeout.total_seconds(),
            self.schedule_time.isoformat() if self.schedule_time else None,
            sorted(self.labels.items()), sorted(self.brief.creator_options.items()),
        ]  # fmt: skip
        # What came later counts only if it is given: a submit may be repeated after an upgrade.
        if self.backoff != DEFAULT_BACKOFF:
            payload.append(self.backoff)
        if self.expire_time:
            payload.append({"expire_time": self.expire_time.isoformat()})
        if self.unique_key:
            payload.append({"unique_key": self.unique_key, "unique_for": self.unique_for.total_seconds()})
        payload += [item for item in zip(TEXTS[_FIRST_TEXTS:], texts[_FIRST_TEXTS:], strict=True) if item[1]]
        return hashlib.blake2b(json.dumps(payload).encode(), digest_size=16).digest()


UPDATED = "UPDATED"
"""The reason of a move that UpdateTask makes."""


@dataclass(frozen=True, slots=True)
class TaskEdit:
    """New values of a pending task's fields, by name: texts of its brief, and fields of `Task`."""

    texts: Mapping[str, Any]
    fields: Mapping[str, Any]

    @property
    def names(self) -> list[str]:
        return sorted([*self.texts, *self.fields])

    def of(self, task: Task) -> Task:
        """Returns the task as edited."""
        return task._replace(brief=task.brief._replace(**self.texts), **self.fields)


@dataclass(frozen=True, slots=True)
class AttemptProgress:
    """How far an attempt is. `percent` is 0 to 100."""

    percent: int = 0
    step: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class TaskError:
    reason: str
    message: str = ""
    details: Mapping[str, str] = field(default_factory=dict)


class Task(NamedTuple):
    """A task as a reader sees it. From a list its brief has no requirements.

    Fields with a default are set by attempts and by the task's end.
    """

    task_key: int
    account_id: int
    brief: Brief
    priority: int
    auto_approve: bool
    status: Status
    create_time: datetime
    schedule_time: datetime | None
    timeout: timedelta
    max_retries: int
    auto_retry: bool
    labels: Mapping[str, str]
    request_id: str
    backoff: RetryBackoff = DEFAULT_BACKOFF
    attempt: int = 0
    fence: int | None = None
    worker_id: str = ""
    submit_time: datetime | None = None
    start_time: datetime | None = None
    timeout_time: datetime | None = None
    progress: AttemptProgress | None = None
    retry_count: int = 0
    error: TaskError | None = None
    content_id: int = 0
    end_time: datetime | None = None
    schedule_id: int = 0
    regenerates_content_id: int = 0
    expire_time: datetime | None = None
    unique_key: str = ""
    unique_for: timedelta = NO_TIME
    trace: TraceContext | None = None

    @property
    def task_id(self) -> str:
        return format_task_id(self.task_key)

    @property
    def lease_id(self) -> str:
        return "" if self.fence is None else format_lease_id(self.task_key, self.fence)

    @property
    def ended(self) -> bool:
        """Whether it is completed, cancelled, or failed or timed out without a retry to come."""
        return self.end_time is not None


def as_inserted(key: int, task: NewTask, now: datetime) -> Task:
    """Returns the task as it is right after its insert."""
    return Task(
        task_key=key,
        account_id=task.account_id,
        brief=task.brief,
        priority=task.priority,
        auto_approve=task.auto_approve,
        status=Status.PENDING,
        create_time=now,
        schedule_time=task.schedule_time,
        timeout=task.timeout,
        max_retries=task.max_retries,
        auto_retry=task.auto_retry,
        labels=task.labels,
        request_id=task.request_id,
        backoff=task.backoff,
        regenerates_content_id=task.regenerates_content_id,
        expire_time=task.expire_time,
        unique_key=task.unique_key,
        unique_for=task.unique_for,
        trace=task.trace,
    )


class ExistingTask(Task):
    """In the answer to a submit: a task that was there before, by its request_id or unique_key."""

    __slots__ = ()


class PendingReason(IntEnum):
    """Why a task is pending, in the order in which they are checked. The numbers are the contract's."""

    NONE = 0
    BACKOFF = 1
    SCHEDULED = 2
    ACCOUNT_LIMIT = 3
    RATE_LIMIT = 7
    PAUSED = 4
    NO_WORKERS = 5
    ALL_SLOTS_BUSY = 6


class TaskEvent(NamedTuple):
    """One move of a task's history, ordered by `seq`. `retry_count` is None except for moves back to pending."""

    seq: int
    task_key: int
    previous_status: Status
    status: Status
    event_time: datetime
    attempt: int
    fence: int | None
    worker_id: str
    reason: str
    message: str
    retry_count: int | None

    @property
    def lease_id(self) -> str:
        return "" if self.fence is None else format_lease_id(self.task_key, self.fence)


class RunOutput(NamedTuple):
    """The end of what the CLI printed in one attempt."""

    stdout: str
    stderr: str
    stdout_truncated: bool = False
    stderr_truncated: bool = False


class AttemptLog(NamedTuple):
    """The output of an attempt that ended at `end_time`."""

    attempt: int
    worker_id: str
    end_time: datetime
    output: RunOutput


@dataclass(frozen=True, slots=True)
class TaskStats:
    """Counts as of one moment."""

    counts: Mapping[Status, int]
    oldest_pending_age: timedelta | None
    queue_depth: int


class PayloadRow(NamedTuple):
    """An insert into `task_payloads`."""

    task_key: int
    brief: Brief
    labels: Mapping[str, str]
    request_id: str = ""
    trace: TraceContext | None = None


READY = 8
"""The kind of count of pending tasks that are due; 1 to 7 are the statuses."""

SCHEDULED, BACKOFF, BARRED = 1, 2, 3
"""Why a task is delayed: its schedule_time, the wait before another attempt, a revoked lease that still exists."""
