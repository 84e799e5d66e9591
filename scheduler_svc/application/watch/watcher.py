"""One watcher's bounded buffer, between the change feed, which never waits for it, and its stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from scheduler_svc.application.watch.changes import MAX_PAGE, Selection
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.change import TaskChange

MAX_BUFFER = 2 * MAX_PAGE
"""Changes that wait for one watcher; a watcher further behind is cut off."""


class Overrun(Exception):
    """The watcher's buffer was full."""


class Watcher:
    """After a failure the buffer is dropped, and `next` raises the failure."""

    def __init__(self, selection: Selection, accounts: Scope, on_relieved: Callable[[], None]) -> None:
        """`on_relieved` is called when the buffer is half empty again."""
        self.selection = selection
        self.accounts = accounts
        self._on_relieved = on_relieved
        self._waiting: deque[TaskChange] = deque()
        self._wake = asyncio.Event()
        self._failure: Exception | None = None

    @property
    def failed(self) -> bool:
        """Whether the watch has failed, though its stream may not know yet."""
        return self._failure is not None

    @property
    def crowded(self) -> bool:
        """Whether the buffer is more than half full."""
        return len(self._waiting) > MAX_BUFFER // 2

    def offer(self, change: TaskChange) -> None:
        """Appends a change, or fails the watch with Overrun."""
        if len(self._waiting) >= MAX_BUFFER:
            self.fail(Overrun())
        elif self._failure is None:
            self._waiting.append(change)
            self._wake.set()

    def fail(self, failure: Exception) -> None:
        """Fails the watch. The first failure counts."""
        self._failure = self._failure or failure
        self._waiting.clear()
        self._wake.set()

    async def next(self) -> TaskChange:
        """Returns the next change. Raises the watch's failure."""
        while not self._waiting:
            if self._failure is not None:
                raise self._failure
            self._wake.clear()
            await self._wake.wait()
        change = self._waiting.popleft()
        if len(self._waiting) == MAX_BUFFER // 2:
            self._on_relieved()
        return change
