"""What the client returns: dicts with these keys.

Layer: client. Times are ISO 8601 with zone, durations are seconds, states are lower-case names, and what is not set is
None. A state that a newer scheduler has and this client does not know is its number, as text.
"""

from __future__ import annotations

from typing import Literal, TypedDict

from contentgen.account_fields import BudgetMode
from contentgen.submit_fields import Brief

__all__ = [
    "Account",
    "Asset",
    "AttemptLog",
    "AttemptOutput",
    "AuditEvent",
    "BudgetMode",
    "Caller",
    "CatchUp",
    "Channel",
    "ChannelEvent",
    "Comment",
    "Content",
    "ContentRevision",
    "Delivery",
    "DeliveryStatus",
    "DispatchStatus",
    "ErasedAccount",
    "EventType",
    "ImportedAccount",
    "Language",
    "LeftOutAsset",
    "Maintenance",
    "MessageTest",
    "MissedRuns",
    "Overlap",
    "PendingReason",
    "PollStats",
    "PublishAttempt",
    "PublishPoolEntry",
    "PublishStatus",
    "Resolution",
    "ReviewEvent",
    "ReviewStatus",
    "Schedule",
    "SubmitTemplate",
    "System",
    "Task",
    "TaskChange",
    "TaskEvent",
    "TaskHistoryPoint",
    "TaskOrder",
    "TaskPage",
    "TaskProgress",
    "TaskStats",
    "TaskStatus",
    "Token",
    "Webhook",
    "WebhookWithSecret",
    "Worker",
    "WorkerPool",
]

TaskStatus = Literal["pending", "submitted", "processing", "completed", "failed", "timeout", "cancelled"]
PendingReason = Literal[
    "backoff",
    "scheduled",
    "account_limit",
    "rate_limit",
    "paused",
    "budget",
    "no_matching_worker",
    "no_workers",
    "all_slots_busy",
]
ReviewStatus = Literal["pending_review", "approved", "rejected"]
CatchUp = Literal["skip", "one", "all"]
Overlap = Literal["allow", "skip"]
PublishStatus = Literal["pending", "publishing", "published", "failed"]
Resolution = Literal["hour", "day"]
TaskOrder = Literal["create_time desc", "create_time", "end_time desc", "end_time"]
DeliveryStatus = Literal["pending", "delivered", "exhausted"]
EventType = Literal[
    "task.ended",
    "content.pending_review",
    "content.approved",
    "content.rejected",
    "publish.published",
    "publish.failed",
    "account.budget_used_up",
    "webhook.ping",
]
ChannelEvent = Literal[
    "task.failed",
    "task.ended",
    "content.pending_review",
    "content.approved",
    "content.rejected",
    "publish.published",
    "publish.failed",
    "account.budget_used_up",
]
Language = Literal["en", "zh_CN"]


class TaskProgress(TypedDict):
    """How far an attempt is, as its CLI says."""

    percent: int
    step: str
    message: str


class _Identity(TypedDict):
    """The first keys of a status dict."""

    task_id: str
    status: TaskStatus
    account_id: int


