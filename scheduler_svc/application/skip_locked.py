"""Repeats work that meets another session's lock, with locked rows skipped and left for later."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from scheduler_svc.application.calls import Calls
from scheduler_svc.domain.errors import LockTimeout

R = TypeVar("R")

SKIP_INTERVAL = 10.0
"""Seconds after a lock was met during which the same work skips locked rows at once, and does not wait for that lock
again.
"""


class SkipLocked:
    """For one kind of work, which takes `skip_locked`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._until = 0.0

    async def run(self, work: Callable[..., R], *arguments: Any) -> R:
        """Runs `work(tx, …)`, with `skip_locked` if needed. Raises what it raises, and StoreUnavailable."""
        if time.monotonic() >= self._until:
            try:
                return await self._calls.run(work, *arguments)
            except LockTimeout:
                self._until = time.monotonic() + SKIP_INTERVAL
        return await self._calls.run(work, *arguments, skip_locked=True)
