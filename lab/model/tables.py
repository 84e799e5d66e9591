"""The tables of the model's database, and what is kept beside them for the properties.

Times are relative: "now" is 0 and `pass_time` moves everything into the past. What a property needs to know and
production does not is kept beside it: see `TaskRecord`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from scheduler_svc.config import Settings
from scheduler_svc.domain.clock import ClockWatch
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import LeaseEnd
from scheduler_svc.domain.lifecycle import Status

ACCOUNT = 1
PRIORITY = 5
TTL = 3.0
SETTINGS = Settings.model_construct(lease_ttl=TTL, max_worker_losses=2, max_deferrals=2)
"""Times are in units of the heartbeat interval."""


@dataclass(slots=True)
class TaskRecord:
    """A row of `tasks`; below it what only the properties ask for."""

    max_retries: int
    status: Status = Status.PENDING
    retry_count: int = 0
    losses: int = 0
    refusals: int = 0
    deferrals: int = 0
    attempt: int = 0
    fence: int | None = None
    lease_end: LeaseEnd = LeaseEnd.NONE
    worker_id: str = ""

    granted: int = 0
    """The attempt of the newest lease."""
    accepted: list[int] = field(default_factory=list)
    superseded: bool = False
    """One of them was not the newest lease then."""
    refused: bool = False
    """A result of the newest lease was refused, though nothing had ended that lease but its own time."""
    failures: int = 0
    """Attempts that ended by a report of failure."""


@dataclass(slots=True)
class LeaseRecord:
    ref: LeaseRef
    worker_id: str
    expires: float
    status: Status = Status.SUBMITTED
    revoked: bool = False
    named: bool = False


@dataclass(slots=True)
class SessionRecord:
    session_key: int
    session_number: int
    silent_for: float = 0.0


class ReadyRecord(NamedTuple):
    """A row of `ready`. `tagged`: in its account's window, so that it may be claimed; the tags' order is not kept."""

    attempt: int
    tagged: bool


class ShareRecord(NamedTuple):
    closed: bool
    backlog: bool


@dataclass(slots=True)
class Tables:
    """The whole database. `up` is False while it is away."""

    tasks: dict[int, TaskRecord]
    ready: dict[int, ReadyRecord]
    fenced: bool
    up: bool = True
    broken: str = ""
    """What the production code itself found to be inconsistent."""
    delayed: dict[int, tuple[int, int]] = field(default_factory=dict)
    leases: dict[int, LeaseRecord] = field(default_factory=dict)
    sessions: dict[str, SessionRecord] = field(default_factory=dict)
    limits: dict[int, int] = field(default_factory=lambda: {ACCOUNT: 0})
    """`max_concurrent_tasks` by account; 0 is none."""
    shares: dict[int, ShareRecord] = field(default_factory=dict)
    over_limit: bool = False
    """A claim was committed by which an account got more leases than its limit."""
    stamp: float = 0.0
    guard: float = 0.0
    watch: ClockWatch = field(default_factory=lambda: ClockWatch(TTL, 1.0))
    """What the reapers remember of the two clocks: kept with the database, for it is the model's only one."""

    def pass_time(self, elapsed: float, units: float) -> None:
        """Lets so many pass by the database's clock, while others' show `elapsed`.

        What is past for good looks alike however long ago it was.
        """
        _age(self.watch, elapsed, units)
        for lease in self.leases.values():
            lease.expires = max(lease.expires - units, -1.0)
        for session in self.sessions.values():
            session.silent_for = min(session.silent_for + units, TTL)
        self.stamp = max(self.stamp - units, -2.0)
        self.guard = max(self.guard - units, 0.0)

    @property
    def expired(self) -> bool:
        """Whether a lease has expired that no tick has ended."""
        return any(lease.expires < 0 for lease in self.leases.values())

    @property
    def claimable(self) -> bool:
        return any(row.tagged for row in self.ready.values())

    def note_claim(self) -> None:
        self.over_limit |= 0 < self.limits[ACCOUNT] < len(self.leases)


def submitted(tasks: int, max_retries: int, limit: int, *, fenced: bool = True) -> Tables:
    """Returns the tasks that wait; behind the window where their account has a limit."""
    keys = range(1, tasks + 1)
    tables = Tables({key: TaskRecord(max_retries) for key in keys}, {}, fenced, limits={ACCOUNT: limit})
    tables.ready = dict.fromkeys(keys, ReadyRecord(1, not limit))
    tables.shares = {ACCOUNT: ShareRecord(limit > 0, limit > 0)}
    return tables


def _age(watch: ClockWatch, elapsed: float, database: float) -> None:
    """Moves what is remembered into the past: then as now both clocks show 0. What is too old is forgotten."""
    aged = [(time - elapsed, offset + elapsed - database) for time, offset in watch._lowest]
    watch._lowest = deque((time, offset) for time, offset in aged if time >= -watch._window)
