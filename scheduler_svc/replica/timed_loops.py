"""What the timed loops do: the reaper, the due loop, the expiry loop, the housekeeping and the floors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from scheduler_svc.config import Settings
from scheduler_svc.dispatch.routing import forget_selectors
from scheduler_svc.dispatch.work import raise_floors, uncover_tags
from scheduler_svc.domain.clock import ClockWatch
from scheduler_svc.domain.errors import LockTimeout, StoreUnavailable
from scheduler_svc.history.work import fold_counts, fold_rollups
from scheduler_svc.leases.recover import promote_due, reap
from scheduler_svc.runtime.calls import Calls, SkipLocked
from scheduler_svc.runtime.loops import Run
from scheduler_svc.tasks.change import expire_tasks

_log = structlog.get_logger(__name__)

HOUSEKEEPING_INTERVAL = 5.0
MAX_FOLDS = 20
"""Batches of count deltas folded in a round; without a bound it would chase those added meanwhile."""
MAX_DUE_INTERVAL = 10.0
"""Seconds after which the due and the expiry loop read without a signal: one may be lost."""
MIN_MOVES_TO_VACUUM = 5_000
FLOORS_INTERVAL = 1.0
MIN_MOVES_TO_RAISE = 2_000
MAX_RAISE_TRIES = 10
RAISE_RETRY_INTERVAL = 0.01
"""Seconds between tries: tags are given within a few milliseconds."""
UNCOVER_INTERVAL = 60.0


def reaper(
    calls: Calls, settings: Settings, on_available: Callable[[bool], None], clock: Callable[[], float] = time.monotonic
) -> Run:
    """Ends expired leases, three times a heartbeat interval: so one slow tick is not taken for an outage.

    `on_available` gets whether the database answers; it counts as away after an interval without an answer.
    """
    watch = ClockWatch(settings.lease_ttl, settings.heartbeat_interval)
    skipping = SkipLocked(calls)
    ran_ahead = False

    async def run_once() -> float:
        nonlocal ran_ahead
        ticking = asyncio.ensure_future(skipping.run(reap, settings, watch, clock))
        try:
            done, _ = await asyncio.wait({ticking}, timeout=settings.heartbeat_interval)
            if not done:
                on_available(False)
            reaped = await ticking
        except LockTimeout:
            on_available(True)  # it answers: others can be served
            raise
        except StoreUnavailable:
            on_available(False)
            raise
        on_available(True)
        if reaped.runs_ahead and not ran_ahead:
            _log.warning("the database's clock runs ahead of ours: no lease expires for a while", action="reap")
        ran_ahead = reaped.runs_ahead
        return 0.0 if reaped.full else settings.heartbeat_interval / 3

    return run_once


def due(calls: Calls) -> Run:
    """Makes tasks ready whose time has come; sleeps until the next one is due."""
    skipping = SkipLocked(calls)

    async def run_once() -> float:
        return (await skipping.run(promote_due)).wait(MAX_DUE_INTERVAL)

    return run_once


def expiry(calls: Calls) -> Run:
    """Cancels tasks that were not started by their `expire_time`; sleeps until the next one expires."""

    async def run_once() -> float:
        return (await calls.run(expire_tasks)).wait(MAX_DUE_INTERVAL)

    return run_once


class Housekeeping:
    """Folds counts and vacuums the narrow tables, every few seconds while tasks move."""

    def __init__(self, calls: Calls, vacuum: Callable[[], None]) -> None:
        self._calls = calls
        self._vacuum = vacuum
        self._moves = 1
        self._since_vacuum = 0

    def moved(self, count: int) -> None:
        self._moves += count
        self._since_vacuum += count

    async def run_once(self) -> float:
        if self._moves:
            self._moves = 0
            for fold in (fold_counts, fold_rollups):
                for _ in range(MAX_FOLDS):
                    if not await self._calls.run(fold):
                        break
        if self._since_vacuum >= MIN_MOVES_TO_VACUUM:
            self._since_vacuum = 0
            await asyncio.to_thread(self._vacuum)
        return HOUSEKEEPING_INTERVAL


class FloorLoop:
    """Raises the floors, each second while many tasks move, and checks each minute whether a floor hides a tag."""

    def __init__(self, calls: Calls, clock: Callable[[], float] = time.monotonic) -> None:
        self._calls = calls
        self._clock = clock
        self._moves = 0
        self._uncover_at = clock()

    def moved(self, count: int) -> None:
        self._moves += count

    async def run_once(self) -> float:
        if self._clock() >= self._uncover_at:
            self._uncover_at = self._clock() + UNCOVER_INTERVAL
            if count := await self._calls.run(uncover_tags):
                _log.info("tasks below a floor are visible to claims again", action="floors", count=count)
            await self._calls.run(forget_selectors)
        if self._moves >= MIN_MOVES_TO_RAISE:
            for _ in range(MAX_RAISE_TRIES):
                if await self._calls.run(raise_floors):
                    self._moves = 0
                    break
                await asyncio.sleep(RAISE_RETRY_INTERVAL)
        return FLOORS_INTERVAL
