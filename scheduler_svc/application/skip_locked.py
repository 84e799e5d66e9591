"""Work that meets a lock which somebody else holds is done once more, with what is locked left for later."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from scheduler_svc.application.calls import Calls
from scheduler_svc.domain.errors import LockTimeout

R = TypeVar("R")

SKIP_INTERVAL = 10.0
"""Seconds after a lock was met in which the same work begins cautious: else it would wait for that lock each time."""


class SkipLocked:
    """For one kind of work that takes `cautious`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._until = 0.0

    async def run(self, work: Callable[..., R], *arguments: Any) -> R:
        """Runs `work(tx, …)`, cautious where it has to be. Raises what it raises, and StoreUnavailable."""
        if time.monotonic() >= self._until:
            try:
                return await self._calls.run(work, *arguments)
            except LockTimeout:
                self._until = time.monotonic() + SKIP_INTERVAL
        return await self._calls.run(work, *arguments, cautious=True)
