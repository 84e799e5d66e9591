"""The one crossing from the event loop into synchronous work: a few threads, which callers share fairly."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Concatenate, ParamSpec, TypeVar

from scheduler_svc.application.fair_executor import INTERNAL_CALLER, FairExecutor
from scheduler_svc.application.ports import Database, Tx
from scheduler_svc.domain.errors import WaitedTooLong
from scheduler_svc.domain.system import LaneState

P = ParamSpec("P")
R = TypeVar("R")

QUEUE_TIMEOUT = 10.0
"""Seconds that a call waits for its turn."""

CALLER: ContextVar[str] = ContextVar("caller of the replica", default=INTERNAL_CALLER)
"""On whose behalf the running task calls; set where a call comes in."""


class Calls:
    """Runs application functions, each in one transaction."""

    def __init__(self, database: Database, threads: int) -> None:
        """At most `threads` run at once; further ones wait for their caller's turn."""
        self._database = database
        self._turns = FairExecutor(threads)
        self._open: dict[object, float] = {}

    async def run(self, work: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs `work(tx, …)` and commits. Raises what it raises, StoreUnavailable and WaitedTooLong."""
        who = CALLER.get()
        call = self._turns.submit(who, lambda: self._database.run(lambda tx: work(tx, *args, **kwargs)))
        if who == INTERNAL_CALLER:  # nobody could be told
            return await asyncio.wrap_future(call)
        loop = asyncio.get_running_loop()
        over = loop.call_later(QUEUE_TIMEOUT, self._turns.refuse, who, call, WaitedTooLong(QUEUE_TIMEOUT))
        self._open[call] = time.monotonic()
        try:
            return await asyncio.wrap_future(call)
        finally:
            over.cancel()
            del self._open[call]

    def state(self) -> LaneState:
        """How they stand: a call that has waited and run for too long is no better for others that pass it."""
        since = next(iter(self._open.values()), None)
        return LaneState(0.0 if since is None else time.monotonic() - since, math.inf, waiting=len(self._open))

    def close(self) -> None:
        """Waits for what runs."""
        self._turns.close()
