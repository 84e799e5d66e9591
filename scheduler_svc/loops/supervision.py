"""Restarts the loops that a replica can't work without.

An unexpected exception is logged, and the loop starts again after a pause that doubles. A loop that keeps failing is
given up: the replica then stops serving and ends, and its own supervisor may start it again.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

MIN_PAUSE = 0.1
MAX_PAUSE = 5.0
GIVE_UP_TIMEOUT = 60.0
"""Seconds of repeated failures after which a part that the replica needs is given up."""
STEADY_INTERVAL = 30.0
"""Seconds without a failure after which the earlier ones don't count."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Failures:
    first: float = 0.0
    last: float = -math.inf
    pause: float = MIN_PAUSE

    def add(self, now: float) -> tuple[float, float]:
        """Adds one; returns how long the part has been failing, and the pause before the next start, in seconds."""
        if now - self.last > STEADY_INTERVAL + self.pause:
            self.first, self.pause = now, MIN_PAUSE
        self.last = now
        pause, self.pause = self.pause, min(2 * self.pause, MAX_PAUSE)
        return now - self.first, pause


class Supervision:
    """Restarts parts; several may share one."""

    def __init__(
        self,
        on_give_up: Callable[[str], None] = lambda _: None,
        *,
        give_up_after: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_give_up` gets the name of a part that failed for `give_up_after` seconds, on the part's own thread."""
        self._on_give_up = on_give_up
        self._give_up_after = give_up_after
        self._clock = clock

    def run(self, name: str, part: Callable[[], None], stopping: threading.Event) -> None:
        """Runs `part` on this thread until it returns, is given up, or fails after `stopping` is set."""
        failures = _Failures()
        while True:
            try:
                return part()
            except Exception as error:  # noqa: BLE001 - whatever it is, the part is needed
                pause = self._failed(name, failures, error)
            if pause is None or stopping.is_set():
                return None
            stopping.wait(pause)

    async def run_async(self, name: str, part: Callable[[], Awaitable[None]], stopping: asyncio.Event) -> None:
        """Like `run`, on the event loop."""
        failures = _Failures()
        while True:
            try:
                return await part()
            except Exception as error:  # noqa: BLE001 - whatever it is, the part is needed
                pause = self._failed(name, failures, error)
            if pause is None or stopping.is_set():
                return None
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stopping.wait()

    def _failed(self, name: str, failures: _Failures, error: Exception) -> float | None:
        """Returns the pause before the next start, or None if the part is given up."""
        failing_for, pause = failures.add(self._clock())
        if failing_for < self._give_up_after:
            _log.error("a part failed; it starts again", action="supervise", part=name, pause=pause, exc_info=error)
            return pause
        _log.critical("a part fails again and again; it is given up", action="supervise", part=name, exc_info=error)
        self._on_give_up(name)
        return None
