"""Rows passed between application and store. Their fields are in the order of the SQL's columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from scheduler_svc.domain import fairness
from scheduler_svc.domain.audit import AuditEvent
from scheduler_svc.domain.brief import Brief
from scheduler_svc.domain.content import Content, PoolEntry
from scheduler_svc.domain.fairness import Flow
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import LeaseEnd
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.publishing import PoolPosition
from scheduler_svc.domain.retry import RetryBackoff
from scheduler_svc.domain.start_quota import StartQuota
from scheduler_svc.domain.task import Task
from scheduler_svc.domain.trace import TraceContext
from scheduler_svc.domain.webhook import EventType
from scheduler_svc.domain.worker import DesiredState


class NewTaskRow(NamedTuple):
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
    trace: TraceContext | None = None


class LabelRow(NamedTuple):
    name: str
    value: str
    task_key: int


class TaskRow(NamedTuple):
    """What decisions need of a task. `status` is that of its own row: PENDING for every open task."""

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
    lease_end: LeaseEnd
    worker_id: str
    initial_backoff_ms: int | None = None
    backoff_multiplier: float | None = None
    max_backoff_ms: int | None = None
    expire_time: datetime | None = None
    """None too once an attempt has begun: it does not expire any more."""

    @property
    def backoff(self) -> RetryBackoff:
        return RetryBackoff(self.initial_backoff_ms, self.backoff_multiplier, self.max_backoff_ms)


class FoundTasks(NamedTuple):
    """A page of a bulk call: the keys that match, and the last key that was examined (None: no more)."""

    keys: list[int]
    last: int | None


class BatchResult(NamedTuple):
    """Of a batch of a bulk call: the tasks that matched, those that it changed, and the last key (None: no more)."""

    matched: int
    changed: int
    last: int | None


class LiveLease(NamedTuple):
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


class AttemptLogRow(NamedTuple):
    """An insert into `attempt_logs`."""

    task_key: int
    attempt: int
    worker_id: str
    stdout: str
    stderr: str
    stdout_truncated: bool
    stderr_truncated: bool


class EndedAttempt(NamedTuple):
    """How an attempt ended other than completed, as `tasks` keeps it; `error` None keeps the present error."""

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
    """A task that has just completed, with the fields that its content and its pool entry take over."""

    task_key: int
    content_id: int
    account_id: int
    title: str
    category: str
    priority: int
    schedule_time: datetime | None
    auto_approve: bool
    seconds: float = 0.0
    """How long the attempt took."""


class ContentRow(NamedTuple):
    """An insert into `contents`; images and usage as JSON."""

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
    usage: str | None
    model: str | None


class AssetUsage(NamedTuple):
    """Bytes that an account may have of assets (0: the default), and has; `counts`: whether the asset is among them."""

    limit: int
    bytes: int
    counts: bool


class ContentAssetRow(NamedTuple):
    """An insert into `content_assets`: either stored, with its `sha256`, or left out for a `reason`."""

    content_id: int
    position: int
    account_id: int
    name: str
    sha256: str | None
    reason: str | None


class PoolRow(NamedTuple):
    content_id: int
    account_id: int
    priority: int
    schedule_time: datetime | None


class ReadyRow(NamedTuple):
    """A pending task that is due; without a tag it waits for admission. `attempt` is its next lease's number."""

    task_key: int
    priority: int
    tag: float | None
    account_id: int
    attempt: int
    timeout_ms: int


class DelayedRow(NamedTuple):
    """A task that waits for a time; it has a `tag` if it keeps one."""

    task_key: int
    priority: int
    tag: float | None
    account_id: int
    attempt: int
    timeout_ms: int
    due_time: datetime
    cause: int


class DequeuedTask(NamedTuple):
    """A task taken out of `ready` or `delayed`; `cause` 0: it was ready, and has no `due_time`.

    `expire_time`: if it is not leased before then, it is cancelled.
    """

    task_key: int
    priority: int
    tag: float | None
    account_id: int
    attempt: int
    timeout_ms: int
    cause: int
    due_time: datetime | None = None
    expire_time: datetime | None = None
    ready_time: datetime | None = None


class TagReservation(NamedTuple):
    """The tags that an account may add to a priority: for `admitted` of the tasks it asked for, up to `finish`.

    `closed`: its limit or a pause decides instead; requeued tasks then lose their tag.
    """

    finish: float
    weight: float
    admitted: int
    now: float
    closed: bool

    @property
    def may_admit(self) -> bool:
        """Whether there may be space for tasks that got no tag: another look decides."""
        return self.closed or self.now > fairness.refill(self.finish, self.weight)


class AccountQueue(NamedTuple):
    """The waiting tasks of one account, its highest priority first, and what decides how many of them may run.

    `limit` 0: none; `leases` are counted only if there is one, and include revoked ones. `quota`: its start quota, if
    any. `aging`: seconds of wait after which a task competes one priority higher; 0: never.
    """

    weight: float
    limit: int
    paused: bool
    leases: int
    flows: tuple[Flow, ...]
    quota: StartQuota | None = None
    aging: float = 0.0

    @property
    def tagged(self) -> int:
        return sum(line.tagged for line in self.flows)


class FlowMark(NamedTuple):
    """Whether tasks of a priority wait without a tag, and from which tag on a claim asks for a refill (None: never)."""

    priority: int
    backlog: bool
    refill: float | None


class QueueHead(NamedTuple):
    """The first tasks of a priority that a claim would take: how many, and the wait of the oldest in seconds."""

    priority: int
    tasks: int
    oldest: float


