"""No-op workers whose tally is followed: how many tasks they have completed, and how long these had waited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from benchmarks import scenario
from benchmarks.child import Child


class Followed:
    """What the workers have told."""

    def __init__(self, count: int) -> None:
        self._completed = [0] * count
        self._waits_ms: list[float] = []
        self._grown = asyncio.Event()

    @property
    def completed(self) -> int:
        return sum(self._completed)

    def take_waits_ms(self) -> list[float]:
        """Those since the last call, the shortest first."""
        taken, self._waits_ms = sorted(self._waits_ms), []
        return taken

    async def reach(self, tasks: int) -> None:
        """Waits until so many are completed."""
        async with asyncio.timeout(scenario.PATIENCE_S):
            while self.completed < tasks:
                self._grown.clear()
                await self._grown.wait()

    async def follow(self, index: int, worker: Child) -> None:
        while True:
            told = await worker.told()
            self._completed[index] = told["completed"]
            self._waits_ms += told["waits_ms"]
            self._grown.set()


@asynccontextmanager
async def followed(workers: Sequence[Child]) -> AsyncIterator[Followed]:
    """Lets them go. Raises ExceptionGroup as soon as one of them ends."""
    told = Followed(len(workers))
    async with asyncio.TaskGroup() as group:
        followers = [group.create_task(told.follow(index, worker)) for index, worker in enumerate(workers)]
        for worker in workers:
            worker.go()
        yield told
        for follower in followers:
            follower.cancel()
