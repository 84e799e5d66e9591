"""What a calibration measured, and the cheapest of several.

Part of `benchmarks.simulation`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from benchmarks.simulation.cell import Reading


@dataclass(frozen=True, slots=True)
class Used:
    """What a phase used: the readings' difference, and CPU seconds of the client or the workers."""

    reading: Reading
    children: float

    @property
    def cpu(self) -> float:
        """CPU seconds of schedulers and PostgreSQL."""
        return self.reading.cpu.scheduler + self.reading.cpu.postgres

    @property
    def others(self) -> float:
        """Cores that none of these processes used."""
        return max(0.0, self.reading.machine - self.cpu - self.children) / self.reading.at


@dataclass(frozen=True, slots=True)
class Paced:
    """Single submits at random moments, and the worker that completes them: both are one process."""

    used: Used
    tasks: int
    rate: float
    """Submits a second."""
    seconds: list[float]
    """From submit to worker, the least first."""


@dataclass(frozen=True, slots=True)
class Idle:
    """One task after the other on an idle system."""

    used: Used
    p50_ms: float


@dataclass(frozen=True, slots=True)
class Fleet:
    """Idle workers: what their heartbeats used in `resting`, and what all used to connect to a scheduler anew."""

    workers: int
    resting: Used
    connecting: Used
    memory: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What each part of a run used."""

    rest: Used
    phases: Sequence[tuple[Used, Used]]
    """A load and a drain for each of `SHAPES`."""
    paced: Sequence[Paced]
    """One for each of `RATES`."""
    idle: Idle
    fleets: Sequence[Fleet]
    """One for each of `FLEETS`."""
    hello_s: float
    """Seconds of a hello, one after the other: the median."""
    refused: float
    """CPU seconds of a refused connection."""


def cheapest(rounds: Sequence[Measured]) -> Measured:
    """Of each part the cheapest."""
    return Measured(
        rest=_least(one.rest for one in rounds),
        phases=[
            (_least(load for load, _ in same), _least(drain for _, drain in same))
            for same in zip(*(one.phases for one in rounds), strict=True)
        ],
        paced=[min(same, key=lambda one: one.used.cpu) for same in zip(*(one.paced for one in rounds), strict=True)],
        idle=min((one.idle for one in rounds), key=lambda idle: idle.p50_ms),
        fleets=[_cheapest_fleet(same) for same in zip(*(one.fleets for one in rounds), strict=True)],
        hello_s=min(one.hello_s for one in rounds),
        refused=min(one.refused for one in rounds),
    )


def _least(used: Iterable[Used]) -> Used:
    return min(used, key=lambda one: one.cpu + one.children)


def _cheapest_fleet(same: Sequence[Fleet]) -> Fleet:
    return replace(
        min(same, key=lambda one: one.memory),
        resting=_least(one.resting for one in same),
        connecting=_least(one.connecting for one in same),
    )