class Task(_Identity, Brief):
    """A status dict: one task, the same whether it is read alone, in a list or from a watch."""

    priority: int
    auto_approve: bool
    labels: dict[str, str]
    request_id: str | None
    created_at: str
    schedule_time: str | None
    submitted_at: str | None
    """When the latest attempt was leased to a worker."""
    started_at: str | None
    """When the CLI started on the latest attempt."""
    completed_at: str | None
    """When it ended, with whatever status. None: it has not ended."""
    timeout_at: str | None
    """When the present attempt is timed out."""
    timeout: float
    attempt: int
    retry_count: int
    max_retries: int
    auto_retry: bool
    initial_backoff: float | None
    backoff_multiplier: float | None
    max_backoff: float | None
    worker_id: str | None
    """The worker of the latest attempt."""
    lease_id: str | None
    """The lease of the present attempt."""
    progress: TaskProgress | None
    error: str | None
    """The last attempt's reason and message in one text."""
    error_reason: str | None
    error_message: str | None
    error_details: dict[str, str]
    content_id: int | None
    regenerates_content_id: int | None
    """The content that it writes anew."""
    pending_reason: PendingReason | None
    """Why it still waits. Only of `get_task_status`."""
    next_attempt_time: str | None
    """When the wait for its next attempt ends, if that is why. Only of `get_task_status`."""
    schedule_id: int | None
    """The schedule that submitted it."""
    expire_time: str | None
    """When it is cancelled if it was not started by then."""
    unique_key: str | None
    """No other open task of the account has it."""
    unique_for: float | None
    """Seconds after its submit in which it keeps its key though it has ended."""
    worker_selector: dict[str, str]
    """The labels that its worker must have."""
    trace_id: str | None
    """The trace that it belongs to, over all its attempts."""


class TaskPage(TypedDict):
    """A page of a list of tasks."""

    tasks: list[Task]
    next_page_token: str
    """Empty: the list has ended."""


class TaskChange(TypedDict):
    """An event of a watch: a task as of one of its moves."""

    task: Task
    previous_status: TaskStatus | None
    """None for a present state, and for a task's first event."""
    event_time: str
    will_retry: bool
    """Whether this failure is followed by another attempt without a call."""
    resume_token: str


class TaskEvent(TypedDict):
    """A move of a task, as its history keeps it."""

    previous_status: TaskStatus | None
    status: TaskStatus
    event_time: str
    attempt: int
    worker_id: str | None
    lease_id: str | None
    reason: str
    message: str | None


class AttemptLog(TypedDict):
    """The end of what the CLI printed in one attempt."""

    attempt: int
    worker_id: str
    ended_at: str
    stdout: str
    stderr: str
    stdout_truncated: bool
    """Whether the beginning of `stdout` is missing."""
    stderr_truncated: bool


class AttemptOutput(TypedDict):
    """What the CLI of a running attempt printed next."""

    output: str
    """May be empty; lines may be cut anywhere."""
    stderr: bool
    """Whether it was printed to stderr; else to stdout."""
    left_out_bytes: int
    """What is missing of the same just before it."""
    attempt: int
    worker_silent: bool
    """Whether the worker has not answered for 10 s: it is of an older version, or not connected."""
    resume_token: str


class TaskStats(TypedDict):
    """How many tasks are in each state."""

    counts: dict[TaskStatus, int]
    oldest_pending_age: float | None
    queue_depth: int
    """Tasks that are pending and due."""


class TaskHistoryPoint(TypedDict):
    """What happened to tasks in one hour or day."""

    time: str
    """When it began."""
    submitted: int
    counts: dict[TaskStatus, int]
    """How many ended, by state: completed, failed, timeout, cancelled."""
    duration_p50: float | None
    """Seconds in a slot that half of the completed tasks took at most, within 5 %. None: none completed."""
    duration_p95: float | None
    cost: float
    """Of the contents, in the creator's currency."""


class PollStats(TypedDict):
    """What became of the tasks that were running when the workers were asked."""

    total: int
    completed: int
    failed: int
    timeout: int
    still_running: int
    error: int
    """Their worker did not answer."""


class Content(TypedDict):
    """A generated content. In lists `body` and `html_body` are empty."""

    content_id: int
    account_id: int
    task_id: str
    title: str
    body: str
    html_body: str
    summary: str
    category: str
    images: list[str]
    cover_image: str | None
    word_count: int
    """Characters of the body."""
    quality_score: float | None
    review_status: ReviewStatus
    review_comment: str | None
    created_at: str
    assets: list[Asset]
    """The stored files; `images` and texts refer to them as `asset:` and the name."""
    left_out_assets: list[LeftOutAsset]
    usage: dict[str, float]
    """What the creator says that the run used, such as `input_tokens`, `output_tokens` and `cost`."""
    model: str | None
    etag: str
    """Another one after each change; calls that take it refuse a stale one."""
    revision: int
    """1 is the creator's text, and each edit adds one."""
    reviewer: str | None
    """Who decided the review. None: nobody, or `auto_approve`."""
    reviewed_at: str | None
    publish_status: PublishStatus | None
    """None: it is not in the publish pool."""
    review_holder: str | None
    """Who holds its review."""
    review_claim_expires_at: str | None
    superseded_by_content_id: int | None
    """The approved content that was written in its place."""
    assignee: str | None
    """Who is to review it."""
    assigner: str | None
    """Who has said so."""
    assigned_at: str | None


