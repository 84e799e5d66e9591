"""Whether this replica serves: not while the database is away, work stands still, its clock is wrong, or it drains.

A lane or a hello that makes no progress makes the replica NOT_SERVING. If work waits for a lock that another session
holds, the sessions that hold it are logged.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

import structlog

from scheduler_svc.domain.system import LaneState, LockHolder

if TYPE_CHECKING:
    from scheduler_svc.config import Settings


class Reason(StrEnum):
    """Why a replica does not serve."""

    STORE_AWAY = "the database is away"
    STALLED = "work stands still"
    PART_FAILED = "a part that it needs keeps failing"
    WRONG_ASSETS = "its CONTENTGEN_ASSETS is not the store that the assets are in"
    DRAINING = "it is draining"
    CLOCK_WRONG = "its clock is wrong"


class Health:
    """Lives on the event loop."""

    def __init__(self) -> None:
        self._present = {Reason.STORE_AWAY}
        self._callbacks: list[Callable[[], None]] = []

    @property
    def serving(self) -> bool:
        return not self._present

    @property
    def reasons(self) -> list[str]:
        """Why it does not serve; empty if it does. Any thread may read it."""
        return [reason for reason in Reason if reason in self._present]

    @property
    def store_available(self) -> bool:
        """Whether the database answered last."""
        return Reason.STORE_AWAY not in self._present

    @property
    def draining(self) -> bool:
        return Reason.DRAINING in self._present

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Calls back whenever `serving` changes."""
        self._callbacks.append(callback)

    def set(self, reason: Reason, holds: bool = True) -> None:
        before = self.serving
        self._present = self._present | {reason} if holds else self._present - {reason}
        if self.serving != before:
            for callback in self._callbacks:
                callback()


# What a replica watches about itself: work that stands still, and whether the database answers.


CHECK_INTERVAL = 1.0
REPEAT_INTERVAL = 30.0
"""Seconds after which the same lock holders are logged again."""
_log = structlog.get_logger(__name__)


class StallCheck:
    """Lives on the event loop."""

    def __init__(
        self,
        lanes: Mapping[str, Callable[[], LaneState]],
        health: Health,
        settings: Settings,
        lock_holders: Callable[[], Awaitable[Sequence[LockHolder]]],
    ) -> None:
        self._lanes = lanes
        self._health = health
        self._after = settings.heartbeat_interval
        """Seconds that the oldest item of a lane may wait."""
        self._lock_holders = lock_holders
        self._stalled: list[str] = []
        self._logged: tuple[Sequence[LockHolder], float] = ((), 0.0)

    async def run_once(self) -> float:
        """Checks each lane; returns the seconds until the next check."""
        states = {name: state() for name, state in self._lanes.items()}
        stalled = [name for name, state in states.items() if state.stalled(self._after)]
        self._health.set(Reason.STALLED, bool(stalled))
        if stalled != self._stalled:
            self._stalled = stalled
            self._log_stalled(states)
        if stalled or any(state.set_aside for state in states.values()):
            self._log_holders(await self._lock_holders())
        return CHECK_INTERVAL

    def _log_stalled(self, states: Mapping[str, LaneState]) -> None:
        if not self._stalled:
            _log.info("nothing stands still any more", action="stall")
        for name in self._stalled:
            state = states[name]
            _log.error(
                "work stands still: this replica does not serve",
                action="stall",
                lane=name,
                oldest_seconds=round(state.oldest, 1),
                waiting=state.waiting,
                set_aside=state.set_aside,
            )

    def _log_holders(self, holders: Sequence[LockHolder]) -> None:
        logged_holders, logged_at = self._logged
        now = time.monotonic()
        same = {holder.pid for holder in holders} == {holder.pid for holder in logged_holders}
        if not holders or (same and now - logged_at < REPEAT_INTERVAL):
            return
        self._logged = holders, now
        for holder in holders:
            fields = {name: value for name, value in holder._asdict().items() if name != "waited_for"}
            _log.warning("a session of the database holds a lock that is waited for", action="lock", **fields)


class StoreWatch:
    """Lives on the event loop."""

    def __init__(self, health: Health, *, on_back: Callable[[], None], on_away: Callable[[], None]) -> None:
        self._health = health
        self._on_back = on_back
        self._on_away = on_away
        self._reasons: set[str] = set()

    def note(self, available: bool) -> None:
        """Takes the result of a regular try, which the reaper makes."""
        if not available:
            self.away("it does not answer in time")
        elif not self._health.store_available:
            self._health.set(Reason.STORE_AWAY, False)
            self._reasons.clear()
            _log.info("the database is there", action="store")
            self._on_back()

    def away(self, reason: str) -> None:
        """Notes that the database is away. Each reason is logged once: the first may be that a connection broke."""
        was_available = self._health.store_available
        self._health.set(Reason.STORE_AWAY)
        if reason not in self._reasons:
            self._reasons.add(reason)
            _log.warning("the database is away", action="store", reason=reason)
        if was_available:
            self._on_away()
