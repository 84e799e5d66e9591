"""The same thing for real and in the simulation, side by side: how far apart they are.

Part of `lab.simulation`. The operating points are none of those that the costs are measured at. The pace of a
host with other guests changes within minutes, so each round measures the costs just before the figures that they are to
explain, and the round in the middle counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lab.benchmarks.folders import lent_folder
from lab.simulation import mirror, real
from lab.simulation.calibration import Shape, measure_once
from lab.simulation.costs import Costs
from lab.simulation.derivation import derive
from lab.simulation.measured import Paced

TOLERANCE = 0.2
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
        """Whether the round in the middle is."""
        return abs(self._one.deviation) <= TOLERANCE

    def document(self) -> dict[str, Any]:
        """Returns the round in the middle, and the deviations that are furthest from it."""
        calmest, busiest = self.rounds[0].deviation, self.rounds[-1].deviation
        return asdict(self._one) | {
            "deviation": self._one.deviation,
            "least": calmest,
            "most": busiest,
            "close": self.close,
        }

    @property
    def _one(self) -> Compared:
        return self.rounds[len(self.rounds) // 2]


@dataclass(frozen=True, slots=True)
class Found:
    """What the real system did."""

    drain: real.Drained
    latencies: list[Paced]
    rest: real.Rest
    restart: real.Storm
    survivor: real.Storm


async def one_round(above: Path, seed: int) -> list[Compared]:
    """The costs, the real system and the simulation."""
    costs = derive(await measure_once(above))
    results = await _run_real(above, mirror.capacity(costs))
    return list(_compare(results, costs, seed))


def middle(rounds: Sequence[Sequence[Compared]]) -> list[Middle]:
    """Each figure of all rounds."""
    return [
        Middle(sorted(comparisons, key=lambda comparison: comparison.deviation))
        for comparisons in zip(*rounds, strict=True)
    ]


async def _run_real(above: Path, capacity: float) -> Found:
    """`capacity`: single submits a second, by the simulation."""
    with lent_folder(above, "contentgen-check-") as folder:
        drained = await real.drain(folder, SHAPE)
        paced = await real.latencies(folder, tuple(round(share * capacity) for share in (LIGHT, BUSY)), PACED_S)
        idle, restart = await real.rest_and_restart(folder, WORKERS)
        survivor = await real.survivor(folder, WORKERS)
    return Found(drained, paced, idle, restart, survivor)


def _compare(results: Found, costs: Costs, seed: int) -> Iterator[Compared]:
    """The same in the simulation, with what others used of the machine."""
    yield from _drain(results.drain, costs, seed)
    light, busy = results.latencies
    yield from _singles(light, costs, seed)
    yield from _singles(busy, costs, seed)[1:]
    yield from _rest(results.rest, costs, seed)
    yield from _storms(results, costs, seed)


def _pairs(
    names: Sequence[tuple[str, str, float]], reals: Sequence[float], simulated: Sequence[float], share: float
) -> list[Compared]:
    """Each name has a unit, and what a figure is multiplied by to have it."""
    return [
        Compared(name, unit, scale * a, scale * b, share)
        for (name, unit, scale), a, b in zip(names, reals, simulated, strict=True)
    ]


def _drain(drained: real.Drained, costs: Costs, seed: int) -> list[Compared]:
    simulated = mirror.medians(partial(mirror.drain, costs, SHAPE, drained.others), seed)
    names = [
        (f"submit, batches of {SHAPE.batch}, {SHAPE.in_flight} in flight", "tasks/s", 1.0),
        (f"drain of {SHAPE.tasks:,}, {SHAPE.workers} workers with {SHAPE.depth:,} leases", "tasks/s", 1.0),
        ("its CPU a task: scheduler", "µs", 1e6),
        ("its CPU a task: PostgreSQL", "µs", 1e6),
    ]
    return _pairs(
        names, [drained.loaded, drained.drained, drained.scheduler, drained.postgres], simulated, drained.others
    )


def _singles(paced: Paced, costs: Costs, seed: int) -> list[Compared]:
    """The latency, then the CPU."""
    others, cpu = paced.used.others, paced.used.reading.cpu
    simulated = mirror.medians(partial(mirror.latencies, costs, paced.rate, PACED_S, others), seed)
    rate = f"{paced.rate:.0f} single submits a second"
    names = [
        (f"{rate}: submit to worker, p50", "ms", 1e3),
        (f"{rate}: CPU a task, scheduler", "µs", 1e6),
        (f"{rate}: CPU a task, PostgreSQL", "µs", 1e6),
    ]
    reals = [mirror.spread(paced.seconds)[0], cpu.scheduler / paced.tasks, cpu.postgres / paced.tasks]
    return _pairs(names, reals, simulated[:1] + simulated[2:], others)


def _rest(rest: real.Rest, costs: Costs, seed: int) -> list[Compared]:
    simulated = mirror.medians(partial(mirror.rest, costs, WORKERS, rest.others), seed)
    fleet = f"{WORKERS:,} idle workers"
    names = [(f"{fleet}: scheduler", "% of a core", 100.0), (f"{fleet}: PostgreSQL", "% of a core", 100.0)]
    return _pairs(names, [rest.scheduler, rest.postgres], simulated, rest.others)


def _storms(results: Found, costs: Costs, seed: int) -> Iterator[Compared]:
    storm = results.restart
    simulated = mirror.medians(partial(mirror.restart, costs, WORKERS, storm.down, storm.others), seed)
    yield from _pairs(
        _storm(f"restart after {storm.down:.1f} s"), mirror.spread(storm.samples)[:2], simulated[:2], storm.others
    )
    storm = results.survivor
    simulated = mirror.medians(partial(mirror.survivor, costs, WORKERS, storm.others), seed)
    yield from _pairs(_storm("one of two is killed"), mirror.spread(storm.samples)[:2], simulated[:2], storm.others)


def _storm(event: str) -> list[tuple[str, str, float]]:
    return [(f"{event}: {share} of its workers are back", "s", 1.0) for share in ("half", "99%")]
