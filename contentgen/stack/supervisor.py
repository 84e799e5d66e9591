"""Restarts a service that has ended by itself.

Layer: cli, above `processes`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from contentgen.stack.processes import Service

FIRST_PAUSE = 1.0
"""Seconds before a service is started again; doubled each time that it ends soon after its start."""
MAX_PAUSE = 30.0
_SOON = 60.0


class Supervisor:
    """Looks after one service that has been started."""

    def __init__(self, service: Service, say: Callable[[str], None]) -> None:
        """`say` is called with a line about each end."""
        self._service = service
        self._say = say
        self._pause = FIRST_PAUSE
        self._started_at = time.monotonic()
        self._due: float | None = None

    def run_once(self) -> None:
        """Starts the service again if it has ended and its pause is over."""
        if self._service.running:
            return
        now = time.monotonic()
        if self._due is None:
            self._due = now + self._next_pause(now)
        if now >= self._due:
            self._service.start()
            self._started_at, self._due = now, None

    def _next_pause(self, now: float) -> float:
        pause = FIRST_PAUSE if now - self._started_at > _SOON else self._pause
        self._pause = min(2 * pause, MAX_PAUSE)
        name, status, log = self._service.name, self._service.status, self._service.former_log
        self._say(
            f"the {name} has ended with status {status}; it is started again in {pause:g} s, its log moves to {log}"
        )
        return pause
