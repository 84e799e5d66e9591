"""Rows that the work on leases and its statements exchange. Their fields are in the order of the SQL's columns."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import LeaseEnd
from scheduler_svc.domain.lifecycle import RetryBackoff, Status
from scheduler_svc.domain.worker import DesiredState


class Inconsistent(Exception):
    """Locked rows are not as they must be: a defect of ours. The transaction is rolled back."""


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


class AttemptLogRow(NamedTuple):
    """An insert into `attempt_logs`."""

    task_key: int
    attempt: int
    worker_id: str
    stdout: str
    stderr: str
    stdout_truncated: bool
    stderr_truncated: bool


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


class LeaseChange(NamedTuple):
    task_key: int
    attempt: int
    fence: int
    accepted: bool
    processing: bool
    percent: int | None
    step: str | None
    message: str | None


class HeartbeatRow(NamedTuple):
    worker_id: str
    session_key: int
    unhealthy: bool = False
    last_error: str = ""


class HeartbeatAnswer(NamedTuple):
    desired_state: DesiredState
    has_revoked: bool


class NamedLease(NamedTuple):
    task_key: int
    attempt: int
    fence: int
    worker_id: str


class ReportedResult(NamedTuple):
    """A lease that ends with a result. `worker_id`: the only worker whose lease it may be; None: any."""

    task_key: int
    attempt: int
    fence: int
    worker_id: str | None = None


class RenewalResult(NamedTuple):
    """The leases renewed, and those `skipped` because another session has locked their rows."""

    renewed: set[LeaseRef]
    skipped: set[LeaseRef]
