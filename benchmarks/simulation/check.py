"""The same thing for real and in the simulation, side by side: how far apart they are.

Part of `benchmarks.simulation`. The operating points are none of those that the costs were measured at.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.folders import make_folder
from benchmarks.simulation import mirror, real
from benchmarks.simulation.calibration import Shape
from benchmarks.simulation.costs import Costs

TOLERANCE = 0.2
SHAPE = Shape(30_000, 250, 6, workers=3, depth=1_000)
LOADS = (0.3, 0.7)
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

    @property
    def close(self) -> bool:
        return abs(self.deviation) <= TOLERANCE

    def document(self) -> dict[str, Any]:
        return asdict(self) | {"deviation": self.deviation, "close": self.close}


@dataclass(frozen=True, slots=True)
class Found:
    """What the real system did."""

    drain: real.Drained
    latencies: list[real.Latencies]
    rest: real.Rest
    restart: real.Storm
    survivor: real.Storm


async def run_real(above: Path, most: float) -> Found:
    """All of it. `most`: single submits a second, by the simulation."""
    folder = make_folder(above, "contentgen-check-")
    drained = await real.drain(folder, SHAPE)
    paced = await real.latencies(folder, tuple(round(share * most) for share in LOADS), PACED_S)
    rest, restart = await real.rest_and_restart(folder, WORKERS)
    survivor = await real.survivor(folder, WORKERS)
    shutil.rmtree(folder)
    return Found(drained, paced, rest, restart, survivor)


def compare(found: Found, costs: Costs, seed: int) -> Iterator[Compared]:
    """The same in the simulation."""
    yield from _drain(found.drain, costs, seed)
    for one in found.latencies:
        yield from _latencies(one, costs, seed)
    yield from _rest(found.rest, costs, seed)
    yield from _storms(found, costs, seed)


def _pairs(
    names: Sequence[tuple[str, str, float]], reals: Sequence[float], simulated: Sequence[float], others: float
) -> list[Compared]:
    """Each name has a unit, and what a figure is multiplied by to have it."""
    return [
        Compared(name, unit, scale * a, scale * b, others)
        for (name, unit, scale), a, b in zip(names, reals, simulated, strict=True)
    ]


def _drain(found: real.Drained, costs: Costs, seed: int) -> list[Compared]:
    simulated = mirror.medians(partial(mirror.drain, costs, SHAPE, found.others), seed)
    names = [
        (f"submit, batches of {SHAPE.batch}, {SHAPE.in_flight} in flight", "tasks/s", 1.0),
        (f"drain of {SHAPE.tasks:,}, {SHAPE.workers} workers with {SHAPE.depth:,} leases", "tasks/s", 1.0),
        ("its CPU a task: scheduler", "µs", 1e6),
        ("its CPU a task: PostgreSQL", "µs", 1e6),
    ]
    return _pairs(names, [found.loaded, found.drained, found.scheduler, found.postgres], simulated, found.others)


def _latencies(found: real.Latencies, costs: Costs, seed: int) -> list[Compared]:
    simulated = mirror.medians(partial(mirror.latencies, costs, found.rate, PACED_S, found.others), seed)
    what = f"submit to worker, {found.rate:.0f}/s"
    names = [(f"{what}, p50", "ms", 1e3), (f"{what}, p99", "ms", 1e3)]
    return _pairs(names, mirror.spread(found.samples)[:2], simulated, found.others)


def _rest(found: real.Rest, costs: Costs, seed: int) -> list[Compared]:
    simulated = mirror.medians(partial(mirror.rest, costs, WORKERS, found.others), seed)
    fleet = f"{WORKERS:,} idle workers"
    names = [(f"{fleet}: scheduler", "% of a core", 100.0), (f"{fleet}: PostgreSQL", "% of a core", 100.0)]
    return _pairs(names, [found.scheduler, found.postgres], simulated, found.others)


def _storms(found: Found, costs: Costs, seed: int) -> Iterator[Compared]:
    one = found.restart
    simulated = mirror.medians(partial(mirror.restart, costs, WORKERS, one.down, one.others), seed)
    yield from _pairs(_storm(f"restart after {one.down:.1f} s"), mirror.spread(one.samples), simulated, one.others)
    one = found.survivor
    simulated = mirror.medians(partial(mirror.survivor, costs, WORKERS, one.others), seed)
    yield from _pairs(_storm("one of two is killed"), mirror.spread(one.samples), simulated, one.others)


def _storm(what: str) -> list[tuple[str, str, float]]:
    return [(f"{what}: {share} of its workers are back", "s", 1.0) for share in ("half", "99%", "all")]
