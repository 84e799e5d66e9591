"""Measures what the real system uses under a few loads of different shapes; `derivation` makes costs of it.

Part of `benchmarks.simulation`. `check` repeats none of these loads: it has other batches, depths, rates and numbers of
workers, and so can fail.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import scenario
from benchmarks.child import Child
from benchmarks.folders import make_folder
from benchmarks.latencies import latencies
from benchmarks.simulation.cell import Cell, Reading
from tests.harness.ports import free_port

HEARTBEAT_S = 10.0
SETTLE_S = 3.0
REST_S = 10.0
"""One heartbeat of each worker."""
SAMPLES = 150


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
FLEETS = (200, 700)


@dataclass(frozen=True, slots=True)
class Used:
    """What a phase used: the readings' difference, and CPU seconds of the client or the workers."""

    reading: Reading
    children: float

    @property
    def others(self) -> float:
        """Cores that none of these processes used."""
        cpu = self.reading.cpu
        own = cpu.scheduler + cpu.postgres + self.children
        return max(0.0, self.reading.machine - own) / self.reading.at


@dataclass(frozen=True, slots=True)
class Idle:
    """One task after the other on an idle system."""

    used: Used
    p50_ms: float


@dataclass(frozen=True, slots=True)
class Fleet:
    """Idle workers: what connecting them used, and what their heartbeats used in `resting`."""

    workers: int
    connecting: Used
    resting: Used
    memory: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What each part of a run used."""

    rest: Used
    phases: Sequence[tuple[Used, Used]]
    """A load and a drain for each of `SHAPES`."""
    idle: Idle
    fleets: Sequence[Fleet]
    """One for each of `FLEETS`."""
    hello_s: float
    """Seconds of a hello, one after the other: the median."""
    refused: float
    """CPU seconds of a refused connection."""


async def measure(above: Path) -> Measured:
    """All of it."""
    folder = make_folder(above, "contentgen-simulation-")
    async with Cell(folder) as cell:
        await asyncio.to_thread(cell.warm_wal)
        rest = await _rest(cell)
        phases = [await _phase(cell, shape) for shape in SHAPES]
        scenario.check(cell, sum(shape.tasks for shape in SHAPES))
        idle = await _idle(cell)
        fleets = [await _fleet(cell, count) for count in FLEETS]
        hello_s = await _hello_seconds(cell)
    refused = await _refused(folder)
    shutil.rmtree(folder)
    return Measured(rest, phases, idle, fleets, hello_s, refused)


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def cpu_of(children: Sequence[Child]) -> float:
    """CPU seconds of these processes so far."""
    return sum(sum(psutil.Process(one.pid).cpu_times()[:2]) for one in children)


@asynccontextmanager
async def fleet(cell: Cell, count: int, *, slots: int = 0, seconds: float = 0.0, prefix: str) -> AsyncIterator[Child]:
    """Real light workers that are ready to connect to all schedulers of the cell."""
    options = {"targets": ",".join(cell.targets), "count": count, "prefix": prefix, "slots": slots, "seconds": seconds}
    async with Child("simulation.fleet_workers", cell.folder, prefix, **options) as one:
        yield one


async def connected(one: Child, count: int) -> list[float]:
    """When each of so many hellos was answered."""
    times: list[float] = []
    async with asyncio.timeout(scenario.PATIENCE_S):
        while len(times) < count:
            told = await one.told()
            if "connected" in told:
                times.append(told["at"])
    return times


async def _rest(cell: Cell) -> Used:
    say("a system at rest")
    await asyncio.sleep(SETTLE_S)
    before = cell.reading()
    await asyncio.sleep(REST_S)
    return Used(cell.reading() - before, 0.0)


async def _phase(cell: Cell, shape: Shape) -> tuple[Used, Used]:
    """What the load and what the drain used."""
    say(f"{shape.tasks} tasks in batches of {shape.batch}, {shape.workers} workers")
    loaded = await submitted(cell, shape)
    return loaded, await (_run(cell, shape) if shape.slots else drained(cell, shape))


async def submitted(cell: Cell, shape: Shape) -> Used:
    async with scenario.loader(cell, shape.tasks, batch=shape.batch, in_flight=shape.in_flight) as loader:
        before = cell.reading()
        loader.go()
        async with asyncio.timeout(scenario.PATIENCE_S):
            told = await loader.told()
        return Used(cell.reading() - before, told["cpu"])


async def drained(cell: Cell, shape: Shape) -> Used:
    async with scenario.noop_workers(cell, shape.workers, shape.depth, f"noop-{shape.depth}") as workers:
        own, before = cpu_of(workers), cell.reading()
        await scenario.drain(cell, workers, shape.tasks)
        return Used(cell.reading() - before, cpu_of(workers) - own)


async def _run(cell: Cell, shape: Shape) -> Used:
    async with fleet(cell, shape.workers, slots=shape.slots, seconds=shape.seconds, prefix="running") as workers:
        own, before = cpu_of([workers]), cell.reading()
        workers.go()
        async with asyncio.timeout(scenario.PATIENCE_S):
            while (await workers.told()).get("completed") != shape.tasks:
                pass
        used = Used(cell.reading() - before, cpu_of([workers]) - own)
        await asyncio.sleep(1.0)  # the last reports are on their way
        return used


async def _idle(cell: Cell) -> Idle:
    say("one task after the other")
    await asyncio.sleep(SETTLE_S)
    before = cell.reading()
    found = await latencies(cell, SAMPLES)
    return Idle(Used(cell.reading() - before, 0.0), found.p50)


async def _fleet(cell: Cell, count: int) -> Fleet:
    say(f"{count} idle workers")
    memory = cell.rss()
    async with fleet(cell, count, prefix=f"idle-{count}") as workers:
        own, before = cpu_of([workers]), cell.reading()
        workers.go()
        await connected(workers, count)
        connecting = Used(cell.reading() - before, cpu_of([workers]) - own)
        await asyncio.sleep(SETTLE_S)
        own, before = cpu_of([workers]), cell.reading()
        await asyncio.sleep(REST_S)
        resting = Used(cell.reading() - before, cpu_of([workers]) - own)
        return Fleet(count, connecting, resting, cell.rss() - memory)


async def _hello_seconds(cell: Cell) -> float:
    say("one hello after the other")
    async with Child("hello_probe", cell.folder, "hello", target=cell.target, worker_id="hello", samples=100) as probe:
        probe.go()
        told = sorted([(await probe.told())["ms"] for _ in range(100)])
    return float(told[50]) / 1e3


async def _refused(folder: Path) -> float:
    """CPU seconds of an attempt to connect where nobody listens."""
    say("connections that are refused")
    options = {"targets": f"127.0.0.1:{free_port()}", "count": 100, "prefix": "refused"}
    async with Child("simulation.fleet_workers", folder, "refused", **options) as workers:
        own = cpu_of([workers])
        workers.go()
        await asyncio.sleep(SETTLE_S)
        refused = (await workers.ask(how="many"))["refused"]
        return (cpu_of([workers]) - own) / float(refused)
