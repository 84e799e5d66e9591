"""The one crossing from the event loop into synchronous work: a small bounded executor."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

from scheduler_svc.application.ports import Database, Tx
from scheduler_svc.domain.system import LaneState

P = ParamSpec("P")
R = TypeVar("R")


class Calls:
    """Runs application functions, each in one transaction."""

    def __init__(self, database: Database, threads: int) -> None:
        """At most `threads` run at once; further ones wait for their turn."""
        self._database = database
        self._open: dict[object, float] = {}
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="call")

    async def run(self, work: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs `work(tx, …)` and commits. Raises what it raises, and StoreUnavailable."""
        loop = asyncio.get_running_loop()
        call = object()
        self._open[call] = time.monotonic()
        try:
            return await loop.run_in_executor(
                self._executor, lambda: self._database.run(lambda tx: work(tx, *args, **kwargs))
            )
        finally:
            del self._open[call]

    def state(self) -> LaneState:
        """How they stand: a call that has waited and run for too long is no better for others that pass it."""
        since = next(iter(self._open.values()), None)
        return LaneState(0.0 if since is None else time.monotonic() - since, math.inf, waiting=len(self._open))

    def close(self) -> None:
        """Waits for what runs."""
        self._executor.shutdown(wait=True)
