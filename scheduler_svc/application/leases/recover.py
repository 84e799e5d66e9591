"""What time does: leases run out, attempts take too long, waits end. Called by the loops, in bounded batches.

Each function is `cautious` on demand, once it has met a lock that somebody else holds: it then looks for locked rows
first, which costs more, and leaves what needs them for later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from scheduler_svc.application.leases.resolve_attempts import EndedLease, delete_revoked, end_attempts
from scheduler_svc.application.ports import Tx
from scheduler_svc.application.records import LiveLease
from scheduler_svc.application.tasks.ledger import Ledger
from scheduler_svc.domain import lease as rules
from scheduler_svc.domain.access import ALL, Scope
from scheduler_svc.domain.clock import ClockWatch, is_ahead
from scheduler_svc.domain.lease import LeaseEnd, ReaperRow
from scheduler_svc.domain.lifecycle import Move
from scheduler_svc.domain.resolution import Cause, loss_cause
from scheduler_svc.domain.retry import TASK_TIMEOUT
from scheduler_svc.domain.task import TaskError

MAX_BATCH = 500


@dataclass(frozen=True, slots=True)
class Reaped:
    """What one tick did; `guarded`: nothing may expire yet, since there was a gap, or the database `runs_ahead`."""

    expired: int
    timed_out: int
    guarded: bool
    runs_ahead: bool = False

    @property
    def full(self) -> bool:
        """Whether more may be waiting."""
        return max(self.expired, self.timed_out) >= MAX_BATCH


@dataclass(frozen=True, slots=True)
class ReaperSettings:
    """Seconds, and how many losses in a row fail a task."""

    lease_ttl: float
    heartbeat_interval: float
    max_losses: int


def reap(
    tx: Tx,
    settings: ReaperSettings,
    watch: ClockWatch | None = None,
    clock: Callable[[], float] = time.monotonic,
    *,
    skip_locked: bool = False,
) -> Reaped:
    """One tick: stamps the row that all reapers share, then ends what ran out, unless there was a gap (rule 11).

    `watch` is what this replica remembers of the database's clock and its own, which is `clock`.
    """
    before = clock()
    present, now = tx.reaper.lock()
    runs_ahead = watch is not None and is_ahead(watch.gained(now, before, clock()), settings.lease_ttl)
    if _stamped(tx, settings, present, now, runs_ahead=runs_ahead):
        return Reaped(0, 0, guarded=True, runs_ahead=runs_ahead)
    find = _free if skip_locked else _all
    expired = find(tx, lambda but: tx.leases.lock_expired(MAX_BATCH, but))
    ended = [EndedLease(lease, loss_cause("its lease ran out")) for lease in expired if not lease.revoked]
    delete_revoked(tx, [lease for lease in expired if lease.revoked])
    late = find(tx, lambda but: tx.leases.lock_timed_out(settings.lease_ttl, MAX_BATCH, ALL, but))
    _end(tx, settings, ended, late)
    return Reaped(len(expired), len(late), guarded=False)


@dataclass(frozen=True, slots=True)
class TimedOut:
    """How many attempts a call moved to timeout; `full`: more may be waiting."""

    count: int
    full: bool


def time_out(tx: Tx, settings: ReaperSettings, scope: Scope, *, skip_locked: bool = False) -> TimedOut:
    """Times out what ran too long: a tick that leaves to the loop what ran out (rule 11)."""
    if _stamped(tx, settings, *tx.reaper.lock()):
        return TimedOut(0, full=False)
    find = _free if skip_locked else _all
    late = find(tx, lambda but: tx.leases.lock_timed_out(settings.lease_ttl, MAX_BATCH, scope, but))
    _end(tx, settings, [], late)
    return TimedOut(sum(lease.accept_time is not None for lease in late), full=len(late) >= MAX_BATCH)


Find = Callable[[Collection[int]], list[LiveLease]]
"""Leases, locked, of other accounts than these."""


def _all(_: Tx, find: Find) -> list[LiveLease]:
    return find(())


def _free(tx: Tx, find: Find) -> list[LiveLease]:
    """What `find` finds, but for leases whose task or account somebody else holds."""
    found = find(())
    but: set[int] = set()
    while held := tx.window.locked({lease.account_id for lease in found}):
        but |= held
        found = find(but)
    tasks = tx.tasks.lock(sorted(lease.ref.task_key for lease in found), skip_locked=True)
    return [lease for lease in found if lease.ref.task_key in tasks]


def _stamped(tx: Tx, settings: ReaperSettings, present: ReaperRow, now: float, *, runs_ahead: bool = False) -> bool:
    """Stamps the shared row; whether nothing may expire or time out yet."""
    row = rules.tick(present, now, settings.heartbeat_interval, settings.lease_ttl, runs_ahead=runs_ahead)
    tx.reaper.stamp(row)
    return now < row.expire_not_before


def _end(tx: Tx, settings: ReaperSettings, lost_ones: Sequence[EndedLease], late: Sequence[LiveLease]) -> None:
    ledger = Ledger(tx)
    end_attempts(tx, ledger, [*lost_ones, *map(_timed_out, late)], settings.max_losses)
    ledger.write()
    _tell_workers(tx, late)


def _timed_out(lease: LiveLease) -> EndedLease:
    """In a slot for too long: a timeout. Never taken into one for that long and a lease time more: a loss (rule 12)."""
    if lease.accept_time is None:
        return EndedLease(lease, replace(loss_cause("no slot took it in time"), end=LeaseEnd.REVOKED), revoke=True)
    error = TaskError(TASK_TIMEOUT, f"it ran longer than its timeout of {lease.timeout_ms / 1000:g} s")
    return EndedLease(lease, Cause(Move.TIME_OUT, LeaseEnd.REVOKED, TASK_TIMEOUT, error), revoke=True)


def _tell_workers(tx: Tx, revoked: Sequence[LiveLease]) -> None:
    tx.signals.cancelled += [(lease.worker_id, lease.ref.lease_id, TASK_TIMEOUT) for lease in revoked]


@dataclass(frozen=True, slots=True)
class Promoted:
    """How many waits ended, and the seconds until the next one does (None: none waits)."""

    count: int
    next_due: float | None


def promote_due(tx: Tx, *, skip_locked: bool = False) -> Promoted:
    """Lets be claimed what waited for a time that has come."""
    due = tx.waiting.take_due(MAX_BATCH, _held_accounts(tx) if skip_locked else ())
    ledger = Ledger(tx)
    for row in due:
        ledger.taken_out(row)
        ledger.enqueue(row.task_key, row.account_id, row.priority, row.attempt, row.timeout_ms, tag=row.tag)
    ledger.write()
    return Promoted(len(due), tx.waiting.next_due())


def _held_accounts(tx: Tx) -> set[int]:
    """Accounts that have something due, and whose turns somebody else holds."""
    but: set[int] = set()
    while held := tx.window.locked(tx.waiting.due_accounts(MAX_BATCH, but)):
        but |= held
    return but


def fold_counts(tx: Tx) -> int:
    """Folds a batch of count deltas; returns how many counts were touched."""
    return tx.counts.fold(10_000)


def raise_floors(tx: Tx) -> bool:
    """Lets claims begin behind what is dead; False where others were giving tags, and it should be tried again."""
    return tx.floors.rise()


def uncover_tags(tx: Tx) -> int:
    """Lets claims see what a replica of the version before put below a floor; returns how many floors hid something."""
    uncovered = tx.floors.uncover()
    tx.signals.ready = uncovered > 0
    return uncovered
