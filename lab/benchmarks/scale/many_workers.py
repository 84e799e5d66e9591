"""Does a drain cost more with a thousand workers than with two?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from lab.benchmarks import scenario
from lab.benchmarks.scale.case import Case, Plot, Size, Sizes
from lab.benchmarks.scale.drains import drain, load, waiting_workers, warm
from lab.benchmarks.scale.rows import Row

DRAINS = "workers: drains"


async def measure(folder: Path, sizes: Sizes) -> AsyncIterator[Row]:
    """Yields a row for each number of workers."""
    tasks = sizes.one("tasks")
    for count in sizes.all("counts"):
        async with warm(folder, sizes) as (stack, meter):
            await load(stack, meter, tasks)
            async with waiting_workers(stack, count) as fleet:
                yield Row(DRAINS, {"workers": count, "drained": tasks, **await drain(stack, meter, fleet, tasks)})
            await asyncio.to_thread(scenario.check, stack, tasks)


CASE = Case(
    "workers",
    "The same backlog, drained by more and more connected workers, which hold 4,000 leases together.",
    "3 minutes",
    measure,
    {
        "counts": Size((2, 100, 1_000, 100, 2), (6,), "connected workers, by comma; even numbers"),
        "tasks": Size((100_000,), (500,), "tasks that they drain"),
    },
    plots={
        "scale-workers.svg": Plot(
            DRAINS,
            "workers",
            (("tasks/s",), ("PostgreSQL, µs a task", "scheduler, µs a task"), ("ms a claim",)),
            "a drain by more workers",
            log=True,
        )
    },
)
