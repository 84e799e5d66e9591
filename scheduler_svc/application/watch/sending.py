"""Whose change is sent next: callers share what one replica sends to watchers, however many watches one of them has.

A caller with one watch sends as it can, since each send waits for the one before. All others share a budget a second,
one send of each in turn. It rises as long as a round of sends takes little of the event loop, and is halved if it takes
more. If the event loop lags in spite of that, the largest caller's watches end. Lives on the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from scheduler_svc.application.calls import CALLER
from scheduler_svc.domain.errors import WatcherTooSlow, WatchOverrun

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
        """The changes that a watch of the running call's caller may read at once, of `most`."""
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
        """A round. The timer rests once nothing has waited for a whole one."""
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
