"""Tasks as they are submitted and as they are read: the brief, its bounds, the trace that it belongs to, filters.

Times are aware datetimes in UTC, durations are timedeltas.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from scheduler_svc.domain.account import ALL, Scope
from scheduler_svc.domain.ids import format_lease_id, format_task_id
from scheduler_svc.domain.lifecycle import DEFAULT_BACKOFF, RetryBackoff, Status

# What a client asks to have written: the one list of fields by which a brief is checked, stored and sent. A new text
# is added here, in the protos, and in `contentgen/submit_fields.py`.


NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


class Brief(NamedTuple):
    """The texts are as the client gave them; empty means not given. `creator_options` are options of the CLI."""

    topic: str
    keywords: str = ""
    category: str = ""
    requirements: str = ""
    tone: str = ""
    creator_options: Mapping[str, str] = NO_OPTIONS

    @classmethod
    def of(cls, texts: Iterable[str], creator_options: Mapping[str, str] | None = None) -> Brief:
        return tuple.__new__(cls, (*texts, creator_options or NO_OPTIONS))

    @property
    def texts(self) -> tuple[str, ...]:
        return self[:-1]

    @property
    def prompt_bytes(self) -> int:
        """Bytes of topic and requirements together, in UTF-8."""
        return len(self.topic.encode()) + len(self.requirements.encode())


MAX_LENGTHS = {"topic": 4_000, "keywords": 2_000, "category": 200, "requirements": 20_000, "tone": 200}
"""Code points that each text may have, in the order of the fields."""
TEXTS = tuple(MAX_LENGTHS)
MAX_PROMPT_BYTES = 64 * 1024


# The bounds of a task's numbers, for submits and imports; what counts in the queue.


MIN_PRIORITY = 1
MAX_PRIORITY = 10
MAX_RETRIES = 100
MAX_MULTIPLIER = 100
"""How many times longer each wait before a retry may be than the one before."""


_FIRST_DAY = datetime(1970, 1, 1, tzinfo=UTC)


def day_of(time: datetime) -> int:
    """Returns the day in UTC, counted from 1970-01-01.

    The number of tasks scheduled for a day is kept as a count, so tasks begin to count without any row being moved.
    """
    return (time - _FIRST_DAY).days


def first_uncounted_day(now: datetime) -> int:
    """Returns the day after tomorrow: tasks scheduled from then on don't count against the queue's bound.

    If they did, one account's plans for next year could keep all others from submitting.
    """
    return day_of(now) + 2


def counts_in_queue(schedule_time: datetime | None, now: datetime) -> bool:
    """Returns whether a task submitted with this schedule counts against the queue's bound."""
    return schedule_time is None or day_of(schedule_time) < first_uncounted_day(now)


# Where a task belongs in a distributed trace: the W3C Trace Context of its submit.


MAX_TRACESTATE = 512
"""Characters; W3C asks for no more to be passed on."""
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STATE = re.compile(r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~]")
_MAX_STATES = 32
_FLAGS = 0x03
"""Sampled, and random: what version 00 knows."""


class TraceContext(NamedTuple):
    """A span of a trace, which later spans follow. `traceparent` is of version 00 and valid."""

    traceparent: str
    tracestate: str = ""

    @property
    def trace_id(self) -> str:
        return trace_id(self.traceparent)


def trace_id(traceparent: str) -> str:
    """Returns the trace's id in a valid traceparent: 32 hexadecimal digits."""
    return traceparent[3:35]


def read_trace(traceparent: str, tracestate: str = "") -> TraceContext | None:
    """Returns the context that a caller sent; None if its traceparent is invalid. A wrong tracestate counts as empty.

    A later version is read as far as version 00 goes, and passed on as 00.
    """
    match = _TRACEPARENT.fullmatch(traceparent.strip(" \t"))
    if match is None or (match[1] == "00" and match[5]):
        return None
    return TraceContext(f"00-{match[2]}-{match[3]}-{int(match[4], 16) & _FLAGS:02x}", _read_state(tracestate))


def _read_state(tracestate: str) -> str:
    members = [member for part in tracestate.split(",") if (member := part.strip(" \t"))]
    keys = {member.partition("=")[0] for member in members}
    valid = len(keys) == len(members) <= _MAX_STATES and all(map(_STATE.fullmatch, members))
    state = ",".join(members)
    return state if valid and len(state) <= MAX_TRACESTATE else ""


# Submits, and tasks as they are read.


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
    worker_selector: Mapping[str, str] = _NONE
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
        if self.worker_selector:
            payload.append({"worker_selector": sorted(self.worker_selector.items())})
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
    worker_selector: Mapping[str, str] = _NONE
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
    """Returns the task as it is stored. The fields of `NewTask` are all fields of `Task`."""
    return Task(task_key=key, status=Status.PENDING, create_time=now, **task._asdict())


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
    BUDGET = 8
    NO_MATCHING_WORKER = 9
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
    attempt: int
    worker_id: str
    end_time: datetime
    output: RunOutput


@dataclass(frozen=True, slots=True)
class TaskStats:
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


class TaskOrder(StrEnum):
    """The orders of a list, which indexes serve, as a request names them. That of creation is the order of the keys."""

    NEWEST = "create_time desc"
    OLDEST = "create_time"
    LAST_ENDED = "end_time desc"
    FIRST_ENDED = "end_time"

    @property
    def of_ends(self) -> bool:
        """Whether only tasks that have ended are listed."""
        return self in {TaskOrder.LAST_ENDED, TaskOrder.FIRST_ENDED}

    @property
    def rises(self) -> bool:
        return self in {TaskOrder.OLDEST, TaskOrder.FIRST_ENDED}


class EndPlace(NamedTuple):
    """Where a task is in the order of ends."""

    end_time: datetime
    task_key: int


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Tasks for which all of these hold; None and empty: any."""

    scope: Scope = ALL
    statuses: frozenset[Status] = frozenset()
    """In one of these states."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """With all of these."""
    schedule_id: int | None = None
    error_reasons: tuple[str, ...] = ()
    """With an error of one of these reasons."""
    created_after: datetime | None = None
    """Then or later."""
    created_before: datetime | None = None
    """Earlier than that."""
    worker_id: str = ""
    """Whose present attempt, or else the last one, is or was with this worker."""
    topic: str = ""
    """With this text in the topic, whatever the case."""
    has_retries_left: bool = False
    deletable_since: datetime | None = None
    """Ended then or earlier, and no worker is still stopping it."""
