"""The schedulers themselves: how a replica's work stands, as others are told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class LaneState:
    """How one lane of a replica stands; ages are in seconds.

    `oldest`: of what waits longest for its answer (0: nothing waits). `idle_for`: since something was answered.
    `set_aside`: items that wait for a lock which somebody else holds.
    """

    oldest: float = 0.0
    idle_for: float = 0.0
    waiting: int = 0
    set_aside: int = 0

    def stalled(self, after: float) -> bool:
        """Whether it stands still: one item that waits for a lock while others pass is not that."""
        return self.oldest > after and self.idle_for > after


class ReplicaState(NamedTuple):
    """How a replica stands. `heartbeat_time`: when it said so; None: now."""

    scheduler_id: str
    version: str
    start_time: datetime
    heartbeat_time: datetime | None
    serving: bool
    lanes: Mapping[str, LaneState]


class LockHolder(NamedTuple):
    """A session of the database that holds locks: who it is, its state, and its transaction's age in seconds.

    `relation`: the tables that are waited for; empty where that can't be told. Not `waited_for`: those that it has
    locked, or rows of them, for long; nothing was seen to wait for it, but what needs these may be passed over.
    """

    pid: int
    role: str
    application: str
    address: str
    state: str
    transaction_age: float
    relation: str
    waited_for: bool


class DatabaseState(NamedTuple):
    """PostgreSQL's version, and the database's bytes on disk."""

    version: str
    size: int


@dataclass(frozen=True, slots=True)
class System:
    """All replicas, their database, and who holds locks that are waited for, or has held them for long."""

    replicas: tuple[ReplicaState, ...]
    lock_holders: tuple[LockHolder, ...]
    database: DatabaseState
