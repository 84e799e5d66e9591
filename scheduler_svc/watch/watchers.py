"""What is between the change feed, which never waits for a watcher, and the watchers' streams. It is bounded.

Callers share what one replica sends to watchers, however many watches one of them has. A caller with one watch sends as
it can, since each send waits for the one before. All others share a budget a second, one send of each in turn. It rises
as long as a round of sends takes little of the event loop, and is halved if it takes more. If the event loop lags in
spite of that, the largest caller's watches end. Lives on the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice

from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.change import TaskChange
from scheduler_svc.domain.errors import WatcherTooSlow, WatchOverrun
from scheduler_svc.runtime.calls import CALLER
from scheduler_svc.watch.work import MAX_PAGE, Selection

MIN_SENDS, FIRST_SENDS, MAX_SENDS = 500, 2_000, 20_000
"""Sends a second of all callers with several watches together: at least, at first, at most."""
MORE_SENDS = 100
"""Sends a second by which that rises from a round to the next."""
MAX_ROUND = 0.0005
"""Seconds that a round may take of the event loop, which every call shares, before the next ones are smaller."""
MAX_AHEAD = 10_000
"""Changes of one caller's watches that are read from the database before it is their turn, as long as each watch reads
MIN_AHEAD of them."""
MIN_AHEAD = 20
INTERVAL = 0.005
"""Seconds between two rounds of sends."""
MAX_LATENESS = 0.05
"""Seconds by which the event loop may be late for a round."""
LATENESS_TIMEOUT = 1.0
"""Seconds for which it may be later than that, before watches end."""
MIN_OVERRUN = 100
"""Sends that wait, below which a caller's watches are not what makes the event loop late."""


class Overrun(Exception):
    """The watch has too many changes that wait: `kind` is the error to raise, with the resume token."""

    def __init__(self, kind: type[WatcherTooSlow | WatchOverrun]) -> None:
        super().__init__(kind)
        self.kind = kind


class SendQueue:
    """The sends that wait, by caller."""

    def __init__(self) -> None:
        self.on_overrun: Callable[[str], None] = lambda _: None
        """Is told of a caller whose watches have to end."""
        self._watches: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # none is empty; in the order of the last turns
        self.budget: float = FIRST_SENDS
        """Sends a second of all callers with several watches."""
        self._left = 0.0
        self._took = 0.0
        self._due = 0.0
        self._late_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Counts a watch of the running call's caller for the length of the block."""
        caller = CALLER.get()
        self._watches[caller] += 1
        try:
            yield
        finally:
            self._watches[caller] -= 1
            if not self._watches[caller]:
                del self._watches[caller]

    def ahead(self, most: int) -> int:
        """Returns the changes that a watch of the running call's caller may read at once, of `most`."""
        return min(most, max(MIN_AHEAD, MAX_AHEAD // self._watches[CALLER.get()]))

    async def turn(self) -> None:
        """Returns when it is the running call's turn to send. Raises Overrun."""
        turn = asyncio.get_running_loop().create_future()
        self.put(CALLER.get(), turn)
        await turn

    def put(self, caller: str, turn: asyncio.Future[None]) -> None:
        """Sets the result of `turn` when the caller may send, or the exception Overrun."""
        if self._watches[caller] < 2:
            turn.set_result(None)
            return
        self._waiting.setdefault(caller, deque()).append(turn)
        if self._timer is None:
            self._grant()
            self._sleep()
        self._serve()

    def _grant(self) -> None:
        """Sets the budget of a round by the time that the one before took."""
        if self._took > MAX_ROUND:
            self.budget /= 2
        elif self._left < 1:
            self.budget += MORE_SENDS
        self.budget = min(MAX_SENDS, max(MIN_SENDS, self.budget))
        self._left = self._left % 1 + self.budget * INTERVAL

    def _sleep(self) -> None:
        self._due = time.monotonic() + INTERVAL
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._run)

    def _run(self) -> None:
        """Runs a round. The timer rests once nothing has waited for a whole one."""
        self._timer = None
        self._check_lateness(time.monotonic())
        if self._waiting:
            self._grant()
            self._serve()
            asyncio.get_running_loop().call_soon(self._measure, time.monotonic())  # after the calls that it woke
            self._sleep()

    def _measure(self, begin: float) -> None:
        self._took = time.monotonic() - begin

    def _serve(self) -> None:
        while self._left >= 1 and self._waiting:
            caller, turns = next(iter(self._waiting.items()))
            del self._waiting[caller]
            turn = turns.popleft()
            if turns:
                self._waiting[caller] = turns
            if not turn.done():  # else its call has ended
                turn.set_result(None)
                self._left -= 1

    def _check_lateness(self, now: float) -> None:
        if now - self._due <= MAX_LATENESS:
            self._late_since = None
            return
        self._late_since = self._late_since or now
        if now - self._late_since >= LATENESS_TIMEOUT and self._waiting:
            largest = max(self._waiting, key=lambda caller: len(self._waiting[caller]))
            if len(self._waiting[largest]) >= MIN_OVERRUN:
                self._late_since = None
                self._end(largest)

    def _end(self, caller: str) -> None:
        for turn in self._waiting.pop(caller):
            if not turn.done():
                turn.set_exception(Overrun(WatchOverrun))
        self.on_overrun(caller)


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
        """Returns what `encode` returns, which is the same for all watchers of the selection."""
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
            for watcher in [watcher for watcher in self._readers if watcher.behind == MAX_BUFFER]:
                watcher.fail(Overrun(WatcherTooSlow))  # it has read nothing of what is kept
        if not self._readers:
            return
        self._changes.append(SelectedChange(change, len(self._readers)))
        self.count += 1
        idle, self._idle = self._idle, {}
        for watcher in idle:
            watcher.queue()

    def take(self, behind: int) -> SelectedChange:
        """Returns the change for a watcher that is so many behind, which has read it then."""
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
    """One watch of a selection. After a failure `next` raises it."""

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
        return self._recent.count - self._read

    def fail(self, failure: Exception) -> None:
        """Fails the watch. The first failure counts."""
        self._failure = self._failure or failure
        self._recent.end(self)
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def queue(self) -> None:
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
