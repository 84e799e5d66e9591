"""The state of the schedulers and their database, as GetSystem shows it, and the figures that metrics sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from scheduler_svc.domain.dispatch import QueueHead
from scheduler_svc.domain.task import TaskStats


@dataclass(frozen=True, slots=True)
class LaneState:
    """The state of one lane of a replica. Ages are in seconds.

    `oldest`: age of the item that waits longest for its answer (0: none waits). `idle_for`: since the last answer.
    `set_aside`: items that wait for a lock of another session.
    """

    oldest: float = 0.0
    idle_for: float = 0.0
    waiting: int = 0
    set_aside: int = 0

    def stalled(self, after: float) -> bool:
        """Returns whether it makes no progress. One item that waits for a lock while others pass it is no stall."""
        return self.oldest > after and self.idle_for > after


class ReplicaState(NamedTuple):
    """The state of a replica at `heartbeat_time` (None: now).

    `clock_offset`: seconds by which its clock is ahead of the database's, at least; None if unknown. `settings`: those
    that all replicas must share, by name; empty if unknown. `standby_problem`: why it does not read from its
    standby; empty: it does, or it has none.
    """

    scheduler_id: str
    version: str
    start_time: datetime
    heartbeat_time: datetime | None
    serving: bool
    lanes: Mapping[str, LaneState]
    clock_offset: float | None = None
    settings: Mapping[str, str] = {}
    standby_problem: str = ""


class WalPosition(NamedTuple):
    """How far a server's log is flushed, or replayed: bytes of the log of a system."""

    system: int
    lsn: int


class StandbyState(NamedTuple):
    """`problem`: why it is not read; empty: it is. `lag`: seconds by which it is behind, at most; None: unknown."""

    problem: str = ""
    lag: float | None = None


class LockHolder(NamedTuple):
    """A session of the database that holds locks. `transaction_age` is in seconds; None: it has no transaction, or our
    role may not see it, nor its state.

    `relation`: the tables, or the names of our advisory locks, that are waited for; empty if unknown. If not
    `waited_for`: tables that it has locked, or has locked rows of, for long. Nothing was seen to wait for them, but
    work that needs them may be skipped.
    """

    pid: int
    role: str
    application: str
    address: str
    state: str
    transaction_age: float | None
    relation: str
    waited_for: bool


class OldestTransaction(NamedTuple):
    """The oldest transaction with an id on the server, in any database.

    `pid` is 0 if it is prepared; then `application` is its name, and `state` is `prepared`. `age` is in seconds; None:
    our role may not see it, nor the state. `xid` tells it from its successor on the same session.
    """

    pid: int
    database: str
    role: str
    application: str
    state: str
    age: float | None
    xid: str


DURABILITY_SETTINGS = ("fsync", "full_page_writes", "synchronous_commit")
"""PostgreSQL's settings without which a crash loses what was acknowledged."""


class DatabaseState(NamedTuple):
    """`size`: bytes on disk. `weakened_settings`: those of `DURABILITY_SETTINGS` that are off."""

    version: str
    size: int
    weakened_settings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class System:
    """All replicas, their database, and the sessions whose locks are waited for or held for long.

    `oldest_seen_for`: seconds for which a replica has seen `oldest_transaction` as the oldest.
    """

    replicas: tuple[ReplicaState, ...]
    lock_holders: tuple[LockHolder, ...]
    database: DatabaseState
    oldest_transaction: OldestTransaction | None = None
    oldest_seen_for: float = 0.0


class Backlogs(NamedTuple):
    """What waits besides tasks. Counts have a limit; times are in seconds, 0 or less if nothing waits.

    `backup_time`: the moment of the newest backup, in Unix time; 0: there is none.
    """

    pending_deliveries: int
    exhausted_deliveries: int
    oldest_delivery: float
    pool_pending: int
    pool_publishing: int
    pool_retrying: int
    pool_failed: int
    active_schedules: int
    schedule_lateness: float
    backup_time: float


@dataclass(frozen=True, slots=True)
class Figures:
    """`leases`: how many there are, by stage (`queued`, `accepted`, `processing`, `revoked`)."""

    tasks: TaskStats
    heads: list[QueueHead]
    leases: Mapping[str, int]
    backlogs: Backlogs
    accounts: Mapping[int, TaskStats]


class Maintenance(NamedTuple):
    """A time in which no new tasks are taken; it may be over."""

    until_time: datetime
    reason: str = ""


class Revocation(NamedTuple):
    """When a token was revoked (None: it was not), and by whom: the name of a token, or `anonymous`."""

    revoke_time: datetime | None = None
    revoked_by: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """The tokens of one name. The revocation is the latest of those that the file still has."""

    name: str
    role: str
    accounts: tuple[int, ...] | None
    delegates: bool
    valid_count: int
    revoke_time: datetime | None
    revoked_by: str
