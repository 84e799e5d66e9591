"""The database's clock as a replica follows it: for what must not depend on whose machine wrote it."""

from __future__ import annotations

import time
from collections.abc import Callable

from scheduler_svc.domain.clock import offset


class DatabaseClock:
    """The database's time, as a replica last read it. Between two reads it follows a clock that does not jump."""

    def __init__(self, own: Callable[[], float] = time.time) -> None:
        """`own` is this machine's clock, in Unix time."""
        self._own = own
        self._ahead = 0.0
        """The database's time less the monotonic clock's."""
        self.offset: float | None = None
        """By how much our own clock is ahead, as `offset` has it; None until the first read."""

    def read(self, database: Callable[[], float]) -> None:
        """`database` asks the database for its time."""
        before, began = self._own(), time.monotonic()
        time_there = database()
        self.offset = offset(time_there, before, self._own())
        self._ahead = time_there - (began + time.monotonic()) / 2

    def now(self) -> float:
        """Unix time, by the database's clock; by our own before the first read."""
        return self._own() if self.offset is None else time.monotonic() + self._ahead
