"""What the check does with the real system: the same that `mirror` does in the simulation.

Part of `lab.simulation`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.benchmarks import scenario
from lab.benchmarks.child import Child
from lab.benchmarks.folders import make_folder
from lab.simulation import calibration
from lab.simulation.calibration import REST_S, Shape
from lab.simulation.cell import Cell
from lab.simulation.measured import Paced

DOWN_S = 2.0
"""Until a killed scheduler is started again; its start takes a while, too."""


@dataclass(frozen=True, slots=True)
class Drained:
    """Tasks a second of the load and of the drain, and the drain's CPU seconds a task."""

    loaded: float
    drained: float
    scheduler: float
    postgres: float
    others: float


@dataclass(frozen=True, slots=True)
class Rest:
    """Cores that an idle fleet keeps busy."""

    scheduler: float
    postgres: float
    others: float


@dataclass(frozen=True, slots=True)
class Storm:
    """Seconds until each worker was connected again: after the restart, or after the kill where another one serves."""

    down: float
    samples: list[float]
    others: float


async def drain(folder: Path, shape: Shape) -> Drained:
    """A load, then its drain."""
    async with Cell(make_folder(folder, "drain-")) as cell:
        await asyncio.to_thread(cell.warm_wal)
        load, drained = await calibration.phase(cell, shape)
        scenario.check(cell, shape.tasks)
    cpu = drained.reading.cpu
    return Drained(
        shape.tasks / load.reading.at,
        shape.tasks / drained.reading.at,
        cpu.scheduler / shape.tasks,
        cpu.postgres / shape.tasks,
        drained.others,
    )


async def latencies(folder: Path, rates: tuple[float, ...], seconds: float) -> list[Paced]:
    """Single submits at these rates, one after the other."""
    async with Cell(make_folder(folder, "paced-")) as cell:
        await asyncio.to_thread(cell.warm_wal)
        loads = [await calibration.submitted_at(cell, rate, seconds) for rate in rates]
        scenario.check(cell, sum(load.tasks for load in loads))
    return loads


@asynccontextmanager
async def _fleet(folder: Path, workers: int, schedulers: int) -> AsyncIterator[tuple[Cell, Child]]:
    """So many idle workers, connected for a while."""
    async with (
        Cell(make_folder(folder, "fleet-"), schedulers=schedulers) as cell,
        calibration.fleet(cell, workers, prefix="fleet") as child,
    ):
        calibration.say(f"{workers} workers behind {schedulers} schedulers")
        child.go()
        await calibration.connected(child, workers)
        await asyncio.sleep(calibration.SETTLE_S)
        yield cell, child


async def rest_and_restart(folder: Path, workers: int) -> tuple[Rest, Storm]:
    """An idle fleet; then its scheduler is killed, and started again."""
    async with _fleet(folder, workers, 1) as (cell, child):
        spent = calibration.meter(cell, child)
        await asyncio.sleep(REST_S)
        used = spent()
        cpu, seconds = used.reading.cpu, used.reading.at
        begin = time.monotonic()
        cell.kill()
        await asyncio.sleep(DOWN_S)
        await cell.restart()
        served = time.monotonic()
        times = await calibration.connected(child, workers)
    idle = Rest(cpu.scheduler / seconds, cpu.postgres / seconds, used.others)
    return idle, Storm(served - begin, sorted(moment - served for moment in times), used.others)


async def survivor(folder: Path, workers: int) -> Storm:
    """One of two schedulers is killed: its workers, half of all, go to the other one."""
    async with _fleet(folder, workers, 2) as (cell, child):
        spent = calibration.meter(cell, child)
        await asyncio.sleep(calibration.HEARTBEAT_S)  # else their pauses would not begin with the shortest
        used = spent()
        begin = time.monotonic()
        cell.kill()
        times = await calibration.connected(child, workers // 2)
    return Storm(0.0, sorted(moment - begin for moment in times), used.others)
