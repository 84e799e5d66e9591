"""The loops that time drives: the reaper, the due loop and the housekeeping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from scheduler_svc.application.calls import Calls
from scheduler_svc.application.leases.recover import (
    ReaperSettings,
    fold_counts,
    promote_due,
    raise_floors,
    reap,
    uncover_tags,
)
from scheduler_svc.application.skip_locked import SkipLocked
from scheduler_svc.domain.clock import ClockWatch
from scheduler_svc.domain.errors import LockTimeout, StoreUnavailable

Run = Callable[[], Awaitable[float | None]]
_log = structlog.get_logger(__name__)

HOUSEKEEPING_INTERVAL = 5.0
MAX_FOLDS = 20
"""Batches of deltas that are folded at a time; without an end it would chase what is added meanwhile."""
LOOK_INTERVAL = 10.0
"""Seconds after which the due loop looks for itself: signals are hints."""
TAKEN_ELSEWHERE = 0.1
"""Seconds until the due loop looks again at what another replica is just taking."""
VACUUM_AFTER = 5_000
"""Moves after which the narrow tables are vacuumed."""
FLOORS_INTERVAL = 1.0
RAISE_AFTER = 2_000
"""Moves after which the floors are raised."""
RAISE_TRIES = 10
RAISE_PAUSE = 0.01
"""Seconds between tries: whoever gives tags does so for a few milliseconds."""
UNCOVER_INTERVAL = 60.0


def reaper(
    calls: Calls,
    settings: ReaperSettings,
    store_there: Callable[[bool], None],
    clock: Callable[[], float] = time.monotonic,
) -> Run:
    """Three ticks a heartbeat interval: they end what ran out, and show whether the database is there.

    One that does not answer within an interval counts as away.
    """
    watch = ClockWatch(settings.lease_ttl, settings.heartbeat_interval)
    caution = SkipLocked(calls)
    ran_ahead = False

    async def run_once() -> float:
        nonlocal ran_ahead
        ticking = asyncio.ensure_future(caution.run(reap, settings, watch, clock))
        try:
            done, _ = await asyncio.wait({ticking}, timeout=settings.heartbeat_interval)
            if not done:
                store_there(False)
            reaped = await ticking
        except LockTimeout:
            store_there(True)  # it answers: others can be served
            raise
        except StoreUnavailable:
            store_there(False)
            raise
        store_there(True)
        if reaped.runs_ahead and not ran_ahead:
            _log.warning("the database's clock runs ahead of ours: no lease runs out for a while", action="reap")
        ran_ahead = reaped.runs_ahead
        return 0.0 if reaped.full else settings.heartbeat_interval / 3

    return run_once


def due(calls: Calls) -> Run:
    """Lets be claimed what has waited for its time; sleeps until the next one is due, or a signal."""
    caution = SkipLocked(calls)

    async def run_once() -> float:
        promoted = await caution.run(promote_due)
        if promoted.next_due is None:
            return LOOK_INTERVAL
        soonest = 0.0 if promoted.count else TAKEN_ELSEWHERE
        return min(max(soonest, promoted.next_due), LOOK_INTERVAL)

    return run_once


class Housekeeping:
    """Folds counts and vacuums the narrow tables, each few seconds, while anything moves."""

    def __init__(self, calls: Calls, vacuum: Callable[[], None]) -> None:
        self._calls = calls
        self._vacuum = vacuum
        self._moves = 1
        self._since_vacuum = 0

    def moved(self, count: int) -> None:
        """So many tasks moved."""
        self._moves += count
        self._since_vacuum += count

    async def run_once(self) -> float:
        """Does what is worth doing; at rest, nothing."""
        if self._moves:
            self._moves = 0
            for _ in range(MAX_FOLDS):
                if not await self._calls.run(fold_counts):
                    break
        if self._since_vacuum >= VACUUM_AFTER:
            self._since_vacuum = 0
            await asyncio.to_thread(self._vacuum)
        return HOUSEKEEPING_INTERVAL


class Floors:
    """Raises the floors, each second while much moves, and looks from time to time whether one hides something."""

    def __init__(self, calls: Calls, clock: Callable[[], float] = time.monotonic) -> None:
        self._calls = calls
        self._clock = clock
        self._moves = 0
        self._uncover_at = clock()

    def moved(self, count: int) -> None:
        """So many tasks moved."""
        self._moves += count

    async def run_once(self) -> float:
        """Does what is worth doing; at rest, a look each minute."""
        if self._clock() >= self._uncover_at:
            self._uncover_at = self._clock() + UNCOVER_INTERVAL
            if found := await self._calls.run(uncover_tags):
                _log.info("tasks that were given out of turn are seen again", action="floors", count=found)
        if self._moves >= RAISE_AFTER and await self._raise():
            self._moves = 0
        return FLOORS_INTERVAL

    async def _raise(self) -> bool:
        for _ in range(RAISE_TRIES):
            if await self._calls.run(raise_floors):
                return True
            await asyncio.sleep(RAISE_PAUSE)
        return False
