"""Calls from the event loop into synchronous transactions, on a few threads that callers share fairly.

`SkipLocked` repeats work that meets another session's lock, with locked rows left for later. `Pacing` is for work that
can wait: after each batch it leaves threads, database and disk to others for as long as the batch took. Without that a
deletion of many rows takes whatever the machine has left, and on a busy one every other call waits behind it.
"""

from __future__ import annotations

import asyncio
import math
import time
from asyncio import sleep
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from scheduler_svc.domain.errors import LockTimeout, WaitedTooLong
from scheduler_svc.domain.system import LaneState
from scheduler_svc.runtime.fairness import INTERNAL_CALLER, FairExecutor

if TYPE_CHECKING:
    from scheduler_svc.transactions import Database, Tx


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

    def state(self) -> LaneState:
        """Returns the present state. A call that waits and runs too long is a stall, even if others pass it."""
        since = next(iter(self._open.values()), None)
        return LaneState(0.0 if since is None else time.monotonic() - since, math.inf, waiting=len(self._open))

    def close(self) -> None:
        self._executor.close()


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
