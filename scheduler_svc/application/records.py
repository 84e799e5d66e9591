"""Rows that application and store hand to each other; the fields stand in the order of the SQL's columns."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from scheduler_svc.domain.brief import Brief
from scheduler_svc.domain.content import Content
from scheduler_svc.domain.fairness import Line
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import End
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.retry import Backoff
from scheduler_svc.domain.start_quota import StartQuota
from scheduler_svc.domain.task import Task
from scheduler_svc.domain.worker import DesiredState


class NewTaskRow(NamedTuple):
    """An insert into `tasks`."""

    task_key: int
    account_id: int
    status: int
    priority: int
    auto_approve: bool
    auto_retry: bool
    max_retries: int
    timeout_ms: int
    schedule_time: datetime | None
    initial_backoff_ms: int | None
    backoff_multiplier: float | None
    max_backoff_ms: int | None


class PayloadRow(NamedTuple):
    """An insert into `task_payloads`."""

    task_key: int
    brief: Brief
    labels: Mapping[str, str]
    request_id: str = ""


class LabelRow(NamedTuple):
    """An insert into `task_labels`."""

    name: str
    value: str
    task_key: int


class TaskRow(NamedTuple):
    """What decisions need to know of a task. `status` is its own row's: PENDING for every open task."""

    task_key: int
    account_id: int
    status: Status
    priority: int
    retry_count: int
    max_retries: int
    auto_retry: bool
    losses: int
    refusals: int
    deferrals: int
    timeout_ms: int
    attempt: int
    fence: int | None
    lease_end: End
    worker_id: str
    initial_backoff_ms: int | None = None
    backoff_multiplier: float | None = None
    max_backoff_ms: int | None = None

    @property
    def backoff(self) -> Backoff:
        """How long it waits before a retry."""
        return Backoff(self.initial_backoff_ms, self.backoff_multiplier, self.max_backoff_ms)


class Batch(NamedTuple):
    """How many tasks a batch of a bulk call moved, deleted or counted; the last key it looked at (None: no more)."""

    moved: int
    last: int | None


class LiveLease(NamedTuple):
    """A lease under its row's lock."""

    ref: LeaseRef
    worker_id: str
    status: Status
    revoked: bool
    account_id: int
    priority: int
    tag: float
    timeout_ms: int
    claim_time: datetime
    accept_time: datetime | None
    start_time: datetime | None


class EndedAttempt(NamedTuple):
    """How an attempt ended other than completed, as `tasks` keeps it; `error` None keeps the error that was there."""

    task_key: int
    attempt: int
    fence: int
    lease_end: int
    status: int
    worker_id: str
    submit_time: datetime | None
    start_time: datetime | None
    retry_count: int
    losses: int
    refusals: int
    deferrals: int
    error: str | None


class CompletedTask(NamedTuple):
    """A task that has just completed, with what its content and its pool entry take over."""

    task_key: int
    content_id: int
    account_id: int
    title: str
    category: str
    priority: int
    schedule_time: datetime | None
    auto_approve: bool


class ContentRow(NamedTuple):
    """An insert into `contents`; images as JSON."""

    content_id: int
    account_id: int
    task_key: int
    title: str
    body: str
    html_body: str
    summary: str
    category: str
    images: str
    word_count: int
    quality_score: float | None
    review_status: int


class PoolRow(NamedTuple):
    """An insert into `publish_pool`."""

    content_id: int
    account_id: int
    priority: int
    schedule_time: datetime | None


class ReadyRow(NamedTuple):
    """A task that is pending and due; without a tag it waits to be let in. `attempt` is its next lease's number."""

    task_key: int
    priority: int
    tag: float | None
    account_id: int
    attempt: int
    timeout_ms: int


class DelayedRow(NamedTuple):
    """A task that waits for a time; `tag` where it keeps its place."""

    task_key: int
    priority: int
    tag: float | None
    account_id: int
    attempt: int
    timeout_ms: int
    due_time: datetime
    cause: int


class Waiting(NamedTuple):
    """A task taken out of `ready` or `delayed`; `cause` 0 means it was ready, and has no `due_time`."""

    task_key: int
    priority: int
    tag: float | None
    account_id: int
    attempt: int
    timeout_ms: int
    cause: int
    due_time: datetime | None = None


