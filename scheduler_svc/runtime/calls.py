"""Calls from the event loop into synchronous transactions, on a few threads that callers share fairly.

Threads, each with its connection, are what is scarce. A free thread takes a call of the caller that holds the fewest
threads, and among equals of the one that has waited longest. One caller's calls start in order. Callers do not simply
take turns: slow calls would then get a larger share of the time. Nor has each its own thread: there may be thousands.

The groups of a group committer are shared by the same rule. A group takes the next entry from the caller with the least
weight in it so far; a caller's entries stay in order. If several callers wait, a group ends once each has its share, so
a caller with one task waits for a small group only.

`SkipLocked` repeats work that meets another session's lock, with locked rows left for later. `Pacing` is for work that
can wait: after each batch it leaves threads, database and disk to others for as long as the batch took. Without that a
deletion of many rows takes whatever the machine has left, and on a busy one every other call waits behind it.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import threading
import time
from asyncio import sleep
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from threading import Lock
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar

from scheduler_svc.domain.errors import LockTimeout, WaitedTooLong
from scheduler_svc.domain.system import LaneState

if TYPE_CHECKING:
    from scheduler_svc.transactions import Database, Tx

Work = Callable[[], Any]
INTERNAL_CALLER = ""


class FairExecutor:
    """A bounded executor that is fair between callers, by their names. Any thread may use it.

    A caller gets at most all threads but one, so that a caller with few calls never waits for all of another's slow
    ones. `INTERNAL_CALLER` may have all.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._max_per_caller = max(1, threads - 1)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="call")
        self._lock = Lock()
        self._waiting: dict[str, dict[Future[Any], Work]] = {}  # none is empty; in the order of the last turns
        self._running: Counter[str] = Counter()
        self._serving = 0

    def submit(self, caller: str, work: Work) -> Future[Any]:
        """Queues `work` behind the caller's other calls. If the future is cancelled before the start, it never runs."""
        future: Future[Any] = Future()
        with self._lock:
            if self._serving < self._threads:
                self._executor.submit(self._serve)
                self._serving += 1
            self._waiting.setdefault(caller, {})[future] = work
        return future

    def refuse(self, caller: str, future: Future[Any], error: Exception) -> None:
        """Fails a call that still waits with `error`; one that runs or is over is left alone."""
        with self._lock:
            waiting = self._waiting.get(caller, {})
            if waiting.pop(future, None) is None:
                return
            if not waiting:
                del self._waiting[caller]
        if future.set_running_or_notify_cancel():
            future.set_exception(error)

    def close(self, *, wait: bool = True) -> None:
        """Takes no more calls; returns once all that were submitted are over, if it is to `wait`."""
        self._executor.shutdown(wait=wait)

    def _serve(self) -> None:
        """Runs one call after the other, until no waiting call may run."""
        while (turn := self._next()) is not None:
            caller, future, work = turn
            _run(future, work)
            with self._lock:
                self._running -= Counter((caller,))

    def _next(self) -> tuple[str, Future[Any], Work] | None:
        with self._lock:
            while (caller := self._next_caller()) is not None:
                calls = self._waiting.pop(caller)
                future, work = next(iter(calls.items()))
                del calls[future]
                if calls:
                    self._waiting[caller] = calls
                if future.set_running_or_notify_cancel():
                    self._running[caller] += 1
                    return caller, future, work
            self._serving -= 1
            return None

    def _next_caller(self) -> str | None:
        eligible = (
            caller
            for caller in self._waiting
            if caller == INTERNAL_CALLER or self._running[caller] < self._max_per_caller
        )
        return min(eligible, key=self._running.__getitem__, default=None)


def _run(future: Future[Any], work: Work) -> None:
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - it is for whoever waits for the outcome
        future.set_exception(error)
        del future  # the error's traceback holds this frame, and the future the error
    else:
        future.set_result(result)


class Weighed(Protocol):
    """An entry: its `weight`, and when it came (`since`, by `time.monotonic`)."""

    @property
    def weight(self) -> int: ...
    @property
    def since(self) -> float: ...


E = TypeVar("E", bound=Weighed)


