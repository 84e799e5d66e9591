"""A worker as the pool shows it, and what it says of itself when it opens a session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from scheduler_svc.domain.ids import LeaseRef


class HeldLease(NamedTuple):
    """A lease that a worker names. `ref` is None where its id can't be one of ours: it is answered as lost."""

    lease_id: str
    ref: LeaseRef | None


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of a stream."""

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
    """Whose token the stream carries; empty where none are asked."""
    accepts_skipped: bool = False
    """Whether it can be told that a lease is locked, and neither renewed nor lost."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A heartbeat: capacity, and every lease that the worker holds."""

    number: int
    free_slots: int
    held: tuple[HeldLease, ...]
    last_assignment: int
    last_poll: int = 0
    """The number of the last poll that it answers; 0: none, or none that is known."""
    unhealthy: bool = False
    last_error: str = ""
    """Why the worker is unhealthy, or what result it can't deliver; empty where neither is so."""


@dataclass(frozen=True, slots=True)
class DesiredState:
    """What the database wants of a worker."""

    slots: int | None = None
    drain: bool = False
    poll: int = 0
    """The newest poll that it has not answered and that somebody may still wait for; 0: none."""


@dataclass(frozen=True, slots=True)
class PoolWorker:
    """A worker as GetWorkerPool shows it."""

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
    """Since when it is unhealthy; None where it is not, or is not connected."""
    last_error: str = ""

    def without_error(self) -> PoolWorker:
        """For whoever may not see every account's tasks: an error may quote one."""
        return replace(self, last_error="")


@dataclass(frozen=True, slots=True)
class WorkerPool:
    """A page of the workers, and counts of all of them: connected ones, of these the busy ones; pending tasks."""

    workers: tuple[PoolWorker, ...]
    connected: int
    active: int
    queue_size: int
