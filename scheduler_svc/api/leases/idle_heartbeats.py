"""Heartbeats of idle workers, which change nothing: they wait a moment for others, and share a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable

from scheduler_svc.domain.worker import Heartbeat

GATHER_TIME = 0.1
"""Seconds that such a heartbeat waits at most; nothing depends on its answer."""


def changes_nothing(heartbeat: Heartbeat, before: Heartbeat | None) -> bool:
    """Whether it holds no lease, and says what the one before it said."""
    return before is not None and not heartbeat.held and _state(heartbeat) == _state(before)


def _state(heartbeat: Heartbeat) -> tuple[object, ...]:
    return (
        heartbeat.free_slots,
        heartbeat.last_assignment,
        heartbeat.last_poll,
        heartbeat.unhealthy,
        heartbeat.last_error,
    )


class IdleHeartbeats:
    """Lives on the event loop. A stream has one of them waiting at most."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, Callable[[], None]] = {}

    def put(self, stream: Hashable, submit: Callable[[], None]) -> None:
        """Calls `submit` within `GATHER_TIME`."""
        self.release(stream)
        if not self._waiting:
            asyncio.get_running_loop().call_later(GATHER_TIME, self._release_all)
        self._waiting[stream] = submit

    def release(self, stream: Hashable) -> None:
        """Submits the stream's heartbeat now, if one waits: what comes next of the stream must come after it."""
        if submit := self._waiting.pop(stream, None):
            submit()

    def drop(self, stream: Hashable) -> None:
        """Forgets the heartbeat of a stream that has ended."""
        self._waiting.pop(stream, None)

    def _release_all(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for submit in waiting.values():
            submit()