class Asset(TypedDict):
    """A file of a content, such as a picture."""

    name: str
    sha256: str
    media_type: str
    size: int
    width: int | None
    """Pixels; None if it is no picture."""
    height: int | None


class LeftOutAsset(TypedDict):
    """What a result names and is not stored."""

    name: str
    reason: str
    """OUTSIDE_FOLDER, SYMLINK, NOT_FOUND, TOO_LARGE, TOO_MANY, HOST_NOT_ALLOWED, FETCH_FAILED, ACCOUNT_FULL
    or STORE_UNAVAILABLE."""


class ContentRevision(TypedDict):
    """The texts of a content after one edit."""

    number: int
    author: str | None
    """None: the creator."""
    created_at: str
    title: str
    body: str
    html_body: str
    summary: str
    category: str
    cover_image: str | None
    asset: str | None
    """The file that was uploaded or removed then. None: the texts were changed."""


class Comment(TypedDict):
    """What an editor says of a content."""

    number: int
    author: str
    created_at: str
    text: str


class ReviewEvent(TypedDict):
    """What became of a content's review: it was decided, the decision was taken back, or it was assigned."""

    number: int
    event_time: str
    actor: str
    review_status: ReviewStatus | None
    """`pending_review`: the decision was taken back. None: it was assigned."""
    comment: str | None
    assignee: str | None
    """Of an assignment: who was to review it from then on. None: nobody."""


class PublishPoolEntry(TypedDict):
    """An entry of the publish pool."""

    content_id: int
    account_id: int
    priority: int
    scheduled_at: str | None
    status: PublishStatus
    error: str | None
    claim_id: str | None
    """The present or last claim."""
    claim_expires_at: str | None
    """When the present claim expires. None: nobody holds it."""
    publisher: str | None
    """Who holds the present claim."""
    attempt_count: int
    max_attempts: int
    next_attempt_at: str | None
    """Not before this time, after an attempt that failed. None: it does not wait for another one."""
    published_url: str | None
    title: str


class PublishAttempt(TypedDict):
    """An attempt to publish a content, as its publisher reported it."""

    number: int
    publisher: str
    started_at: str | None
    """When it was claimed."""
    ended_at: str
    published: bool
    error: str | None


class Account(TypedDict):
    """An account. A limit of 0 is none; of `max_asset_bytes`, the schedulers' default."""

    account_id: int
    name: str
    max_concurrent_tasks: int
    weight: float
    max_pending_tasks: int
    max_priority: int
    max_starts_per_minute: int
    max_asset_bytes: int
    max_cost_per_month: float
    budget_mode: BudgetMode
    currency: str
    """ISO 4217; empty: it is not said."""
    month_cost: float
    """In this month (UTC) so far; 0 where `max_cost_per_month` is 0."""
    budget_used_up: bool
    active: bool
    created_at: str


class ErasedAccount(TypedDict):
    """What an account has, by kind; of an erasure, what is left, and whether nothing is (`done`)."""

    counts: dict[str, int]
    done: bool


class ImportedAccount(TypedDict):
    """An account that was stored from an archive, and how many rows of each kind."""

    account: Account
    counts: dict[str, int]


