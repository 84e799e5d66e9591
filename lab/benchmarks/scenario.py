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
"""How long any one load or drain may take."""

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
        """Microseconds of CPU a task."""
        scheduler, postgres = (seconds / self.tasks * 1e6 for seconds in (self.cpu.scheduler, self.cpu.postgres))
        return f"CPU a task: scheduler {scheduler:.0f} µs, PostgreSQL {postgres:.0f} µs"


async def load(stack: Stack, tasks: int, *, batch: int, in_flight: int, target: str = "") -> Span:
    """Submits tasks from a process of its own, to the stack or to another target."""
    async with loader(stack, tasks, batch=batch, in_flight=in_flight, target=target) as child:
        cpu = stack.cpu()
        child.go()
        async with asyncio.timeout(PATIENCE_S):
            result = await child.told()
        return Span(result["tasks"], result["begin"], result["end"], stack.cpu() - cpu)


@asynccontextmanager
async def loader(stack: Stack, tasks: int, *, batch: int, in_flight: int, target: str = "") -> AsyncIterator[Child]:
    """A loader that is ready to go."""
    accounts = ",".join(map(str, stack.accounts))
    options = {
        "target": target or stack.target,
        "tasks": tasks,
        "batch": batch,
        "in_flight": in_flight,
        "accounts": accounts,
    }
    async with Child("loader", stack.folder, "loader", **options) as child:
        yield child


@asynccontextmanager
async def noop_workers(stack: Stack, count: int, depth: int, prefix: str = "noop") -> AsyncIterator[list[Child]]:
    """Workers that are ready to connect, each in a process of its own.

    An id that was used before is free again only after the lease time.
    """
    async with AsyncExitStack() as exits:
        yield [
            await exits.enter_async_context(
                Child("noop_worker", stack.folder, name, target=stack.target, worker_id=name, depth=depth)
            )
            for name in (f"{prefix}-{number}" for number in range(count))
        ]


async def drain(stack: Stack, workers: Sequence[Child], tasks: int) -> Span:
    """Lets the workers go, and waits until the last of so many tasks is acknowledged."""
    cpu, begin = stack.cpu(), time.monotonic()
    for worker in workers:
        worker.go()
    end = await completed(workers, tasks)
    return Span(tasks, begin, end, stack.cpu() - cpu)


async def completed(workers: Sequence[Child], tasks: int) -> float:
    """Returns when the last of so many tasks was acknowledged, all workers together."""
    counts = [0] * len(workers)
    done = asyncio.Event()
    last = 0.0

    async def follow(index: int, worker: Child) -> None:
        nonlocal last
        while not done.is_set():
            message = await worker.told()
            counts[index], last = message["completed"], max(last, message["at"])
            if sum(counts) >= tasks:
                done.set()

    followers = [asyncio.create_task(follow(i, worker)) for i, worker in enumerate(workers)]
    finished = asyncio.create_task(done.wait())
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.wait([*followers, finished], return_when=asyncio.FIRST_COMPLETED)
    for task in (*followers, finished):
        task.cancel()
    for outcome in await asyncio.gather(*followers, finished, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome
    return last


def check(stack: Stack, tasks: int, drained: int | None = None) -> None:
    """Every task is there, and the completed ones have one content and one pool entry each. Raises WrongCounts.

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
