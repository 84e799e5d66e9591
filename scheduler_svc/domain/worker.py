"""Workers: what they send of themselves, what is desired of them, and how the pool shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from scheduler_svc.domain.ids import LeaseRef


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
