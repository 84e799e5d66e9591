"""Keeps alive what a replica can't work without: lanes, dispatcher, loops, listener.

An unexpected exception is logged, and the part starts again after a pause that doubles. A part that keeps failing is
given up: then the replica stops serving and ends, and whatever started it may start it anew.
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

FIRST_PAUSE = 0.1
MAX_PAUSE = 5.0
GIVE_UP_AFTER = 60.0
"""Seconds that a part which the replica needs may fail again and again."""
STEADY_AFTER = 30.0
"""Seconds without a failure after which the earlier ones count no more."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Failures:
    """One part's failures in a row."""

    first: float = 0.0
    last: float = -math.inf
    pause: float = FIRST_PAUSE

    def add(self, now: float) -> tuple[float, float]:
        """One more; returns for how long it has been failing, and the pause before the next start. Seconds."""
        if now - self.last > STEADY_AFTER + self.pause:
            self.first, self.pause = now, FIRST_PAUSE
        self.last = now
        pause, self.pause = self.pause, min(2 * self.pause, MAX_PAUSE)
        return now - self.first, pause


class Supervision:
    """Starts parts again. All parts of one kind may share it."""

    def __init__(
        self,
        gave_up: Callable[[str], None] = lambda _: None,
        *,
        give_up_after: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`gave_up` gets the name of a part that failed for `give_up_after` seconds, on the part's own thread."""
        self._gave_up = gave_up
        self._give_up_after = give_up_after
        self._clock = clock

    def run(self, name: str, part: Callable[[], None], stopping: threading.Event) -> None:
        """Runs `part` on this thread until it returns, is given up, or fails once it is `stopping`."""
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
        """The same on the event loop."""
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
        """The pause before it starts again; None: it is given up."""
        failing_for, pause = failures.add(self._clock())
        if failing_for < self._give_up_after:
            _log.error("a part failed; it starts again", action="supervise", part=name, pause=pause, exc_info=error)
            return pause
        _log.critical("a part fails again and again; it is given up", action="supervise", part=name, exc_info=error)
        self._gave_up(name)
        return None
