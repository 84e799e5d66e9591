"""What a calibration measured, and the calmest of several.

Part of `lab.simulation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lab.simulation.cell import Reading


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


def calmest(rounds: Sequence[Measured]) -> Measured:
    """Of each part the round in which the host and other processes took the least of the machine.

    Not the cheapest: where they take a core, groups are larger, and a task costs less.
    """
    return Measured(
        rest=_calmest([round_measured.rest for round_measured in rounds]),
        phases=[
            (_calmest([load for load, _ in phase_rounds]), _calmest([drain for _, drain in phase_rounds]))
            for phase_rounds in zip(*(round_measured.phases for round_measured in rounds), strict=True)
        ],
        paced=[
            min(paced_rounds, key=lambda paced: paced.used.others)
            for paced_rounds in zip(*(paced.paced for paced in rounds), strict=True)
        ],
        idle=min((measured.idle for measured in rounds), key=lambda idle: idle.used.others),
        fleets=[
            calmest_fleet(fleet_rounds) for fleet_rounds in zip(*(measured.fleets for measured in rounds), strict=True)
        ],
        hello_s=min(measured.hello_s for measured in rounds),
        refused=min(measured.refused for measured in rounds),
    )


def calmest_fleet(same: Sequence[Fleet]) -> Fleet:
    """The same of turns of one fleet."""
    return replace(
        min(same, key=lambda fleet: fleet.resting.others), connecting=_calmest([fleet.connecting for fleet in same])
    )


def _calmest(used: Sequence[Used]) -> Used:
    return min(used, key=lambda use: use.others)
