"""Drains as more waits behind them, by more workers, and by more schedulers on one PostgreSQL."""

from __future__ import annotations

import asyncio
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path

from lab.benchmarks import scenario
from lab.benchmarks.measures import IN_FLIGHT, MAX_PENDING_TASKS
from lab.benchmarks.scale.case import Case, Keep, Plot, Row, Size, Sizes, Value
from lab.benchmarks.scale.drains import BATCH, Meter, drain, load, waiting_workers, warm
from lab.benchmarks.scale.steady import MIB
from lab.benchmarks.scenario import Fleet
from lab.benchmarks.stack import START_LIMIT, STOP_LIMIT, Stack, environment, scheduler
from tests.harness.processes import free_port

_DRAINS = "backlog: drains"
_SHORT = 100_000
_PAGES_READ = "SELECT blks_read FROM pg_stat_database WHERE datname = current_database()"
_BY_WORKERS = "workers: drains"
_SCHEDULERS_WORKERS = 4


async def measure_backlog(folder: Path, sizes: Sizes, keep: Keep) -> None:
    """Keeps a row for each step of a load, then for each part of a drain."""
    rates: dict[int, list[float]] = defaultdict(list)
    for backlog in sizes.all("sizes"):
        async with warm(folder, sizes, max_queue_size=str(2 * MAX_PENDING_TASKS)) as (stack, meter):
            for waiting in range(0, backlog, sizes.one("step")):
                values = await load(stack, meter, min(sizes.one("step"), backlog - waiting))
                size = stack.query("SELECT pg_database_size(current_database())")
                keep(Row("backlog: submits", {"waiting before": waiting, **values, "database, MiB": round(size / MIB)}))
            async with waiting_workers(stack, 2) as fleet:
                for _ in range(sizes.one("parts")):
                    if part := min(sizes.one("part"), backlog - fleet.completed):
                        waiting, settle_s = backlog - fleet.completed, sizes.one("settle")
                        values = await _drained(stack, meter, fleet, part, waiting=waiting, settle_s=settle_s)
                        rates[backlog].append(float(values["tasks/s"]))
                        keep(Row(_DRAINS, values))
                completed = fleet.completed
            await asyncio.to_thread(scenario.check, stack, backlog, completed)
    mean = {backlog: statistics.mean(values) for backlog, values in rates.items()}
    for backlog in (size for size in mean if size > _SHORT):  # the short ones are before and after it
        ratios = {f"times {short:,}": round(mean[backlog] / mean[short], 2) for short in mean if short <= _SHORT}
        keep(Row("backlog: long ones against short ones", {"backlog": backlog, **ratios}))


async def _drained(
    stack: Stack, meter: Meter, fleet: Fleet, part: int, *, waiting: int, settle_s: float
) -> dict[str, Value]:
    pages_before = stack.query(_PAGES_READ)
    values = await drain(stack, meter, fleet, part)
    await asyncio.sleep(settle_s)
    pages = round((stack.query(_PAGES_READ) - pages_before) / part, 2)
    return {"waiting": waiting, "drained": part, **values, "pages read a task": pages}


BACKLOG = Case(
    "backlog",
    "Drains of short and long backlogs in turn, and submits as the backlog grows.",
    "about half an hour, and 20 GB of disk",
    measure_backlog,
    {
        "sizes": Size(
            (20_000, 100_000, 1_000_000, 20_000, 100_000, 10_000_000, 100_000, 20_000), (1_200,), "backlogs, by comma"
        ),
        "step": Size((1_000_000,), (500,), "tasks of a row of submits"),
        "part": Size((600_000,), (300,), "tasks of a row of drains"),
        "settle": Size((11,), (1,), "seconds after a drain until PostgreSQL has counted the pages that it read"),
        "parts": Size((1,), (2,), "rows of drains: how many parts of a backlog are drained"),
    },
    plots={
        "scale-backlog.svg": Plot(
            _DRAINS,
            "waiting",
            (("tasks/s",), ("PostgreSQL, µs a task", "scheduler, µs a task")),
            "a drain as more waits behind it",
            log=True,
        )
    },
)