class SubmitTemplate(Brief):
    """The task that a schedule submits. None: the scheduler's default."""

    priority: int | None
    auto_approve: bool | None
    max_retries: int | None
    auto_retry: bool | None
    timeout: float | None
    labels: dict[str, str]
    creator_options: dict[str, str]
    worker_selector: dict[str, str]
    initial_backoff: float | None
    backoff_multiplier: float | None
    max_backoff: float | None


class MissedRuns(TypedDict):
    """Ticks of a schedule that made no task, of one moment and for one reason."""

    run_at: str
    """The latest of them."""
    count: int
    """101 stands for more, too."""
    reason: str


class Schedule(TypedDict):
    """A schedule, and its next ticks."""

    schedule_id: int
    account_id: int
    name: str
    cron: str
    time_zone: str
    template: SubmitTemplate
    catch_up: CatchUp
    overlap: Overlap
    jitter: float
    paused: bool
    next_runs_at: list[str]
    """Five at most; none while it is paused."""
    last_run_at: str | None
    last_task_id: str | None
    last_error: str | None
    """Why its last tick made no task."""
    missed_runs: list[MissedRuns]
    """The latest 20, the latest first; empty in lists."""
    created_at: str


class Worker(TypedDict):
    """A worker, as of its last heartbeat."""

    worker_id: str
    hostname: str
    version: str | None
    creator_version: str | None
    scheduler_id: str
    running: bool
    """Connected and not draining."""
    connected: bool
    """Its stream is open. A worker that was stopped is not connected, and may still be `draining`."""
    draining: bool
    queue_size: int
    """Leases ahead of a slot."""
    slots: int
    busy_slots: int
    labels: dict[str, str]
    connected_at: str
    last_heartbeat_at: str
    unhealthy: bool
    unhealthy_since: str | None
    last_error: str | None


class WorkerPool(TypedDict):
    """The workers of all schedulers."""

    num_workers: int
    """Connected."""
    active_workers: int
    """With a busy slot."""
    total_queue_size: int
    """Pending tasks."""
    total_slots: int
    worker_statuses: list[Worker]


class Maintenance(TypedDict):
    """A time in which no new tasks are taken."""

    until_at: str
    reason: str


class DispatchStatus(TypedDict):
    """What is paused."""

    all_paused: bool
    paused_account_ids: list[int]
    maintenance: Maintenance | None
    """Set while no new tasks are taken."""


class Lane(TypedDict):
    """Work of one kind that waits in a scheduler."""

    oldest_age: float
    waiting: int
    set_aside: int
    """Items that wait for a lock of another session."""


class Replica(TypedDict):
    """A scheduler."""

    scheduler_id: str
    version: str
    started_at: str
    last_heartbeat_at: str
    serving: bool
    lanes: dict[str, Lane]
    """By name."""
    clock_offset: float | None
    """Seconds by which its clock is ahead of the database's, at least. None: its version does not tell."""
    settings: dict[str, str]
    """Those that all schedulers must share, by variable. Empty: its version does not tell."""
    standby_problem: str
    """Why it reads nothing from its standby: `AWAY`, `LAGS`, `NOT_STANDBY` or `OTHER_DATABASE`. Empty: it reads, or has
    none.
    """


class LockHolder(TypedDict):
    """A session of the database that holds locks which others wait for, or has held locks for long."""

    pid: int
    role: str
    application: str
    address: str
    state: str
    transaction_age: float | None
    """None: unknown, or it has none."""
    relation: str
    waited_for: bool


class OldestTransaction(TypedDict):
    """The oldest transaction with an id on the database's server: watches may wait for it, and vacuums do."""

    pid: int
    """0: it is prepared, and `application` is its name."""
    database: str
    role: str
    application: str
    state: str
    age: float | None
    """None: unknown to the schedulers' role."""
    seen_for: float
    """Seconds for which the scheduler that answers has seen it as the oldest."""


class Database(TypedDict):
    """The schedulers' database."""

    version: str
    size: int
    """Bytes."""
    weakened_settings: list[str]
    """PostgreSQL's settings of durability that are off, such as `fsync`."""


