"""The one crossing from the event loop into synchronous work: a small bounded executor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

from scheduler_svc.application.ports import Database, Tx

P = ParamSpec("P")
R = TypeVar("R")


class Calls:
    """Runs application functions, each in one transaction."""

    def __init__(self, database: Database, threads: int) -> None:
        """At most `threads` run at once; further ones wait for their turn."""
        self._database = database
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="call")

    async def run(self, work: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs `work(tx, …)` and commits. Raises what it raises, and StoreUnavailable."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._executor, lambda: self._database.run(lambda tx: work(tx, *args, **kwargs))
        )

    def close(self) -> None:
        """Waits for what runs."""
        self._executor.shutdown(wait=True)