class Backlogs(NamedTuple):
    """What waits besides tasks. Counts have a limit; times are in seconds, 0 or less if nothing waits."""

    pending_deliveries: int
    exhausted_deliveries: int
    oldest_delivery: float
    pool_pending: int
    pool_publishing: int
    pool_retrying: int
    pool_failed: int
    active_schedules: int
    schedule_lateness: float


class EventRow(NamedTuple):
    """One move of the history; `retry_count` of moves back to pending."""

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
    """A page of a list of tasks. `rest`: the key at which reading stopped early, below which there may be more; None:
    the page is full, or there is no more.
    """

    tasks: list[Task]
    rest: int | None


class ContentPage(NamedTuple):
    """Like `TaskPage`, of contents by their ids."""

    contents: list[Content]
    rest: int | None


class PoolPage(NamedTuple):
    """Like `TaskPage`, of entries of the publish pool by their positions."""

    entries: list[PoolEntry]
    rest: PoolPosition | None


class WaitsFor(NamedTuple):
    """What a pending task may wait for: the cause of its delay, and the present state of its account and the pool."""

    cause: int | None
    limit_reached: bool
    quota_used: bool
    paused: bool
    any_worker: bool


class LeaseChange(NamedTuple):
    task_key: int
    attempt: int
    fence: int
    accepted: bool
    processing: bool
    percent: int | None
    step: str | None
    message: str | None


class Grant(NamedTuple):
    ref: LeaseRef
    brief: Brief
    worker_id: str
    account_id: int
    priority: int
    timeout_ms: int
    labels: Mapping[str, str] | None
    auto_approve: bool
    failed_elsewhere: bool
    """Whether another worker reported a failure of the attempt before."""
    waited: float = 0.0
    """Seconds that the task was ready."""
    traceparent: str | None = None
    tracestate: str | None = None


class ClaimedRows(NamedTuple):
    """The result of a claim: its grants, and the accounts whose windows are low, or nearly empty (`urgent`).

    Sessions that it wanted to give leases: those that may get none (`closed`), and those whose rows are locked
    (`busy`). `locked_out`: another session holds the lock of dispatch, so nothing was claimed.
    """

    grants: list[Grant]
    closed: frozenset[int]
    busy: frozenset[int]
    short: frozenset[int]
    urgent: frozenset[int]
    locked_out: bool = False


class HeartbeatRow(NamedTuple):
    worker_id: str
    session_key: int
    unhealthy: bool = False
    last_error: str = ""


class HeartbeatAnswer(NamedTuple):
    desired_state: DesiredState
    has_revoked: bool


class PollAnswer(NamedTuple):
    """The last poll that a worker has answered; with it, all before."""

    worker_id: str
    poll: int


class NamedLease(NamedTuple):
    task_key: int
    attempt: int
    fence: int
    worker_id: str


class SubmitAccount(NamedTuple):
    """What a submit needs of an account; pending tasks are counted only if they are limited."""

    account_id: int
    active: bool
    max_priority: int
    max_pending: int
    pending: int


class RenewalResult(NamedTuple):
    """The leases renewed, and those `skipped` because another session has locked their rows."""

    renewed: set[LeaseRef]
    skipped: set[LeaseRef]


class SubmitContext(NamedTuple):
    """What a group of submits needs: the transaction's start, the number of pending tasks, the accounts that exist."""

    now: datetime
    pending: int
    accounts: dict[int, SubmitAccount]


class SmallSubmit(NamedTuple):
    """Tasks that are ready at once, for one statement; `counts` has their numbers by (account, priority)."""

    tasks: Sequence[NewTaskRow]
    payloads: Sequence[PayloadRow]
    labels: Sequence[LabelRow]
    requests: Sequence[RequestId]
    counts: Mapping[tuple[int, int], int]


class ScheduleTask(NamedTuple):
    """An insert into `schedule_tasks`; no tick: by RunSchedule."""

    task_key: int
    schedule_id: int
    tick: datetime | None


class FiredSchedule(NamedTuple):
    """What a schedule did: its next tick, its last task (None: as before), and why its last tick made none."""

    schedule_id: int
    next_tick: datetime | None
    due_time: datetime | None
    last_run_time: datetime | None
    last_task_key: int | None
    last_error: str


class RequestId(NamedTuple):
    account_id: int
    request_id: str
    task_key: int
    fingerprint: bytes


class UniqueKey(NamedTuple):
    """The task that holds a unique key, and until when it does even if it has ended."""

    account_id: int
    unique_key: str
    task_key: int
    until: datetime

    @property
    def name(self) -> tuple[int, str]:
        return self.account_id, self.unique_key


class WebhookEvent(NamedTuple):
    """What happened to a task or its content; `data` is JSON. The deliveries of one task are kept in order."""

    event_type: EventType
    account_id: int
    task_key: int
    data: str


class DeliveryOutcome(NamedTuple):
    """How a try went that was claimed until `claim_expire_time`.

    `final`: without success it is not tried again. `gone`: the webhook is deactivated. `delay`: seconds until the next
    try.
    """

    delivery_id: int
    webhook_id: int
    claim_expire_time: datetime
    delivered: bool
    final: bool
    gone: bool
    status_code: int
    error: str
    delay: float


class RollupRow(NamedTuple):
    """An insert into `rollup_deltas`: what is added to an account's numbers, by kind."""

    account_id: int
    numbers: Mapping[int, float]


class AuditPage(NamedTuple):
    """Events, newest first. `rest`: the key at which the search stopped early; None: it came to its end."""

    events: list[AuditEvent]
    rest: int | None