class Limits(TypedDict):
    """What the scheduler that answers bounds. None: it does not."""

    max_queue_size: int
    lease_ttl: float | None
    heartbeat_interval: float | None
    max_worker_losses: int
    max_deferrals: int
    lock_timeout: float | None
    statement_timeout: float | None
    retention: float | None
    content_retention: float | None
    max_calls: int
    max_wait_calls: int
    max_watch_streams: int
    max_lease_streams: int


class System(TypedDict):
    """The schedulers and their database."""

    version: str
    replicas: list[Replica]
    lock_holders: list[LockHolder]
    database: Database
    limits: Limits
    oldest_transaction: OldestTransaction | None
    maintenance: Maintenance | None
    """Set while no new tasks are taken."""


class Caller(TypedDict):
    """Whose a token is, and what it may call."""

    name: str
    """Empty: no tokens are required."""
    role: str
    """As in the tokens file, such as `client`."""
    account_ids: list[int]
    """The accounts that the token is tied to. Empty: all."""
    methods: list[str]
    """The RPCs that it may call, such as `TaskService/SubmitTask`, sorted."""
    token_required: bool
    """Whether the scheduler requires a token of each call."""


class Webhook(TypedDict):
    """A webhook, without its secret."""

    webhook_id: int
    account_id: int
    """0: it gets the events of all accounts."""
    url: str
    event_types: list[EventType]
    active: bool
    last_error: str | None
    """Why the latest try failed. None: it succeeded, or there was none."""
    created_at: str
    previous_secret_expires_at: str | None
    """Until when the secret before is valid too."""


class WebhookWithSecret(Webhook):
    """A webhook with its new secret."""

    secret: str


class Channel(TypedDict):
    """Where messages to people go, without the address."""

    channel_id: int
    destination: str
    """The kind of its address, and a fingerprint that changes with it."""
    description: str | None
    event_types: list[ChannelEvent]
    account_ids: list[int]
    """Whose events. Empty: those of all accounts."""
    quiet_hours: str | None
    """When nothing is sent. None: never."""
    digest: float
    """Seconds for which events are gathered into one message."""
    language: Language
    active: bool
    last_error: str | None
    """Why the latest try failed. None: it succeeded, or there was none."""
    created_at: str


class MessageTest(TypedDict):
    """How a test message went."""

    delivered: bool
    error: str | None


class Token(TypedDict):
    """The tokens of one name, which all have the same rights; never a token itself."""

    name: str
    role: str
    """As in the tokens file, such as `client`."""
    account_ids: list[int]
    """The accounts that it is tied to. Empty: all."""
    delegates: bool
    """Whether it only calls for persons whom its calls name, as a console does that signs them in."""
    valid_count: int
    """How many of them are valid. 0: all are revoked."""
    revoke_time: str | None
    """When one was last revoked. None: none was."""
    revoked_by: str
    """The name of the token by which that was done; may be empty."""


class AuditEvent(TypedDict):
    """A call that may have changed something."""

    event_time: str
    actor: str
    """The name of the caller's token, or `anonymous`. Empty: it had no valid token."""
    account_id: int | None
    """None: of no account, or of several."""
    method: str
    """Such as `TaskService/CancelTask`."""
    resource: str
    """Such as `task:task-0123456789abcdef`; may be empty."""
    outcome: str
    """`OK`, or the status and its reason."""
    changes: str
    """What an update changed, such as `priority: 0 -> 10; labels`; empty for other calls."""


class Delivery(TypedDict):
    """One event for one webhook."""

    delivery_id: int
    webhook_id: int
    event_type: EventType
    status: DeliveryStatus
    attempt_count: int
    next_attempt_at: str | None
    last_status_code: int | None
    """HTTP status of the latest answer. None: no answer."""
    last_error: str | None
    created_at: str
    ended_at: str | None
    message_id: str
    """The header `webhook-id`."""
    data: str
    """The body's `data`, as JSON."""
