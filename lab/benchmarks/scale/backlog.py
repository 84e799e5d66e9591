"""Does a drain slow down as more waits behind it? Short and long backlogs in turn."""

from __future__ import annotations

import asyncio
import statistics
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

from lab.benchmarks import scenario
from lab.benchmarks.measures import MAX_PENDING_TASKS
from lab.benchmarks.scale.case import Case, Plot, Size, Sizes
from lab.benchmarks.scale.drains import drain, load, waiting_workers, warm
from lab.benchmarks.scale.meter import Meter
from lab.benchmarks.scale.rows import Row
from lab.benchmarks.scale.sampled import MIB
from lab.benchmarks.stack import Stack

SUBMITS = "backlog: submits"
DRAINS = "backlog: drains"
RATIOS = "backlog: long ones against short ones"
_SHORT = 100_000
_WORKERS = 2


async def measure(folder: Path, sizes: Sizes) -> AsyncIterator[Row]:
    """Yields a row for each step of a load, then for each part of a drain."""
    rates: dict[int, list[float]] = defaultdict(list)
    for backlog in sizes.all("sizes"):
        async with warm(folder, sizes, max_queue_size=str(2 * MAX_PENDING_TASKS)) as (stack, meter):
            async for row in _loaded(stack, meter, backlog, sizes.one("step")):
                yield row
            async for row in _drained(stack, meter, backlog, sizes):
                rates[backlog].append(float(row.values["tasks/s"]))
                yield row
    for row in _ratios(rates):
        yield row


async def _loaded(stack: Stack, meter: Meter, backlog: int, step: int) -> AsyncIterator[Row]:
    for waiting in range(0, backlog, step):
        values = await load(stack, meter, min(step, backlog - waiting))
        size = stack.query("SELECT pg_database_size(current_database())")
        yield Row(SUBMITS, {"waiting before": waiting, **values, "database, MiB": round(size / MIB)})


async def _drained(stack: Stack, meter: Meter, backlog: int, sizes: Sizes) -> AsyncIterator[Row]:
    """Parts of it, one after the other."""
    async with waiting_workers(stack, _WORKERS) as fleet:
        for _ in range(sizes.one("parts")):
            if part := min(sizes.one("part"), backlog - fleet.completed):
                pages_before, waiting = _pages_read(stack), backlog - fleet.completed
                values = await drain(stack, meter, fleet, part)
                await asyncio.sleep(sizes.one("settle"))
                pages = {"pages read a task": round((_pages_read(stack) - pages_before) / part, 2)}
                yield Row(DRAINS, {"waiting": waiting, "drained": part, **values, **pages})
        completed = fleet.completed
    await asyncio.to_thread(scenario.check, stack, backlog, completed)


def _pages_read(stack: Stack) -> int:
    return int(stack.query("SELECT blks_read FROM pg_stat_database WHERE datname = current_database()"))


def _ratios(rates: Mapping[int, Sequence[float]]) -> Iterator[Row]:
    """Of each long backlog; the short ones are before and after it."""
    mean = {backlog: statistics.mean(values) for backlog, values in rates.items()}
    for backlog in (size for size in mean if size > _SHORT):
        yield Row(
            RATIOS,
            {
                "backlog": backlog,
                **{f"times {short:,}": round(mean[backlog] / mean[short], 2) for short in mean if short <= _SHORT},
            },
        )


CASE = Case(
    "backlog",
    "Drains of short and long backlogs in turn, and submits as the backlog grows.",
    "about half an hour, and 20 GB of disk",
    measure,
    {
        "sizes": Size(
            (20_000, 100_000, 1_000_000, 20_000, 100_000, 10_000_000, 100_000, 20_000),
            (1_200,),
            "backlogs, by comma",
        ),
        "step": Size((1_000_000,), (500,), "tasks of a row of submits"),
        "part": Size((600_000,), (300,), "tasks of a row of drains"),
        "settle": Size((11,), (1,), "seconds after a drain until PostgreSQL has counted the pages that it read"),
        "parts": Size((1,), (2,), "rows of drains: how many parts of a backlog are drained"),
    },
    plots={
        "scale-backlog.svg": Plot(
            DRAINS,
            "waiting",
            (("tasks/s",), ("PostgreSQL, µs a task", "scheduler, µs a task")),
            "a drain as more waits behind it",
            log=True,
        )
    },
)
