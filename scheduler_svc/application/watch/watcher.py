"""What is between the change feed, which never waits for a watcher, and the watchers' streams. It is bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from scheduler_svc.application.calls import CALLER
from scheduler_svc.application.watch.changes import MAX_PAGE, Selection
from scheduler_svc.application.watch.sending import Overrun, SendQueue
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.change import TaskChange
from scheduler_svc.domain.errors import WatcherTooSlow

MAX_BUFFER = 2 * MAX_PAGE
"""Changes that wait for one watcher; a watcher further behind is cut off."""


class SelectedChange:
    """A change as the watchers of one selection get it: it is encoded once for all of them, if at all."""

    __slots__ = ("_encoded", "change")

    def __init__(self, change: TaskChange) -> None:
        self.change = change
        self._encoded: bytes | None = None

    def encoded(self, encode: Callable[[TaskChange], bytes]) -> bytes:
        """What `encode` returns, which is the same for all watchers of the selection."""
        if self._encoded is None:
            self._encoded = encode(self.change)
        return self._encoded


class RecentChanges:
    """The last changes of one selection. Its watchers read them, each at its own pace."""

    def __init__(self, selection: Selection, accounts: Scope) -> None:
        """`accounts`: those of the selection's tasks."""
        self.selection = selection
        self.accounts = accounts
        self.watchers: set[Watcher] = set()
        self.count = 0
        """Of all changes so far; the last MAX_BUFFER are kept."""
        self._changes: deque[SelectedChange] = deque(maxlen=MAX_BUFFER)
        self._idle: dict[Watcher, None] = {}

    def offer(self, change: TaskChange) -> None:
        """Appends a change; watchers that have read all others get it when it is their turn."""
        self._changes.append(SelectedChange(change))
        self.count += 1
        idle, self._idle = self._idle, {}
        for watcher in idle:
            watcher.queue()

    def take(self, number: int) -> SelectedChange:
        """The change of which `count` was this number. Raises Overrun if it is not kept any more."""
        behind = self.count - number
        if behind > len(self._changes):
            raise Overrun(WatcherTooSlow)
        return self._changes[-behind]

    def wait(self, watcher: Watcher) -> None:
        """Queues a watcher's next turn once there is another change."""
        self._idle[watcher] = None

    def leave(self, watcher: Watcher) -> None:
        self.watchers.discard(watcher)
        self._idle.pop(watcher, None)


class Watcher:
    """After a failure `next` raises it."""

    def __init__(self, recent: RecentChanges, sends: SendQueue, on_relieved: Callable[[], None]) -> None:
        """`on_relieved` is called when half of what may wait was read."""
        self.caller = CALLER.get()
        self._recent = recent
        self._sends = sends
        self._on_relieved = on_relieved
        self._read = recent.count
        self._turn: asyncio.Future[None] | None = None
        self._failure: Exception | None = None

    @property
    def failed(self) -> bool:
        """Whether the watch has failed, though its stream may not know yet."""
        return self._failure is not None or self._behind > MAX_BUFFER

    @property
    def crowded(self) -> bool:
        """Whether more than half of what may wait does."""
        return self._behind > MAX_BUFFER // 2 and not self.failed

    @property
    def _behind(self) -> int:
        return self._recent.count - self._read

    def fail(self, failure: Exception) -> None:
        """Fails the watch. The first failure counts."""
        self._failure = self._failure or failure
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def queue(self) -> None:
        """Queues for a turn to send."""
        if self._turn is not None and not self._turn.done():
            self._sends.put(self.caller, self._turn)

    async def next(self) -> SelectedChange:
        """Returns the next change, when it is this watcher's turn to send. Raises the watch's failure, or Overrun."""
        if self._failure is None:
            self._turn = asyncio.get_running_loop().create_future()
            if self._behind:
                self.queue()
            else:
                self._recent.wait(self)
            await self._turn
        if self._failure is not None:
            raise self._failure
        change = self._recent.take(self._read)
        self._read += 1
        if self._behind == MAX_BUFFER // 2:
            self._on_relieved()
        return change
