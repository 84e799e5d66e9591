"""What measures are made of: a load, workers that drain it, and the check that nothing was lost or done twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from lab.benchmarks.child import Child
from lab.benchmarks.stack import Cpu, Stack

PATIENCE_S = 900.0

_COMPLETES_ALL = "benchmarks.workers.complete_all"
_COUNTS = """
    SELECT (SELECT count(*) FROM tasks WHERE status = 4), (SELECT count(*) FROM tasks),
        (SELECT count(*) FROM ready) + (SELECT count(*) FROM leases),
        (SELECT count(DISTINCT task_key) FROM contents), (SELECT count(*) FROM publish_pool)
"""


class WrongCounts(Exception):
    """The database does not hold what was submitted and completed: the figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Span:
    """So many tasks between two moments of the monotonic clock, and the CPU that was used meanwhile."""

    tasks: int
    begin: float
    end: float
    cpu: Cpu

    @property
    def per_second(self) -> float:
        return self.tasks / (self.end - self.begin)

    @property
    def cpu_note(self) -> str:
        scheduler, postgres = (seconds / self.tasks * 1e6 for seconds in (self.cpu.scheduler, self.cpu.postgres))
        return f"CPU a task: scheduler {scheduler:.0f} µs, PostgreSQL {postgres:.0f} µs"


async def load(stack: Stack, tasks: int, *, batch: int, in_flight: int, target: str = "") -> Span:
    """Submits tasks from a process of its own, to the stack or to another target."""
    async with loader(stack, tasks, batch=batch, in_flight=in_flight, target=target) as child:
        cpu = stack.cpu()
        child.go()
        async with asyncio.timeout(PATIENCE_S):
            result = await child.message()
        return Span(result["tasks"], result["begin"], result["end"], stack.cpu() - cpu)


def loader(stack: Stack, tasks: int, *, batch: int, in_flight: int, target: str = "") -> Child:
    options = {"target": target or stack.target, "tasks": tasks, "batch": batch, "in_flight": in_flight}
    return Child("benchmarks.callers.submit_all", stack.folder, "loader", accounts=stack.accounts, **options)


class Fleet:
    """No-op workers, and what their processes have told: how many tasks they have completed, how long these waited."""

    def __init__(self, processes: Sequence[Child]) -> None:
        self.processes = processes
        self._completed = [0] * len(processes)
        self._last = 0.0
        self._waits_ms: list[float] = []
        self._grown = asyncio.Event()

    def go(self) -> None:
        for process in self.processes:
            process.go()

    @property
    def completed(self) -> int:
        return sum(self._completed)

    def take_waits_ms(self) -> list[float]:
        """Returns those since the last call, the shortest first."""
        waits, self._waits_ms = sorted(self._waits_ms), []
        return waits

    async def reach(self, tasks: int) -> float:
        """Waits until so many are completed, and returns when the last of them was acknowledged."""
        async with asyncio.timeout(PATIENCE_S):
            while self.completed < tasks:
                self._grown.clear()
                await self._grown.wait()
        return self._last

    async def follow(self, index: int) -> None:
        while True:
            message = await self.processes[index].message()
            self._completed[index], self._last = message["completed"], max(self._last, message["at"])
            self._waits_ms += message["waits_ms"]
            self._grown.set()


@asynccontextmanager
async def noop_workers(
    stack: Stack, count: int, depth: int, *, targets: Sequence[str] = (), timed: bool = False, prefix: str = "noop"
) -> AsyncIterator[Fleet]:
    """Yields so many workers that are ready to connect, in a process for each target (none: each in one of its own).

    `prefix` is how their ids begin.

    Raises ExceptionGroup as soon as one of the processes ends.
    """
    targets = targets or [stack.target] * count
    options = {"count": count // len(targets), "depth": depth, "timed": timed}
    async with AsyncExitStack() as exits:
        processes = []
        for number, target in enumerate(targets):
            name = f"{prefix}-{number}"
            child = Child(_COMPLETES_ALL, stack.folder, name, worker_id=name, target=target, **options)
            processes.append(await exits.enter_async_context(child))
        fleet = Fleet(processes)
        group = await exits.enter_async_context(asyncio.TaskGroup())
        followers = [group.create_task(fleet.follow(index)) for index in range(len(targets))]
        yield fleet
        for follower in followers:
            follower.cancel()


async def connect(stack: Stack, workers: Fleet, count: int) -> None:
    """Lets the workers go, and returns once all of them have a session."""
    workers.go()
    async with asyncio.timeout(PATIENCE_S):
        while stack.query("SELECT count(*) FROM workers WHERE connected") < count:  # noqa: ASYNC110 - it rings no bell
            await asyncio.sleep(0.1)


async def drain(stack: Stack, workers: Fleet, tasks: int) -> Span:
    """Lets the workers go, and waits until the last of so many tasks is acknowledged."""
    cpu, begin = stack.cpu(), time.monotonic()
    workers.go()
    end = await workers.reach(tasks)
    return Span(tasks, begin, end, stack.cpu() - cpu)


def check(stack: Stack, tasks: int, drained: int | None = None) -> None:
    """Checks that every task is there, and the completed have one content and pool entry each. Raises WrongCounts.

    `drained`: at least so many are completed, and each of the others waits or is leased; None: all are completed.
    """
    ((completed, *counts),) = stack.rows(_COUNTS)
    minimum = tasks if drained is None else drained
    if completed < minimum:
        raise WrongCounts(
            f"{minimum} completed tasks were expected, there are {completed}; the logs are in {stack.folder}"
        )
    names = ("tasks", "tasks that wait or are leased", "contents", "pool entries")
    for name, expected, count in zip(names, (tasks, tasks - completed, completed, completed), counts, strict=True):
        if count != expected:
            raise WrongCounts(f"{expected} {name} were expected, there are {count}; the logs are in {stack.folder}")
