"""Watches the work that a replica is there for: a lane or a hello that stands still makes it NOT_SERVING.

What waits for a lock that somebody else holds is logged with the sessions that hold it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from scheduler_svc.application.health import Health
from scheduler_svc.domain.system import LaneState, LockHolder

INTERVAL = 1.0
SAY_AGAIN_AFTER = 30.0
"""Seconds after which the log tells again who holds a lock that is waited for."""

_log = structlog.get_logger(__name__)


class Stalls:
    """Lives on the event loop."""

    def __init__(
        self,
        lanes: Mapping[str, Callable[[], LaneState]],
        health: Health,
        after: float,
        lock_holders: Callable[[], Awaitable[Sequence[LockHolder]]],
    ) -> None:
        """`after`: seconds that the oldest item may wait."""
        self._lanes = lanes
        self._health = health
        self._after = after
        self._lock_holders = lock_holders
        self._stalled: list[str] = []
        self._said: tuple[Sequence[LockHolder], float] = ((), 0.0)

    def states(self) -> dict[str, LaneState]:
        """How each lane stands now, by name."""
        return {name: state() for name, state in self._lanes.items()}

    async def run_once(self) -> float:
        """Looks at each lane; returns the seconds until the next look."""
        states = self.states()
        stalled = [name for name, state in states.items() if state.stalled(self._after)]
        self._health.stall(bool(stalled))
        if stalled != self._stalled:
            self._stalled = stalled
            self._tell_stalled(states)
        if stalled or any(state.set_aside for state in states.values()):
            self._tell_holders(await self._lock_holders())
        return INTERVAL

    def _tell_stalled(self, states: Mapping[str, LaneState]) -> None:
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

    def _tell_holders(self, holders: Sequence[LockHolder]) -> None:
        known, told_at = self._said
        now = time.monotonic()
        if not holders or ({it.pid for it in holders} == {it.pid for it in known} and now - told_at < SAY_AGAIN_AFTER):
            return
        self._said = holders, now
        for holder in holders:
            told = {name: value for name, value in holder._asdict().items() if name != "waited_for"}
            _log.warning("a session of the database holds a lock that is waited for", action="lock", **told)