async def measure_workers(folder: Path, sizes: Sizes, keep: Keep) -> None:
    tasks = sizes.one("tasks")
    for count in sizes.all("counts"):
        async with warm(folder, sizes) as (stack, meter):
            await load(stack, meter, tasks)
            async with waiting_workers(stack, count) as fleet:
                values = await drain(stack, meter, fleet, tasks)
                keep(Row(_BY_WORKERS, {"workers": count, "drained": tasks, **values}))
            await asyncio.to_thread(scenario.check, stack, tasks)


WORKERS = Case(
    "workers",
    "The same backlog, drained by more and more connected workers, which hold 4,000 leases together.",
    "3 minutes",
    measure_workers,
    {
        "counts": Size((2, 100, 1_000, 100, 2), (6,), "connected workers, by comma; even numbers"),
        "tasks": Size((100_000,), (500,), "tasks that they drain"),
    },
    plots={
        "scale-workers.svg": Plot(
            _BY_WORKERS,
            "workers",
            (("tasks/s",), ("PostgreSQL, µs a task", "scheduler, µs a task"), ("ms a claim",)),
            "a drain by more workers",
            log=True,
        )
    },
)


async def measure_schedulers(folder: Path, sizes: Sizes, keep: Keep) -> None:
    tasks = sizes.one("tasks")
    for count in sizes.all("counts"):
        async with warm(folder, sizes) as (stack, meter):
            with _joined(stack, meter, count - 1) as targets:
                parameters = {"schedulers": count, "tasks": tasks}
                await load(stack, meter, tasks)
                spread = (targets * _SCHEDULERS_WORKERS)[:_SCHEDULERS_WORKERS]
                async with waiting_workers(stack, _SCHEDULERS_WORKERS, spread) as fleet:
                    drained = await drain(stack, meter, fleet, tasks)
                    keep(Row("schedulers: drains", {**parameters, **drained}))
                    values = await _end_to_end(stack, meter, fleet, tasks, targets)
                    keep(Row("schedulers: end to end, while batches come in", {**parameters, **values}))
                await asyncio.to_thread(scenario.check, stack, 2 * tasks)


@contextmanager
def _joined(stack: Stack, meter: Meter, count: int) -> Iterator[list[str]]:
    """Yields the targets of all once so many further schedulers are on its database."""
    targets = [stack.target]
    with ExitStack() as exits:
        for number in range(1, count + 1):
            name, port = f"scheduler-{number}", free_port()
            settings = {"assets": str(stack.folder / "data" / "assets"), "metrics_listen": f"127.0.0.1:{port}"}
            variables = {**environment(stack.folder / name, **settings), "DATABASE_URL": stack.url}
            service = exits.enter_context(scheduler(name, stack.folder, variables))
            exits.callback(service.stop, STOP_LIMIT)
            targets.append(service.wait_for("ready", within=START_LIMIT)["listen"])
            meter.add(service, port)
        yield targets


async def _end_to_end(stack: Stack, meter: Meter, fleet: Fleet, tasks: int, targets: Sequence[str]) -> dict[str, Value]:
    """Returns a row; each scheduler takes its part of the batches."""
    share = {"batch": min(BATCH, tasks // len(targets)), "in_flight": max(1, IN_FLIGHT // len(targets))}
    async with AsyncExitStack() as exits:
        for target in targets:
            loader = scenario.loader(stack, tasks // len(targets), target=target, **share)
            (await exits.enter_async_context(loader)).go()
        return await drain(stack, meter, fleet, tasks)


SCHEDULERS = Case(
    "schedulers",
    "One, two and four schedulers on one PostgreSQL, with four workers in all.",
    "3 minutes",
    measure_schedulers,
    {
        "counts": Size((1, 2, 4, 2, 1), (2,), "schedulers, by comma"),
        "tasks": Size((80_000,), (400,), "tasks of a drain, and of a row end to end; the batches divide them"),
    },
)
