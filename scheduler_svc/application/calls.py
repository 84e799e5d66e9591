"""Calls from the event loop into synchronous transactions, on a few threads that callers share fairly."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from scheduler_svc.application.fair_executor import INTERNAL_CALLER, FairExecutor
from scheduler_svc.domain.errors import WaitedTooLong
from scheduler_svc.domain.system import LaneState

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Database, Tx

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
