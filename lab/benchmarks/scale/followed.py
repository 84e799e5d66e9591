"""No-op workers whose tally is followed: how many tasks they have completed, and how long these had waited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from lab.benchmarks import scenario
from lab.benchmarks.child import Child
from lab.benchmarks.stack import Stack


class Followed:
    """What the workers' processes have told."""

    def __init__(self, processes: int) -> None:
        self._completed = [0] * processes
        self._last = 0.0
        self._waits_ms: list[float] = []
        self._grown = asyncio.Event()

    @property
    def completed(self) -> int:
        return sum(self._completed)

    def take_waits_ms(self) -> list[float]:
        """Those since the last call, the shortest first."""
        waits, self._waits_ms = sorted(self._waits_ms), []
        return waits

    async def reach(self, tasks: int) -> float:
        """Waits until so many are completed, and returns when the last of them was acknowledged."""
        async with asyncio.timeout(scenario.PATIENCE_S):
            while self.completed < tasks:
                self._grown.clear()
                await self._grown.wait()
        return self._last

    async def follow(self, index: int, process: Child) -> None:
        while True:
            message = await process.told()
            self._completed[index], self._last = message["completed"], max(self._last, message["at"])
            self._waits_ms += message["waits_ms"]
            self._grown.set()


@asynccontextmanager
async def followed(
    stack: Stack, count: int, depth: int, targets: Sequence[str] = (), *, timed: bool = False
) -> AsyncIterator[Followed]:
    """So many workers, in a process for each target (none: two for the stack), which connect now.

    Raises ExceptionGroup as soon as one of the processes ends.
    """
    targets = targets or [stack.target] * 2
    fleet = Followed(len(targets))
    options = {"count": count // len(targets), "depth": depth, "timed": int(timed)}
    async with AsyncExitStack() as exits:
        children = [
            await exits.enter_async_context(
                Child("noop_worker", stack.folder, name, worker_id=name, target=target, **options)
            )
            for name, target in ((f"noop-{number}", target) for number, target in enumerate(targets))
        ]
        group = await exits.enter_async_context(asyncio.TaskGroup())
        followers = [group.create_task(fleet.follow(index, process)) for index, process in enumerate(children)]
        for process in children:
            process.go()
        yield fleet
        for follower in followers:
            follower.cancel()
