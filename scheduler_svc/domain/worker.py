"""Workers: what they send of themselves, what is desired of them, how the pool shows them, and polls of their runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lifecycle import Status


class HeldLease(NamedTuple):
    """A lease that a worker names. `ref` is None if the id is malformed: the answer then counts it as lost."""

    lease_id: str
    ref: LeaseRef | None


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of a lease stream."""

    worker_id: str
    folder_id: str
    session_number: int
    hostname: str
    version: str
    slots: int
    labels: Mapping[str, str]
    creator_path: str
    creator_version: str
    process_id: str = ""
    held: tuple[HeldLease, ...] = ()
    lost: tuple[str, ...] = ()  # lease ids
    identity: str = ""
    """The identity of the stream's token; empty if no tokens are required."""
    accepts_skipped: bool = False
    """Whether it understands the answer that a lease is locked, and so neither renewed nor lost."""


MAX_SELECTORS = 2_000
"""Worker selectors that open tasks may have together: their numbers are parts of a smallint."""
MAX_ACCOUNT_SELECTORS = 100
"""Of these, those that one account may have added."""


@dataclass(frozen=True, slots=True)
class WorkerSelector:
    """The labels that a worker must have."""

    labels: Mapping[str, str]

    @property
    def digest(self) -> bytes:
        """16 bytes that no other labels have."""
        return hashlib.blake2b(json.dumps(sorted(self.labels.items())).encode(), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A worker's free slots, and every lease that it holds."""

    number: int
    free_slots: int
    held: tuple[HeldLease, ...]
    last_assignment: int
    last_poll: int = 0
    """The number of the last poll that it answers; 0: none."""
    unhealthy: bool = False
    last_error: str = ""
    """Why the worker is unhealthy, or which result it can't deliver; empty if neither."""


@dataclass(frozen=True, slots=True)
class DesiredState:
    slots: int | None = None
    drain: bool = False
    poll: int = 0
    """The newest poll that it has not answered and that a caller may still wait for; 0: none."""


@dataclass(frozen=True, slots=True)
class PoolWorker:
    worker_id: str
    hostname: str
    version: str
    connected: bool
    slots: int
    busy_slots: int
    queue_size: int
    draining: bool
    connect_time: datetime
    last_heartbeat_time: datetime
    scheduler_id: str
    creator_version: str
    labels: Mapping[str, str] = field(default_factory=dict)
    unhealthy_time: datetime | None = None
    """Since when it is unhealthy; None if it is healthy or disconnected."""
    last_error: str = ""

    def without_error(self) -> PoolWorker:
        """Returns the worker for callers that may not see every account's tasks: its error may quote one."""
        return replace(self, last_error="")


@dataclass(frozen=True, slots=True)
class WorkerPool:
    """A page of workers, and counts of all: connected ones, busy ones (`active`), pending tasks (`queue_size`)."""

    workers: tuple[PoolWorker, ...]
    connected: int
    active: int
    queue_size: int


# Polls: workers are asked for the state of their runs now, not at their next interval (rule 18). Polls are numbered
# in the order in which they are made, so the answer to one answers all before it. A poll gets its number after its
# attempts were read, and before any worker can be asked: no answer is older than the call.


POLL_TIMEOUT = 9.0
"""Seconds after which a worker that has not answered counts as silent: callers get an answer within 10."""


class RunningAttempt(NamedTuple):
    """An attempt that a worker held when the poll was made."""

    task_key: int
    attempt: int
    worker_id: str


class AttemptCount(NamedTuple):
    """How many polled attempts of a worker have the same outcome.

    SUBMITTED: they still run. NONE: they neither run nor have a known end (released, deferred, cancelled or deleted).
    """

    worker_id: str
    status: Status
    attempts: int


class PollResult(NamedTuple):
    """What became of the attempts that ran at the call.

    `error`: attempts that seem to run, but whose worker is silent. `total` includes those cancelled, deferred or
    released.
    """

    total: int = 0
    completed: int = 0
    failed: int = 0
    timeout: int = 0
    still_running: int = 0
    error: int = 0


def summarize(counts_by_worker: Iterable[AttemptCount], silent: Set[str]) -> PollResult:
    """Returns the sums. What is committed counts, whether its worker answered or not."""
    counts = dict.fromkeys(("total", "completed", "failed", "timeout", "still_running", "error"), 0)
    for worker_id, status, attempts in counts_by_worker:
        counts["total"] += attempts
        if status is Status.SUBMITTED:
            counts["error" if worker_id in silent else "still_running"] += attempts
        elif status is not Status.NONE:
            counts[status.label] += attempts
    return PollResult(**counts)
