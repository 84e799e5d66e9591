"""The same thing for real and in the simulation, side by side: how far apart they are.

The operating points are none of those that the costs are measured at. The pace of a host with other guests changes
within minutes, so each round measures the costs just before the figures that they are to explain, and the round in the
middle counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from lab.benchmarks import scenario
from lab.benchmarks.child import Child
from lab.benchmarks.command import lent_folder, make_folder
from lab.simulation import calibration, mirror
from lab.simulation.calibration import REST_S, Shape, measure_once
from lab.simulation.cell import Cell
from lab.simulation.costs import Costs
from lab.simulation.derivation import derive

SHAPE = Shape(30_000, 250, 6, workers=3, depth=1_000)
LIGHT, BUSY = 0.06, 0.4
"""Of what the simulation can do at most. When busy, latencies of two runs of the real system differ by half."""
PACED_S = 8.0
WORKERS = 1_000


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of both. `others`: cores that other processes used meanwhile."""

    name: str
    unit: str
    real: float
    simulated: float
    others: float

    @property
    def deviation(self) -> float:
        """Of the simulated figure from the real one, which is 1."""
        return self.simulated / self.real - 1


@dataclass(frozen=True, slots=True)
class Middle:
    """One figure of all rounds, the least deviation first."""

    rounds: Sequence[Compared]

    @property
    def close(self) -> bool:
        return abs(self._one.deviation) <= 0.2

    def document(self) -> dict[str, Any]:
        """Returns the round in the middle, and the deviations that are furthest from it."""
        least, most = self.rounds[0].deviation, self.rounds[-1].deviation
        deviations = {"deviation": self._one.deviation, "least": least, "most": most}
        return asdict(self._one) | deviations | {"close": self.close}

    @property
    def _one(self) -> Compared:
        return self.rounds[len(self.rounds) // 2]


def middle(rounds: Sequence[Sequence[Compared]]) -> list[Middle]:
    return [
        Middle(sorted(comparisons, key=lambda comparison: comparison.deviation))
        for comparisons in zip(*rounds, strict=True)
    ]


class _Real(NamedTuple):
    """What the real system did, and the same in the simulation, with what others used of the machine.

    Each name has a unit, and what a figure is multiplied by to have it.
    """

    names: Sequence[tuple[str, str, float]]
    figures: Sequence[float]
    others: float
    simulate: Callable[[Costs, float], list[float]]

    def compared(self, costs: Costs, seed: int) -> Iterator[Compared]:
        simulated = mirror.medians(partial(self.simulate, costs, self.others), seed)
        for (name, unit, scale), real, figure in zip(self.names, self.figures, simulated, strict=True):
            yield Compared(name, unit, scale * real, scale * figure, self.others)


async def one_round(above: Path, seed: int) -> list[Compared]:
    costs = derive(await measure_once(above))
    capacity = mirror.capacity(costs)
    light, busy = (round(share * capacity) for share in (LIGHT, BUSY))
    with lent_folder(above, "contentgen-check-") as folder:
        reals = [
            await _drain(folder),
            *await _singles(folder, light, busy),
            *await _rest_and_restart(folder),
            await _survivor(folder),
        ]
    return [comparison for real in reals for comparison in real.compared(costs, seed)]


async def _drain(folder: Path) -> _Real:
    async with Cell(make_folder(folder, "drain-")) as cell:
        await asyncio.to_thread(cell.warm_wal)
        load, drained = await calibration.phase(cell, SHAPE)
        scenario.check(cell, SHAPE.tasks)
    cpu, tasks = drained.reading.cpu, SHAPE.tasks
    names = [
        (f"submit, batches of {SHAPE.batch}, {SHAPE.in_flight} in flight", "tasks/s", 1.0),
        (f"drain of {tasks:,}, {SHAPE.workers} workers with {SHAPE.depth:,} leases", "tasks/s", 1.0),
        ("its CPU a task: scheduler", "µs", 1e6),
        ("its CPU a task: PostgreSQL", "µs", 1e6),
    ]
    figures = [tasks / load.reading.at, tasks / drained.reading.at, cpu.scheduler / tasks, cpu.postgres / tasks]
    return _Real(names, figures, drained.others, lambda costs, others: mirror.drain(costs, SHAPE, others))


async def _singles(folder: Path, light: int, busy: int) -> list[_Real]:
    """Measures single submits at these rates, one after the other: the latency when light, and the CPU."""
    async with Cell(make_folder(folder, "paced-")) as cell:
        await asyncio.to_thread(cell.warm_wal)
        loads = [await calibration.submitted_at(cell, rate, PACED_S) for rate in (light, busy)]
        scenario.check(cell, sum(load.tasks for load in loads))
    reals = []
    for paced in loads:
        cpu, rate = paced.used.reading.cpu, f"{paced.rate:.0f} single submits a second"

        def simulate(costs: Costs, others: float, rate: float = paced.rate) -> list[float]:
            p50, _, scheduler, postgres = mirror.latencies(costs, rate, PACED_S, others)
            return [p50, scheduler, postgres]

        names = [
            (f"{rate}: submit to worker, p50", "ms", 1e3),
            (f"{rate}: CPU a task, scheduler", "µs", 1e6),
            (f"{rate}: CPU a task, PostgreSQL", "µs", 1e6),
        ]
        figures = [mirror.spread(paced.seconds)[0], cpu.scheduler / paced.tasks, cpu.postgres / paced.tasks]
        reals.append(_Real(names, figures, paced.used.others, simulate))
    simulate_busy = reals[1].simulate
    reals[1] = _Real(names[1:], figures[1:], paced.used.others, lambda *given: simulate_busy(*given)[1:])
    return reals


@asynccontextmanager
async def _fleet(folder: Path, schedulers: int) -> AsyncIterator[tuple[Cell, Child]]:
    async with (
        Cell(make_folder(folder, "fleet-"), schedulers=schedulers) as cell,
        calibration.fleet(cell, WORKERS, prefix="fleet") as child,
    ):
        calibration.say(f"{WORKERS} workers behind {schedulers} schedulers")
        child.go()
        await calibration.connected(child, WORKERS)
        await asyncio.sleep(calibration.SETTLE_S)
        yield cell, child


async def _rest_and_restart(folder: Path) -> list[_Real]:
    """Measures an idle fleet; then its scheduler is killed, and started again."""
    async with _fleet(folder, 1) as (cell, child):
        spent = calibration.meter(cell, child)
        await asyncio.sleep(REST_S)
        used = spent()
        cpu, seconds = used.reading.cpu, used.reading.at
        begin = time.monotonic()
        cell.kill()
        await asyncio.sleep(2.0)  # and its start takes a while, too
        await cell.restart()
        served = time.monotonic()
        times = await calibration.connected(child, WORKERS)
    fleet, down = f"{WORKERS:,} idle workers", served - begin
    names = [(f"{fleet}: scheduler", "% of a core", 100.0), (f"{fleet}: PostgreSQL", "% of a core", 100.0)]
    used_s = [cpu.scheduler / seconds, cpu.postgres / seconds]
    idle = _Real(names, used_s, used.others, lambda costs, others: mirror.rest(costs, WORKERS, others))
    back = [moment - served for moment in times]
    restart = _storm(
        f"restart after {down:.1f} s",
        back,
        used.others,
        lambda costs, others: mirror.restart(costs, WORKERS, down, others),
    )
    return [idle, restart]


async def _survivor(folder: Path) -> _Real:
    """Kills one of two schedulers: its workers, half of all, go to the other one."""
    async with _fleet(folder, 2) as (cell, child):
        spent = calibration.meter(cell, child)
        await asyncio.sleep(calibration.HEARTBEAT_S)  # else their pauses would not begin with the shortest
        others = spent().others
        begin = time.monotonic()
        cell.kill()
        times = [moment - begin for moment in await calibration.connected(child, WORKERS // 2)]
    return _storm("one of two is killed", times, others, lambda costs, others: mirror.survivor(costs, WORKERS, others))


def _storm(event: str, times: list[float], others: float, simulate: Callable[[Costs, float], list[float]]) -> _Real:
    """Returns the seconds until each worker was connected again."""
    names = [(f"{event}: {share} of its workers are back", "s", 1.0) for share in ("half", "99%")]
    return _Real(names, mirror.spread(times)[:2], others, lambda *given: simulate(*given)[:2])
