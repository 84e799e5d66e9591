"""What is between the change feed, which never waits for a watcher, and the watchers' streams. It is bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import islice

from scheduler_svc.application.calls import CALLER
from scheduler_svc.application.watch.changes import MAX_PAGE, Selection
from scheduler_svc.application.watch.sending import Overrun, SendQueue
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.change import TaskChange
from scheduler_svc.domain.errors import WatcherTooSlow

MAX_BUFFER = 2 * MAX_PAGE
"""Changes that wait for one watcher; a watcher further behind is cut off."""


class SelectedChange:
    """A change as the watchers of one selection get it: it is encoded once for all of them, if at all.

    `unread_by`: the watchers that still have to read it.
    """

    __slots__ = ("_encoded", "change", "unread_by")

    def __init__(self, change: TaskChange, unread_by: int = 1) -> None:
        self.change = change
        self.unread_by = unread_by
        self._encoded: bytes | None = None

    def encoded(self, encode: Callable[[TaskChange], bytes]) -> bytes:
        """What `encode` returns, which is the same for all watchers of the selection."""
        if self._encoded is None:
            self._encoded = encode(self.change)
        return self._encoded


class RecentChanges:
    """The changes of one selection that some of its watchers have not read. They read, each at its own pace."""

    def __init__(self, selection: Selection, accounts: Scope) -> None:
        """`accounts`: those of the selection's tasks."""
        self.selection = selection
        self.accounts = accounts
        self.watchers: set[Watcher] = set()
        self.count = 0
        """Of all changes so far."""
        self._changes: deque[SelectedChange] = deque()  # the first is unread by some; at most MAX_BUFFER
        self._readers: set[Watcher] = set()  # without those that have failed
        self._idle: dict[Watcher, None] = {}

    def join(self, watcher: Watcher) -> None:
        """Adds a watcher, which reads the changes after the present ones."""
        self.watchers.add(watcher)
        self._readers.add(watcher)

    def offer(self, change: TaskChange) -> None:
        """Appends a change; watchers that have read all others get it when it is their turn."""
        if len(self._changes) == MAX_BUFFER:
            self._cut_off()
        if not self._readers:
            return
        self._changes.append(SelectedChange(change, len(self._readers)))
        self.count += 1
        idle, self._idle = self._idle, {}
        for watcher in idle:
            watcher.queue()

    def _cut_off(self) -> None:
        """Fails the watchers that have read nothing of what is kept."""
        for watcher in [watcher for watcher in self._readers if watcher.behind == MAX_BUFFER]:
            watcher.fail(Overrun(WatcherTooSlow))

    def take(self, behind: int) -> SelectedChange:
        """The change for a watcher that is so many behind, which has read it then."""
        selected = self._changes[-behind]
        selected.unread_by -= 1
        self._drop_read()
        return selected

    def _drop_read(self) -> None:
        while self._changes and not self._changes[0].unread_by:
            self._changes.popleft()

    def wait(self, watcher: Watcher) -> None:
        """Queues a watcher's next turn once there is another change."""
        self._idle[watcher] = None

    def end(self, watcher: Watcher) -> None:
        """Keeps nothing for a watcher any more."""
        if watcher not in self._readers:
            return
        self._readers.discard(watcher)
        self._idle.pop(watcher, None)
        for selected in islice(reversed(self._changes), watcher.behind):
            selected.unread_by -= 1
        self._drop_read()

    def leave(self, watcher: Watcher) -> None:
        self.end(watcher)
        self.watchers.discard(watcher)


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
        return self._failure is not None

    @property
    def crowded(self) -> bool:
        """Whether more than half of what may wait does."""
        return self.behind > MAX_BUFFER // 2 and not self.failed

    @property
    def behind(self) -> int:
        """The changes that it has not read."""
        return self._recent.count - self._read

    def fail(self, failure: Exception) -> None:
        """Fails the watch. The first failure counts."""
        self._failure = self._failure or failure
        self._recent.end(self)
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
            if self.behind:
                self.queue()
            else:
                self._recent.wait(self)
            await self._turn
        if self._failure is not None:
            raise self._failure
        change = self._recent.take(self.behind)
        self._read += 1
        if self.behind == MAX_BUFFER // 2:
            self._on_relieved()
        return change
