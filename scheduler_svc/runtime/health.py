"""Whether this replica serves: not while the database is away, work stands still, its clock is wrong, or it drains.

A lane or a hello that makes no progress makes the replica NOT_SERVING. If work waits for a lock that another session
holds, the sessions that hold it are logged.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog

from scheduler_svc.domain.system import LaneState, LockHolder


class Health:
    """Lives on the event loop."""

    def __init__(self) -> None:
        self._store_available = False
        self._draining = False
        self._stalled = False
        self._failed = False
        self._clock_wrong = False
        self._wrong_assets = False
        self._callbacks: list[Callable[[bool], None]] = []

    @property
    def serving(self) -> bool:
        return not self.reasons

    @property
    def reasons(self) -> list[str]:
        """Why it does not serve; empty if it does. Any thread may read it."""
        present = {
            "the database is away": not self._store_available,
            "work stands still": self._stalled,
            "a part that it needs keeps failing": self._failed,
            "its CONTENTGEN_ASSETS is not the store that the assets are in": self._wrong_assets,
            "it is draining": self._draining,
            "its clock is wrong": self._clock_wrong,
        }
        return [reason for reason, holds in present.items() if holds]

    @property
    def store_available(self) -> bool:
        """Whether the database answered last."""
        return self._store_available

    @property
    def draining(self) -> bool:
        return self._draining

    def subscribe(self, callback: Callable[[bool], None]) -> None:
        self._callbacks.append(callback)

    def set_store_available(self, there: bool) -> None:
        with self._notifying():
            self._store_available = there

    def set_stalled(self, stalled: bool) -> None:
        with self._notifying():
            self._stalled = stalled

    def set_clock_wrong(self, wrong: bool) -> None:
        with self._notifying():
            self._clock_wrong = wrong

    def set_wrong_assets(self, wrong: bool) -> None:
        with self._notifying():
            self._wrong_assets = wrong

    def fail(self) -> None:
        """For good: a part that the replica needs keeps failing."""
        with self._notifying():
            self._failed = True

    def drain(self) -> None:
        with self._notifying():
            self._draining = True

    @contextmanager
    def _notifying(self) -> Iterator[None]:
        before = self.serving
        yield
        if self.serving != before:
            for callback in self._callbacks:
                callback(self.serving)


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
        after: float,
        lock_holders: Callable[[], Awaitable[Sequence[LockHolder]]],
    ) -> None:
        """`after`: seconds that the oldest item of a lane may wait."""
        self._lanes = lanes
        self._health = health
        self._after = after
        self._lock_holders = lock_holders
        self._stalled: list[str] = []
        self._logged: tuple[Sequence[LockHolder], float] = ((), 0.0)

    async def run_once(self) -> float:
        """Checks each lane; returns the seconds until the next check."""
        states = {name: state() for name, state in self._lanes.items()}
        stalled = [name for name, state in states.items() if state.stalled(self._after)]
        self._health.set_stalled(bool(stalled))
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
        if available:
            self._available()
        else:
            self.away("it does not answer in time")

    def away(self, reason: str) -> None:
        """The database can't be reached. Each reason is logged once: the first may be that a connection broke."""
        was_available = self._health.store_available
        self._health.set_store_available(False)
        if reason not in self._reasons:
            self._reasons.add(reason)
            _log.warning("the database is away", action="store", reason=reason)
        if was_available:
            self._on_away()

    def _available(self) -> None:
        was_available = self._health.store_available
        self._health.set_store_available(True)
        if not was_available:
            self._reasons.clear()
            _log.info("the database is there", action="store")
            self._on_back()
