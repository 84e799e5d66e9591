"""The lease's decisions: who may open a session, what a report does, what capacity is free, what may expire.

All pure. Rules are cited by the numbers that the comment of WorkerService.Lease gives them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from types import UnionType
from typing import NamedTuple

from scheduler_svc.domain.content import TaskResult
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import AttemptProgress, TaskError


class LeaseEnd(IntEnum):
    """How a task's last ended lease ended; kept on the task, since it decides what may still come (rules 15, 16)."""

    NONE = 0
    COMPLETED = 1
    FAILED = 2
    RELEASED = 3
    LOST = 4
    REVOKED = 5


class Release(IntEnum):
    """Why a worker gives a lease back; the numbers of the contract."""

    DRAINING = 1
    REFUSED = 2
    EXPIRED = 3
    QUEUED_TOO_LONG = 4


class Outcome(IntEnum):
    """What became of an update; the numbers of the contract."""

    COMMITTED = 1
    ALREADY_COMMITTED = 2
    LEASE_LOST = 3


@dataclass(frozen=True, slots=True)
class AttemptAccepted:
    """Taken into a slot."""


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """The CLI has started."""


class AttemptCompleted(NamedTuple):
    """Ended with a result."""

    result: TaskResult


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """Ended with an error; reason TASK_TIMEOUT makes it a timeout."""

    error: TaskError


@dataclass(frozen=True, slots=True)
class AttemptReleased:
    """Given back."""

    reason: Release
    started: bool


@dataclass(frozen=True, slots=True)
class AttemptDeferred:
    """The CLI asked to come back after `pause` seconds; `message` is for people."""

    pause: float
    message: str = ""


Ending = AttemptCompleted | AttemptFailed | AttemptReleased | AttemptDeferred
Change = AttemptAccepted | AttemptStarted | AttemptProgress | Ending


class LeaseUpdate(NamedTuple):
    """One update of a report. `ref` is None where the lease id can't be one of ours."""

    lease_id: str
    attempt: int
    ref: LeaseRef | None
    change: Change


@dataclass(slots=True)
class FoldedUpdates:
    """All updates of one lease in a group, folded in their order (rule 14); what comes after an end is ignored."""

    ref: LeaseRef
    accepted: bool = False
    processing: bool = False
    progress: AttemptProgress | None = None
    ending: Ending | None = None

    def add(self, change: Change) -> None:
        """Folds the next update in."""
        if self.ending is not None:
            return
        match change:
            case AttemptAccepted():
                self.accepted = True
            case AttemptStarted():
                self.accepted = self.processing = True
            case AttemptProgress():
                self.progress = change
            case _:
                self.ending = change


class LeaseRow(NamedTuple):
    """The lease that a task has now, as far as a report is judged by it."""

    ref: LeaseRef
    revoked: bool


@dataclass(frozen=True, slots=True)
class LastEnd:
    """What a task keeps of its last ended lease, and where the task stands as far as its own row says."""

    status: Status  # PENDING for every open task
    attempt: int
    fence: int
    end: LeaseEnd


class Verdict(Enum):
    """What a report does with its lease."""

    APPLY = "apply"  # the lease is live: write the fold
    APPLY_LATE = "apply late"  # it ran out, its result is taken if the task still waits (rule 16)
    END_REVOKED = "end revoked"  # any final update ends a revoked lease (rule 17)
    ALREADY = "already"  # committed before, the acknowledgement was lost
    LOST = "lost"


_ENDED_BY: Mapping[LeaseEnd, type[Ending] | UnionType] = {
    LeaseEnd.COMPLETED: AttemptCompleted,
    LeaseEnd.FAILED: AttemptFailed,
    LeaseEnd.RELEASED: AttemptReleased | AttemptDeferred,
}
"""What a lease's own updates end it by. A hello that doesn't name it releases it too; it takes no result after that.

A deferral is kept as a release: an `End` of its own is one that the version before can't read.
"""


def judge(fold: FoldedUpdates, lease: LeaseRow | None, last: LastEnd | None) -> Verdict:
    """What `fold` does, given the lease that its task has now, and the task's last ended lease (rules 14 to 17).

    APPLY_LATE still needs the task's place among those that wait: whoever removes that, owns the task.
    """
    if lease is not None and lease.ref == fold.ref:
        if not lease.revoked:
            return Verdict.APPLY
        return Verdict.END_REVOKED if fold.ending is not None else Verdict.LOST
    if last is None or (last.attempt, last.fence) != (fold.ref.attempt, fold.ref.fence):
        return Verdict.LOST
    if last.end in _ENDED_BY:
        repeats = fold.ending is None or isinstance(fold.ending, _ENDED_BY[last.end])
        return Verdict.ALREADY if repeats else Verdict.LOST
    late = last.end is LeaseEnd.LOST and last.status is Status.PENDING and lease is None
    return Verdict.APPLY_LATE if late and isinstance(fold.ending, AttemptCompleted) else Verdict.LOST


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A worker's session as the database has it. `silent_for` is in seconds, by the database's clock."""

    folder_id: str
    session_number: int
    hostname: str
    silent_for: float
    identity: str = ""
    """Whose token opened it; empty: nobody's, no tokens were asked."""

    def belongs_to_another(self, identity: str) -> bool:
        """Whether it belongs to an identity, and `identity` is another one."""
        return bool(self.identity and identity) and self.identity != identity


