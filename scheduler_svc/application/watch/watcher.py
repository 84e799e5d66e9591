"""What waits for one watcher: a bounded buffer between the tail, which never waits for it, and its stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from scheduler_svc.application.watch.changes import MAX_PAGE, Selection
from scheduler_svc.domain.change import TaskChange

MAX_BUFFER = 2 * MAX_PAGE
"""Changes that wait for one watcher; one that falls behind further is cut off."""


class Overrun(Exception):
    """A watcher's buffer was full."""


class Watcher:
    """What waits for one watcher. A failure drops it, and is what the watcher gets next."""

    def __init__(self, selection: Selection, accounts: frozenset[int], relieved: Callable[[], None]) -> None:
        """`relieved` is called when the buffer is half empty again."""
        self.selection = selection
        self.accounts = accounts
        self._relieved = relieved
        self._waiting: deque[TaskChange] = deque()
        self._wake = asyncio.Event()
        self._failure: Exception | None = None

    @property
    def failed(self) -> bool:
        """Whether the watch has ended here, though the watcher may not know yet."""
        return self._failure is not None

    @property
    def crowded(self) -> bool:
        """Whether more than half of the buffer is full."""
        return len(self._waiting) > MAX_BUFFER // 2

    def offer(self, change: TaskChange) -> None:
        """Lets a change wait for the watcher."""
        if len(self._waiting) >= MAX_BUFFER:
            self.fail(Overrun())
        elif self._failure is None:
            self._waiting.append(change)
            self._wake.set()

    def fail(self, failure: Exception) -> None:
        """Ends the watch. The first failure counts."""
        self._failure = self._failure or failure
        self._waiting.clear()
        self._wake.set()

    async def next(self) -> TaskChange:
        """The next change. Raises what the watch failed with."""
        while not self._waiting:
            if self._failure is not None:
                raise self._failure
            self._wake.clear()
            await self._wake.wait()
        change = self._waiting.popleft()
        if len(self._waiting) == MAX_BUFFER // 2:
            self._relieved()
        return change
