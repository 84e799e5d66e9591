"""Decisions about leases: opening a session, judging a report, free capacity, expiry. Pure.

Rules are cited by their numbers in the comment of WorkerService.Lease.
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
from scheduler_svc.domain.task import AttemptProgress, Brief, RunOutput, TaskError


class LeaseEnd(IntEnum):
    """How a task's last ended lease ended. Kept on the task: it decides which reports still count (rules 15, 16)."""

    NONE = 0
    COMPLETED = 1
    FAILED = 2
    RELEASED = 3
    LOST = 4
    REVOKED = 5


class Release(IntEnum):
    """Why a worker releases a lease. The numbers are the contract's."""

    DRAINING = 1
    REFUSED = 2
    EXPIRED = 3
    QUEUED_TOO_LONG = 4


class Outcome(IntEnum):
    COMMITTED = 1
    ALREADY_COMMITTED = 2
    LEASE_LOST = 3


@dataclass(frozen=True, slots=True)
class AttemptAccepted:
    """The lease is in a slot."""


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """The CLI has started."""


class AttemptCompleted(NamedTuple):
    result: TaskResult


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """The attempt ended with an error; reason TASK_TIMEOUT makes it a timeout."""

    error: TaskError


@dataclass(frozen=True, slots=True)
class AttemptReleased:
    reason: Release
    started: bool


@dataclass(frozen=True, slots=True)
class AttemptDeferred:
    """The CLI asked to come back after `pause` seconds; `message` is human-readable."""

    pause: float
    message: str = ""


Ending = AttemptCompleted | AttemptFailed | AttemptReleased | AttemptDeferred
Change = AttemptAccepted | AttemptStarted | AttemptProgress | Ending


class LeaseUpdate(NamedTuple):
    """One update of a report. `ref` is None if the lease id is malformed."""

    lease_id: str
    attempt: int
    ref: LeaseRef | None
    change: Change
    output: RunOutput | None = None
    """What the CLI printed. Counts only with an ending."""


@dataclass(slots=True)
class FoldedUpdates:
    """All updates of one lease in a group, folded in order (rule 14). Updates after an ending are ignored."""

    ref: LeaseRef
    accepted: bool = False
    processing: bool = False
    progress: AttemptProgress | None = None
    ending: Ending | None = None
    output: RunOutput | None = None

    def add(self, change: Change, output: RunOutput | None = None) -> None:
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
                self.ending, self.output = change, output


class Grant(NamedTuple):
    """A lease that a claim has made, and its task. Its fields are in the order of the claim's columns."""

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


class LeaseRow(NamedTuple):
    """A task's present lease, as far as a report is judged by it."""

    ref: LeaseRef
    revoked: bool


@dataclass(frozen=True, slots=True)
class LastEnd:
    """A task's last ended lease, and the status in the task's own row."""

    status: Status  # PENDING for every open task
    attempt: int
    fence: int
    end: LeaseEnd


class Verdict(Enum):
    APPLY = "apply"  # the lease is live: write the updates
    APPLY_LATE = "apply late"  # it expired; its result counts if the task still waits (rule 16)
    END_REVOKED = "end revoked"  # any final update ends a revoked lease (rule 17)
    ALREADY = "already"  # committed before; the acknowledgement was lost
    LOST = "lost"


_ENDED_BY: Mapping[LeaseEnd, type[Ending] | UnionType] = {
    LeaseEnd.COMPLETED: AttemptCompleted,
    LeaseEnd.FAILED: AttemptFailed,
    LeaseEnd.RELEASED: AttemptReleased | AttemptDeferred,
}
"""The updates that end a lease in this way. A hello that does not name a lease releases it too; no result counts then.

A deferral is stored as a release: the version before can't read an end of its own.
"""


