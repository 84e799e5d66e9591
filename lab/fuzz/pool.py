"""The processes that do the attacking: jobs are handed out as processes become free, and their tallies added up."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from types import TracebackType
from typing import Self

from lab.fuzz.tally import Tally

Job = Callable[[], Tally]
"""To be done in another process: a partial of a function of a module."""


class Pool:
    """So many processes; to be entered. They are spawned: the parent has gRPC's threads, and must not fork."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._executor = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._executor.shutdown(cancel_futures=True)

    def work(self, jobs: Iterable[Job], take: Callable[[Tally], None]) -> None:
        """Does all jobs, each of which is made when its turn comes; `take` gets what each came to."""
        under_way: set[Future[Tally]] = set()
        for job in jobs:
            under_way.add(self._executor.submit(job))
            while len(under_way) > self._processes:
                under_way = _collect(under_way, take)
        while under_way:
            under_way = _collect(under_way, take)


def _collect(under_way: set[Future[Tally]], take: Callable[[Tally], None]) -> set[Future[Tally]]:
    """Takes what has ended, at least one; what has not ended yet."""
    finished, unfinished = wait(under_way, return_when=FIRST_COMPLETED)
    for future in finished:
        take(future.result())
    return unfinished
