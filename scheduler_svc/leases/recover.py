"""What is due by time: leases expire, attempts time out, delays end. The timed loops call it, in bounded batches.

Each function takes `skip_locked`: it then looks for locked rows first, which costs more, and leaves them for later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from scheduler_svc.domain import lease
from scheduler_svc.domain.account import ALL, Scope
from scheduler_svc.domain.clock import ClockWatch, is_ahead
from scheduler_svc.domain.lease import LeaseEnd, ReaperRow
from scheduler_svc.domain.lifecycle import TASK_TIMEOUT, Move
from scheduler_svc.domain.resolution import Cause, loss_cause
from scheduler_svc.domain.task import TaskError
from scheduler_svc.history.work import Ledger
from scheduler_svc.leases.attempts import EndedLease, delete_revoked, end_attempts
from scheduler_svc.leases.rows import LiveLease
from scheduler_svc.runtime.loops import DueRound

if TYPE_CHECKING:
    from scheduler_svc.config import Settings
    from scheduler_svc.transactions import Tx


MAX_BATCH = 500


@dataclass(frozen=True, slots=True)
class Reaped:
    """What one tick did. `guarded`: nothing may expire, after a gap or while the database's clock `runs_ahead`."""

    expired: int
    timed_out: int
    guarded: bool
    runs_ahead: bool = False

    @property
    def full(self) -> bool:
        return max(self.expired, self.timed_out) >= MAX_BATCH


def reap(
    tx: Tx,
    settings: Settings,
    watch: ClockWatch | None = None,
    clock: Callable[[], float] = time.monotonic,
    *,
    skip_locked: bool = False,
) -> Reaped:
    """Ticks: stamps the row that all reapers share, then ends expired leases, unless there was a gap (rule 11).

    `watch` compares the database's clock with `clock`, this replica's own.
    """
    before = clock()
    present, now = tx.reaper.lock()
    runs_ahead = watch is not None and is_ahead(watch.gained(now, before, clock()), settings.lease_ttl)
    if _stamped(tx, settings, present, now, runs_ahead=runs_ahead):
        return Reaped(0, 0, guarded=True, runs_ahead=runs_ahead)
    expired = _find(tx, lambda excluded: tx.leases.lock_expired(MAX_BATCH, excluded), skip_locked=skip_locked)
    ended = [EndedLease(lease, loss_cause("its lease expired")) for lease in expired if not lease.revoked]
    delete_revoked(tx, [lease for lease in expired if lease.revoked])
    late = _find_late(tx, settings, ALL, skip_locked=skip_locked)
    _end(tx, settings, ended, late)
    return Reaped(len(expired), len(late), guarded=False)


@dataclass(frozen=True, slots=True)
class TimedOut:
    """How many attempts a call timed out; `full`: more may be due."""

    count: int
    full: bool


def time_out(tx: Tx, settings: Settings, scope: Scope, *, skip_locked: bool = False) -> TimedOut:
    """Times out attempts that ran too long. A tick that leaves expired leases to the loop (rule 11)."""
    if _stamped(tx, settings, *tx.reaper.lock()):
        return TimedOut(0, full=False)
    late = _find_late(tx, settings, scope, skip_locked=skip_locked)
    _end(tx, settings, [], late)
    return TimedOut(sum(lease.accept_time is not None for lease in late), full=len(late) >= MAX_BATCH)


def _find_late(tx: Tx, settings: Settings, scope: Scope, *, skip_locked: bool) -> list[LiveLease]:
    def find(excluded: Collection[int]) -> list[LiveLease]:
        return tx.leases.lock_timed_out(settings.lease_ttl, MAX_BATCH, scope, excluded)

    return _find(tx, find, skip_locked=skip_locked)


def _find(tx: Tx, find: Callable[[Collection[int]], list[LiveLease]], *, skip_locked: bool) -> list[LiveLease]:
    """Locks leases, which `find` finds except for those of the accounts that it is given.

    `skip_locked`: except for leases whose task or account another session has locked.
    """
    leases = find(())
    if not skip_locked:
        return leases
    excluded: set[int] = set()
    while locked := tx.window.try_lock({lease.account_id for lease in leases}):
        excluded |= locked
        leases = find(excluded)
    tasks = tx.tasks.lock(sorted(lease.ref.task_key for lease in leases), skip_locked=True)
    return [lease for lease in leases if lease.ref.task_key in tasks]


def _stamped(tx: Tx, settings: Settings, present: ReaperRow, now: float, *, runs_ahead: bool = False) -> bool:
    """Stamps the shared row; returns whether nothing may expire or time out yet."""
    row = lease.tick(present, now, settings.heartbeat_interval, settings.lease_ttl, runs_ahead=runs_ahead)
    tx.reaper.stamp(row)
    return now < row.expire_not_before


def _end(tx: Tx, settings: Settings, lost: Sequence[EndedLease], late: Sequence[LiveLease]) -> None:
    ledger = Ledger(tx)
    end_attempts(tx, ledger, [*lost, *map(_timed_out, late)], settings.max_worker_losses)
    ledger.write()
    tx.signals.cancelled += [(lease.worker_id, lease.ref.lease_id, TASK_TIMEOUT) for lease in late]


def _timed_out(lease: LiveLease) -> EndedLease:
    """Ends a lease: in a slot for too long, by a timeout; in none for that and a lease time more, a loss (rule 12)."""
    if lease.accept_time is None:
        return EndedLease(lease, replace(loss_cause("no slot took it in time"), end=LeaseEnd.REVOKED), revoke=True)
    error = TaskError(TASK_TIMEOUT, f"it ran longer than its timeout of {lease.timeout_ms / 1000:g} s")
    return EndedLease(lease, Cause(Move.TIME_OUT, LeaseEnd.REVOKED, TASK_TIMEOUT, error), revoke=True)


def promote_due(tx: Tx, *, skip_locked: bool = False) -> DueRound:
    """Ends delays whose time has come."""
    locked = tx.window.lock_due(partial(tx.waiting.due_accounts, MAX_BATCH)) if skip_locked else ()
    due = tx.waiting.take_due(MAX_BATCH, locked)
    ledger = Ledger(tx)
    for row in due:
        ledger.dequeued(row)
        ledger.enqueue(row.place, expire_time=row.expire_time)
    ledger.write()
    return DueRound(len(due), tx.waiting.next_due())
