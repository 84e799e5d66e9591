"""The same thing for real and in the simulation, side by side: how far apart they are.

Part of `benchmarks.simulation`. The operating points are none of those that the costs were measured at.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
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
PACED_S = 12.0
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


async def compare(above: Path, costs: Costs, seed: int) -> list[Compared]:
    """All figures."""
    folder = make_folder(above, "contentgen-check-")
    compared = [
        *await _drain(folder, costs, seed),
        *await _latencies(folder, costs, seed),
        *await _fleet(folder, costs, seed),
    ]
    shutil.rmtree(folder)
    return compared


def _pairs(
    names: Sequence[tuple[str, str, float]], reals: Sequence[float], simulated: Sequence[float], others: float
) -> list[Compared]:
    """Each name has a unit, and how many of them a second or a piece is."""
    return [
        Compared(name, unit, scale * a, scale * b, others)
        for (name, unit, scale), a, b in zip(names, reals, simulated, strict=True)
    ]


async def _drain(folder: Path, costs: Costs, seed: int) -> list[Compared]:
    found = await real.drain(folder, SHAPE)
    simulated = mirror.medians(partial(mirror.drain, costs, SHAPE, found.others), seed)
    what = f"drain of {SHAPE.tasks:,}, {SHAPE.workers} workers with {SHAPE.depth:,} leases"
    names = [
        (f"submit, batches of {SHAPE.batch}, {SHAPE.in_flight} in flight", "tasks/s", 1.0),
        (what, "tasks/s", 1.0),
        ("its CPU a task: scheduler", "µs", 1e6),
        ("its CPU a task: PostgreSQL", "µs", 1e6),
    ]
    return _pairs(names, [found.loaded, found.drained, found.scheduler, found.postgres], simulated, found.others)


async def _latencies(folder: Path, costs: Costs, seed: int) -> list[Compared]:
    most = mirror.capacity(costs)
    compared = []
    for one in await real.latencies(folder, tuple(round(share * most) for share in LOADS), PACED_S):
        simulated = mirror.medians(partial(mirror.latencies, costs, one.rate, PACED_S, one.others), seed)
        what = f"submit to worker, {one.rate:.0f}/s of {most:.0f}/s"
        names = [(f"{what}, p50", "ms", 1e3), (f"{what}, p99", "ms", 1e3)]
        compared += _pairs(names, mirror.spread(one.samples)[:2], simulated, one.others)
    return compared


async def _fleet(folder: Path, costs: Costs, seed: int) -> list[Compared]:
    rest, storm = await real.rest_and_restart(folder, WORKERS)
    lost = await real.survivor(folder, WORKERS)
    idle = mirror.medians(partial(mirror.rest, costs, WORKERS, rest.others), seed)
    restarted = mirror.medians(partial(mirror.restart, costs, WORKERS, storm.down, storm.others), seed)
    moved = mirror.medians(partial(mirror.survivor, costs, WORKERS, lost.others), seed)
    fleet = f"{WORKERS:,} idle workers"
    names = [(f"{fleet}: scheduler", "% of a core", 100.0), (f"{fleet}: PostgreSQL", "% of a core", 100.0)]
    return [
        *_pairs(names, [rest.scheduler, rest.postgres], idle, rest.others),
        *_pairs(_storm(f"restart after {storm.down:.1f} s"), mirror.spread(storm.samples), restarted, storm.others),
        *_pairs(_storm("one of two is killed"), mirror.spread(lost.samples), moved, lost.others),
    ]


def _storm(what: str) -> list[tuple[str, str, float]]:
    return [(f"{what}: {share} of its workers are back", "s", 1.0) for share in ("half", "99%", "all")]
