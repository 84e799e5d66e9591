"""Measures what the real system uses under a few loads of different shapes; `derivation` makes costs of it.

Part of `lab.simulation`. `check` repeats none of these loads: it has other batches, depths, rates and numbers of
workers, and so can fail.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from lab.benchmarks import scenario
from lab.benchmarks.child import Child
from lab.benchmarks.command import lent_folder
from lab.benchmarks.latencies import latencies
from lab.simulation.cell import Cell, Fleet, Idle, Measured, Paced, Used, calmest, calmest_fleet
from tests.harness.processes import free_port

HEARTBEAT_S = 10.0
SETTLE_S = 3.0
REST_S = 20.0
"""Two heartbeats of each worker."""
SAMPLES = 150
_FLEET = "simulation.processes.run_fleet"


@dataclass(frozen=True, slots=True)
class Shape:
    """A load of `tasks` in calls of `batch`, then its drain by `workers` with `depth` leases each.

    `slots` instead of `depth`: workers that run each task for `seconds` and tell of each step.
    """

    tasks: int
    batch: int
    in_flight: int
    workers: int
    depth: int = 0
    slots: int = 0
    seconds: float = 0.0


SHAPES = (
    Shape(1_000, 1, 1, workers=2, depth=8),
    Shape(5_000, 1, 32, workers=2, depth=40),
    Shape(8_000, 10, 4, workers=2, depth=200),
    Shape(20_000, 100, 4, workers=2, depth=600),
    Shape(40_000, 500, 4, workers=2, depth=2_000),
    Shape(2_500, 100, 1, workers=60, slots=2, seconds=0.4),
)
RATES = (40.0, 120.0, 250.0)
PACED_S = 6.0
FLEETS = (200, 700)


async def measure(above: Path, rounds: int) -> Measured:
    """Measures everything so many times, and returns the calmest of each part."""
    return calmest([await measure_once(above) for _ in range(rounds)])


async def measure_once(above: Path) -> Measured:
    with lent_folder(above, "contentgen-simulation-") as folder:
        async with Cell(folder) as cell:
            fleets = await _fleets(cell)  # before there is anything to vacuum
            hello_s = await _hello_seconds(cell)
            rest = await _rest(cell)
            await asyncio.to_thread(cell.warm_wal)
            phases = [await phase(cell, shape) for shape in SHAPES]
            paced = [await submitted_at(cell, rate, PACED_S) for rate in RATES]
            scenario.check(cell, sum(shape.tasks for shape in SHAPES) + sum(load.tasks for load in paced))
            idle = await _idle(cell)
        return Measured(rest, phases, paced, idle, fleets, hello_s, refused=await _refused(folder))


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def cpu_of(children: Sequence[Child]) -> float:
    return sum(sum(psutil.Process(child.pid).cpu_times()[:2]) for child in children)


def meter(cell: Cell, *children: Child) -> Callable[[], Used]:
    """Says, when it is called, what the cell and these processes have used since now."""
    children_cpu, reading = cpu_of(children), cell.reading()
    return lambda: Used(cell.reading() - reading, cpu_of(children) - children_cpu)


@asynccontextmanager
async def fleet(cell: Cell, count: int, *, slots: int = 0, seconds: float = 0.0, prefix: str) -> AsyncIterator[Child]:
    options = {"targets": cell.targets, "count": count, "prefix": prefix, "slots": slots, "seconds": seconds}
    async with Child(_FLEET, cell.folder, prefix, **options) as child:
        yield child


async def connected(one: Child, count: int) -> list[float]:
    times: list[float] = []
    async with asyncio.timeout(scenario.PATIENCE_S):
        while len(times) < count:
            message = await one.message()
            if "connected" in message:
                times.append(message["at"])
    return times


async def _rest(cell: Cell) -> Used:
    say("a system at rest")
    await asyncio.sleep(SETTLE_S)
    spent = meter(cell)
    await asyncio.sleep(REST_S)
    return spent()


async def phase(cell: Cell, shape: Shape) -> tuple[Used, Used]:
    say(f"{shape.tasks} tasks in batches of {shape.batch}, {shape.workers} workers")
    async with scenario.loader(cell, shape.tasks, batch=shape.batch, in_flight=shape.in_flight) as loader:
        reading = cell.reading()
        loader.go()
        async with asyncio.timeout(scenario.PATIENCE_S):
            message = await loader.message()
        loaded = Used(cell.reading() - reading, message["cpu"])
    if shape.slots:
        return loaded, await _run(cell, shape)
    async with scenario.noop_workers(cell, shape.workers, shape.depth, prefix=f"noop-{shape.depth}") as workers:
        spent = meter(cell, *workers.processes)
        await scenario.drain(cell, workers, shape.tasks)
        return loaded, spent()


async def submitted_at(cell: Cell, rate: float, seconds: float) -> Paced:
    """Measures single submits, so many a second. A cell has each rate once: its worker is named by it."""
    say(f"{rate:.0f} submits a second")
    tasks = round(rate * seconds)
    options = {"tasks": tasks, "rate": rate, "accounts": cell.accounts, "worker_id": f"paced-{rate:.0f}"}
    async with Child("simulation.processes.submit_paced", cell.folder, "paced", target=cell.target, **options) as load:
        reading = cell.reading()
        load.go()
        seconds_each: list[float] = []
        async with asyncio.timeout(scenario.PATIENCE_S):
            while "ms" in (message := await load.message()):
                seconds_each += [ms / 1e3 for ms in message["ms"]]
        used = Used(cell.reading() - reading, message["cpu"])
    return Paced(used, tasks, tasks / message["seconds"], sorted(seconds_each))


async def _run(cell: Cell, shape: Shape) -> Used:
    async with fleet(cell, shape.workers, slots=shape.slots, seconds=shape.seconds, prefix="running") as workers:
        spent = meter(cell, workers)
        workers.go()
        async with asyncio.timeout(scenario.PATIENCE_S):
            while (await workers.message()).get("completed") != shape.tasks:
                pass
        used = spent()
        await asyncio.sleep(1.0)  # the last reports are on their way
        return used


async def _idle(cell: Cell) -> Idle:
    say("one task after the other")
    await asyncio.sleep(SETTLE_S)
    spent = meter(cell)
    probed = await latencies(cell, SAMPLES)
    return Idle(spent(), probed.p50)


async def _fleets(cell: Cell) -> list[Fleet]:
    """In turns: what a hello costs is their difference, and the pace of the host changes from one to the other."""
    turns = [[await _fleet(cell, count, turn) for count in FLEETS] for turn in range(3)]
    return [calmest_fleet(fleet_turns) for fleet_turns in zip(*turns, strict=True)]


async def _fleet(cell: Cell, count: int, turn: int) -> Fleet:
    say(f"{count} idle workers")
    memory = cell.rss()
    async with fleet(cell, count, prefix=f"idle-{count}-{turn}") as workers:
        workers.go()
        await connected(workers, count)
        await asyncio.sleep(SETTLE_S)
        spent = meter(cell, workers)
        await asyncio.sleep(HEARTBEAT_S)
        resting = spent()
        memory = cell.rss() - memory
        cell.kill()
        await cell.restart()
        spent = meter(cell, workers)
        await connected(workers, count)
        connecting = spent()
    cell.kill()
    await cell.restart()  # the next fleet is the first of its process, too
    return Fleet(count, resting, connecting, memory)


async def _hello_seconds(cell: Cell) -> float:
    say("one hello after the other")
    options = {"target": cell.target, "worker_id": "hello", "samples": 100}
    async with Child("benchmarks.workers.say_hello", cell.folder, "hello", **options) as probe:
        probe.go()
        times = sorted([(await probe.message())["ms"] for _ in range(100)])
    return float(times[50]) / 1e3


async def _refused(folder: Path) -> float:
    """Returns the CPU seconds of an attempt to connect where nobody listens."""
    say("connections that are refused")
    options = {"targets": [f"127.0.0.1:{free_port()}"], "count": 100, "prefix": "refused"}
    async with Child(_FLEET, folder, "refused", **options) as workers:
        cpu_before = cpu_of([workers])
        workers.go()
        await asyncio.sleep(SETTLE_S)
        count = (await workers.ask(how="many"))["refused"]
        return (cpu_of([workers]) - cpu_before) / float(count)