def judge(folded: FoldedUpdates, lease: LeaseRow | None, last: LastEnd | None) -> Verdict:
    """Returns what `folded` does, given the task's present lease and its last ended one (rules 14 to 17).

    APPLY_LATE also needs the task's row in its queue: the transaction that removes that row owns the task.
    """
    if lease is not None and lease.ref == folded.ref:
        if not lease.revoked:
            return Verdict.APPLY
        return Verdict.END_REVOKED if folded.ending is not None else Verdict.LOST
    if last is None or (last.attempt, last.fence) != (folded.ref.attempt, folded.ref.fence):
        return Verdict.LOST
    if last.end in _ENDED_BY:
        repeats = folded.ending is None or isinstance(folded.ending, _ENDED_BY[last.end])
        return Verdict.ALREADY if repeats else Verdict.LOST
    late = last.end is LeaseEnd.LOST and last.status is Status.PENDING and lease is None
    return Verdict.APPLY_LATE if late and isinstance(folded.ending, AttemptCompleted) else Verdict.LOST


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A worker's session in the database. `silent_for`: seconds by the database's clock."""

    folder_id: str
    session_number: int
    hostname: str
    silent_for: float
    identity: str = ""
    """The identity whose token opened it; empty if no tokens were required."""

    def belongs_to_another(self, identity: str) -> bool:
        """Returns whether both identities are known, and differ."""
        return bool(self.identity and identity) and self.identity != identity


class HelloVerdict(Enum):
    OPEN = "open"
    STALE = "stale"  # a delayed hello: changes nothing
    IN_USE = "in use"  # another folder, or another identity, has this worker id


def judge_hello(
    folder_id: str, session_number: int, present: SessionRow | None, lease_ttl: float, identity: str = ""
) -> HelloVerdict:
    """Returns whether a hello opens a session (rules 2 and 3).

    Another identity counts like another folder: it gets the worker id once that was silent for a lease time.
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

    Free capacity is that of the newest committed heartbeat, less the leases of assignments that it had not read.
    """

    heartbeat_number: int = 0
    free_slots: int = 0
    expires_at: float = 0.0
    assignments: int = 0
    unread: dict[int, int] = field(default_factory=dict)

    def heartbeat(self, number: int, free_slots: int, last_assignment: int, expires_at: float) -> None:
        """Takes a committed heartbeat; ignores one that is not the newest."""
        if number <= self.heartbeat_number:
            return
        self.heartbeat_number, self.free_slots, self.expires_at = number, free_slots, expires_at
        for assignment in [n for n in self.unread if n <= last_assignment]:
            del self.unread[assignment]

    @property
    def remaining(self) -> int:
        return max(0, self.free_slots - sum(self.unread.values()))

    def free(self, now: float) -> int:
        """Returns how many leases may be granted now; 0 if the capacity has expired."""
        return self.remaining if now < self.expires_at else 0

    def assigned(self, leases: int) -> int:
        """Counts an assignment of so many leases; returns its number."""
        self.assignments += 1
        self.unread[self.assignments] = leases
        return self.assignments


@dataclass(frozen=True, slots=True)
class ReaperRow:
    """The row that all reapers share, in seconds of the database's clock."""

    stamp: float
    expire_not_before: float


def tick(
    row: ReaperRow, now: float, heartbeat_interval: float, lease_ttl: float, *, runs_ahead: bool = False
) -> ReaperRow:
    """Returns the row after a reaper's tick at `now`; it never moves back.

    After a gap, or while the database's clock `runs_ahead`, nothing expires for one lease time (rule 11).
    """
    not_before = row.expire_not_before
    if runs_ahead or now - row.stamp > heartbeat_interval:
        not_before = max(not_before, now + lease_ttl)
    return ReaperRow(max(row.stamp, now), not_before)


def share_out(free: Mapping[int, int], limit: int, first: Collection[int] = ()) -> list[int]:
    """Returns session keys, one for each of up to `limit` leases: round robin, sessions with the most capacity first.

    `free` maps sessions to their free capacity. Those in `first` get one lease before all others.
    """
    slots = [key for key in first if free.get(key, 0) > 0]
    rest = {key: n - (key in first) for key, n in free.items()}
    remaining = sorted(((n, key) for key, n in rest.items() if n > 0), reverse=True)
    while remaining and len(slots) < limit:
        slots.extend(key for _, key in remaining)
        remaining = [(n - 1, key) for n, key in remaining if n > 1]
    return slots[:limit]


def fold_updates(updates: Iterable[LeaseUpdate]) -> dict[LeaseRef, FoldedUpdates]:
    folds: dict[LeaseRef, FoldedUpdates] = {}
    for update in updates:
        if update.ref is None:
            continue
        if (folded := folds.get(update.ref)) is None:
            folded = folds[update.ref] = FoldedUpdates(update.ref)
        folded.add(update.change, update.output)
    return folds