class FairQueue(Generic[E]):
    """Any thread puts, one thread takes."""

    def __init__(self, *, max_weight: int, share: int) -> None:
        """A group weighs about `max_weight` at most, a caller's part of it about `share` while others wait."""
        self._max_weight = max_weight
        self._share = share
        self._changed = threading.Condition()
        self._entries: dict[str, deque[E]] = {}  # none is empty
        self._closed = False

    def put(self, caller: str, entry: E) -> None:
        with self._changed:
            self._entries.setdefault(caller, deque()).append(entry)
            self._changed.notify()

    def close(self) -> None:
        """Ends the queue: `take` returns what is left, and then no more."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def take(self, timeout: float | None) -> tuple[list[E], bool]:
        """Returns the next group (empty after `timeout` seconds), and whether another one may follow."""
        with self._changed:
            self._changed.wait_for(lambda: self._entries or self._closed, timeout)
            group = list(self._fill())
            return group, bool(self._entries) or not self._closed

    def take_older(self, than: float) -> list[E]:
        """Removes and returns the entries that came before that time."""
        with self._changed:
            return [entry for caller in list(self._entries) for entry in self._older(caller, than)]

    def _fill(self) -> Iterator[E]:
        """Callers that have an entry in this group come last in the next one."""
        turns = [(0, turn, caller) for turn, caller in enumerate(self._entries)]
        shared, held = len(turns) > 1, 0
        while turns and held < self._max_weight:
            weight, turn, caller = heapq.heappop(turns)
            if shared and weight >= self._share:
                return
            entry = self._pop(caller)
            held += entry.weight
            yield entry
            if weight == 0 and caller in self._entries:
                self._entries[caller] = self._entries.pop(caller)
            if caller in self._entries:
                heapq.heappush(turns, (weight + entry.weight, turn, caller))

    def _older(self, caller: str, since: float) -> Iterator[E]:
        while caller in self._entries and self._entries[caller][0].since < since:
            yield self._pop(caller)

    def _pop(self, caller: str) -> E:
        entry = self._entries[caller].popleft()
        if not self._entries[caller]:
            del self._entries[caller]
        return entry


P = ParamSpec("P")
R = TypeVar("R")
QUEUE_TIMEOUT = 10.0
CALLER: ContextVar[str] = ContextVar("caller of the replica", default=INTERNAL_CALLER)
"""The caller on whose behalf the running task calls; set when a call comes in."""


class Calls:
    """Runs application functions, each in one transaction."""

    def __init__(self, database: Database, threads: int) -> None:
        self._database = database
        self._executor = FairExecutor(threads)
        self.after: Callable[[str], None] | None = None
        """Is told the caller after each of a caller's calls, however it ended."""
        self._open: dict[object, float] = {}

    async def run(self, work: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs `work(tx, …)` and commits. Raises what it raises, StoreUnavailable and WaitedTooLong."""
        caller = CALLER.get()
        call = self._executor.submit(caller, lambda: self._database.run(lambda tx: work(tx, *args, **kwargs)))
        if caller == INTERNAL_CALLER:  # it has no time-out
            return await asyncio.wrap_future(call)
        loop = asyncio.get_running_loop()
        over = loop.call_later(QUEUE_TIMEOUT, self._executor.refuse, caller, call, WaitedTooLong(QUEUE_TIMEOUT))
        self._open[call] = time.monotonic()
        try:
            return await asyncio.wrap_future(call)
        finally:
            over.cancel()
            del self._open[call]
            if self.after:
                self.after(caller)

    def state(self) -> LaneState:
        """Returns the present state. A call that waits and runs too long is a stall, even if others pass it."""
        since = next(iter(self._open.values()), None)
        return LaneState(0.0 if since is None else time.monotonic() - since, math.inf, waiting=len(self._open))

    def close(self, *, wait: bool = True) -> None:
        self._executor.close(wait=wait)


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


async def timed(batch: Awaitable[R]) -> tuple[R, float]:
    """Returns what the batch returns, and for how many seconds to leave the database to others then."""
    begin = time.monotonic()
    result = await batch
    return result, time.monotonic() - begin


class Pacing:
    """For the batches of one call: each but the first waits for as long as the one before it took."""

    def __init__(self) -> None:
        self._pause = 0.0

    async def run(self, batch: Callable[[], Awaitable[R]]) -> R:
        """Returns what the batch returns."""
        await sleep(self._pause)
        result, self._pause = await timed(batch())
        return result