class HelloVerdict(Enum):
    """What a hello does."""

    OPEN = "open"
    STALE = "stale"  # a hello that was delayed: changes nothing
    IN_USE = "in use"  # another folder, or another identity, has this worker id


def judge_hello(
    folder_id: str, session_number: int, present: SessionRow | None, lease_ttl: float, identity: str = ""
) -> HelloVerdict:
    """Whether a hello opens a session (rules 2 and 3).

    Another identity stands like another folder: it may have the id once that was silent for a lease time.
    """
    if present is None:
        return HelloVerdict.OPEN
    if present.folder_id == folder_id and session_number <= present.session_number:
        return HelloVerdict.STALE
    if present.folder_id == folder_id and not present.belongs_to_another(identity):
        return HelloVerdict.OPEN
    return HelloVerdict.IN_USE if present.silent_for < lease_ttl else HelloVerdict.OPEN


@dataclass(slots=True)
class Capacity:
    """What one stream's worker would take now (rule 6): absolute and versioned, never counted up or down.

    Free to grant is what the newest committed state says, less the leases of assignments that it had not read.
    """

    heartbeat_number: int = 0
    free_slots: int = 0
    expires_at: float = 0.0
    assignments: int = 0
    unread: dict[int, int] = field(default_factory=dict)

    def heartbeat(self, number: int, free_slots: int, last_assignment: int, expires_at: float) -> None:
        """A state is committed. One that is not the newest changes nothing."""
        if number <= self.heartbeat_number:
            return
        self.heartbeat_number, self.free_slots, self.expires_at = number, free_slots, expires_at
        for assignment in [n for n in self.unread if n <= last_assignment]:
            del self.unread[assignment]

    @property
    def remaining(self) -> int:
        """Leases that may be granted until the stated capacity lapses."""
        return max(0, self.free_slots - sum(self.unread.values()))

    def free(self, now: float) -> int:
        """Leases that may be granted now; 0 where the stated capacity has lapsed."""
        return self.remaining if now < self.expires_at else 0

    def assigned(self, leases: int) -> int:
        """Counts an assignment of so many leases; returns its number."""
        self.assignments += 1
        self.unread[self.assignments] = leases
        return self.assignments


@dataclass(frozen=True, slots=True)
class ReaperRow:
    """The row that all reapers share; seconds of the database's clock."""

    stamp: float
    expire_not_before: float


def tick(
    row: ReaperRow, now: float, heartbeat_interval: float, lease_ttl: float, *, runs_ahead: bool = False
) -> ReaperRow:
    """A reaper's tick at `now`: after a gap nothing expires for one lease time (rule 11). It never moves back.

    So it is while the database's clock `runs_ahead` of the reaper's own.
    """
    guard = row.expire_not_before
    if runs_ahead or now - row.stamp > heartbeat_interval:
        guard = max(guard, now + lease_ttl)
    return ReaperRow(max(row.stamp, now), guard)


def share_out(free: Mapping[int, int], limit: int, first: Collection[int] = ()) -> list[int]:
    """Session keys, one for each lease that may be granted, at most `limit`: the emptiest first, one each in turn.

    `free` maps a session to what it would take now. Those of `first` get one before all others.
    """
    slots = [key for key in first if free.get(key, 0) > 0]
    rest = {key: n - (key in first) for key, n in free.items()}
    remaining = sorted(((n, key) for key, n in rest.items() if n > 0), reverse=True)
    while remaining and len(slots) < limit:
        slots.extend(key for _, key in remaining)
        remaining = [(n - 1, key) for n, key in remaining if n > 1]
    return slots[:limit]


def fold_updates(updates: Iterable[LeaseUpdate]) -> dict[LeaseRef, FoldedUpdates]:
    """Folds a group's updates by lease, in their order."""
    folds: dict[LeaseRef, FoldedUpdates] = {}
    for update in updates:
        if update.ref is not None:
            folds.setdefault(update.ref, FoldedUpdates(update.ref)).add(update.change)
    return folds