class Turn(NamedTuple):
    """What an account may add to a priority: tags for `let_in` of the tasks that it asked for, up to `finish`.

    `closed`: its limit, or a pause, decides instead; what comes back keeps no tag then.
    """

    finish: float
    weight: float
    let_in: int
    now: float
    closed: bool


class Waitlist(NamedTuple):
    """What waits of one account, its highest priority first, and what decides how much of it may run.

    `limit` 0 means none; `leases` are counted only where there is one, revoked ones too. `quota` is there where so many
    starts a minute are allowed. `aging`: seconds of wait after which a task competes one priority higher; 0: never.
    """

    weight: float
    limit: int
    paused: bool
    leases: int
    lines: tuple[Line, ...]
    quota: StartQuota | None = None
    aging: float = 0.0

    @property
    def tagged(self) -> int:
        """How many of its tasks have a tag."""
        return sum(line.tagged for line in self.lines)


class LineMark(NamedTuple):
    """Whether tasks of a priority wait without a tag; from which tag on a claim asks for more (None: it does not)."""

    priority: int
    backlog: bool
    refill: float | None


class EventRow(NamedTuple):
    """One move, for the history; `retry_count` of moves back to pending."""

    task_key: int
    previous_status: int
    status: int
    attempt: int
    fence: int | None
    worker_id: str | None
    reason: str
    message: str | None
    retry_count: int | None


class TaskPage(NamedTuple):
    """Tasks of a list. `rest`: the page looked no further than this key, below which there may be more; None: it did
    not stop short of its end, or is full.
    """

    tasks: list[Task]
    rest: int | None


class ContentPage(NamedTuple):
    """The same of contents, by their ids."""

    contents: list[Content]
    rest: int | None


class WaitsFor(NamedTuple):
    """Why a task may still be pending: the cause of its delay, and what else is so at the moment."""

    cause: int | None
    limit_reached: bool
    quota_used: bool
    paused: bool
    any_worker: bool


class LeaseChange(NamedTuple):
    """A live lease moves forward: taken into a slot, started, or progress."""

    task_key: int
    attempt: int
    fence: int
    accepted: bool
    processing: bool
    percent: int | None
    step: str | None
    message: str | None


class Grant(NamedTuple):
    """A lease as it was granted, with what its worker needs."""

    ref: LeaseRef
    brief: Brief
    worker_id: str
    account_id: int
    priority: int
    timeout_ms: int
    labels: Mapping[str, str] | None
    auto_approve: bool
    failed_elsewhere: bool
    """The attempt before this one failed, by the report of another worker."""


class ClaimedRows(NamedTuple):
    """What a claim did: its grants, and the accounts whose windows are low now, or nearly empty.

    Of the sessions that it wanted to give something: those that may get nothing, and those whose rows somebody holds.
    """

    grants: list[Grant]
    closed: frozenset[int]
    busy: frozenset[int]
    short: frozenset[int]
    urgent: frozenset[int]


class HeartbeatRow(NamedTuple):
    """A session that was heard of."""

    worker_id: str
    session_key: int
    unhealthy: bool = False
    last_error: str = ""


class HeartbeatAnswer(NamedTuple):
    """What the acknowledgement of a state needs."""

    desired_state: DesiredState
    has_revoked: bool


class PollAnswer(NamedTuple):
    """A poll that a worker has answered, with all before it."""

    worker_id: str
    poll: int


class Named(NamedTuple):
    """A lease that a worker's state names."""

    task_key: int
    attempt: int
    fence: int
    worker_id: str


class AccountStanding(NamedTuple):
    """What a submit needs to know of an account; its pending tasks are counted only where they are limited."""

    account_id: int
    active: bool
    max_priority: int
    max_pending: int
    pending: int


class Renewed(NamedTuple):
    """What a renewal came to; `skipped`: somebody else holds these leases' rows."""

    renewed: set[LeaseRef]
    skipped: set[LeaseRef]


class Standing(NamedTuple):
    """What a group of submits needs to know: the transaction's start, how many are pending, the accounts that exist."""

    now: datetime
    pending: int
    accounts: dict[int, AccountStanding]


class RequestId(NamedTuple):
    """A request_id to be remembered with its task."""

    account_id: int
    request_id: str
    task_key: int
    fingerprint: bytes
