"""Do more schedulers on one PostgreSQL do more? The same four workers and the same load, spread over them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path

from lab.benchmarks import scenario
from lab.benchmarks.measures import IN_FLIGHT
from lab.benchmarks.scale.case import Case, Size, Sizes
from lab.benchmarks.scale.drains import BATCH, drain, load, waiting_workers, warm
from lab.benchmarks.scale.followed import Followed
from lab.benchmarks.scale.meter import Meter
from lab.benchmarks.scale.rows import Row, Value
from lab.benchmarks.stack import START_LIMIT, STOP_LIMIT, Stack, environment, scheduler
from tests.harness.processes import free_port

DRAINS = "schedulers: drains"
END_TO_END = "schedulers: end to end, while batches come in"
_WORKERS = 4


async def measure(folder: Path, sizes: Sizes) -> AsyncIterator[Row]:
    """A drain and a row end to end for each number of schedulers."""
    for count in sizes.all("counts"):
        async with warm(folder, sizes) as (stack, meter):
            with _joined(stack, meter, count - 1) as targets:
                async for row in _measured(stack, meter, targets, sizes.one("tasks")):
                    yield row


async def _measured(stack: Stack, meter: Meter, targets: list[str], tasks: int) -> AsyncIterator[Row]:
    parameters = {"schedulers": len(targets), "tasks": tasks}
    await load(stack, meter, tasks)
    async with waiting_workers(stack, _WORKERS, (targets * _WORKERS)[:_WORKERS]) as fleet:
        yield Row(DRAINS, {**parameters, **await drain(stack, meter, fleet, tasks)})
        yield Row(END_TO_END, {**parameters, **await _end_to_end(stack, meter, fleet, tasks, targets)})
    await asyncio.to_thread(scenario.check, stack, 2 * tasks)


@contextmanager
def _joined(stack: Stack, meter: Meter, count: int) -> Iterator[list[str]]:
    """So many further schedulers on its database; the targets of all."""
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


async def _end_to_end(
    stack: Stack, meter: Meter, fleet: Followed, tasks: int, targets: Sequence[str]
) -> dict[str, Value]:
    """A row; each scheduler takes its part of the batches."""
    share = {"batch": min(BATCH, tasks // len(targets)), "in_flight": max(1, IN_FLIGHT // len(targets))}
    async with AsyncExitStack() as exits:
        for target in targets:
            loader = scenario.loader(stack, tasks // len(targets), target=target, **share)
            (await exits.enter_async_context(loader)).go()
        return await drain(stack, meter, fleet, tasks)


CASE = Case(
    "schedulers",
    "One, two and four schedulers on one PostgreSQL, with four workers in all.",
    "3 minutes",
    measure,
    {
        "counts": Size((1, 2, 4, 2, 1), (2,), "schedulers, by comma"),
        "tasks": Size((80_000,), (400,), "tasks of a drain, and of a row end to end; the batches divide them"),
    },
)
