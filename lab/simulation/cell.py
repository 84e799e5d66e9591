"""The real system that is measured: a PostgreSQL of its own, and schedulers on it that can be killed and restarted.

`calibration` and `check` measure on it what the simulation takes and is compared with; what they hold is here, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import psutil

from lab.benchmarks.stack import START_LIMIT, STOP_LIMIT, Cpu, Stack, scheduler, used_by
from scheduler_svc.postgres import EmbeddedPostgres
from tests.harness.scrape import Scrape

LANES = ("submits", "reports", "claims")


@dataclass(frozen=True, slots=True)
class Groups:
    """Transactions of a lane: how many, of how many items, and the seconds that they took."""

    count: float
    items: float
    seconds: float

    def __sub__(self, other: Groups) -> Groups:
        return Groups(self.count - other.count, self.items - other.items, self.seconds - other.seconds)


@dataclass(frozen=True, slots=True)
class Reading:
    """What was used and done until a moment: CPU, groups by lane, bytes of WAL, and all CPU seconds of the machine."""

    at: float
    cpu: Cpu
    groups: dict[str, Groups]
    wal: float
    machine: float

    def __sub__(self, other: Reading) -> Reading:
        groups = {lane: self.groups[lane] - other.groups[lane] for lane in LANES}
        return Reading(
            self.at - other.at, self.cpu - other.cpu, groups, self.wal - other.wal, self.machine - other.machine
        )


class Cell(Stack):
    """Entering it starts PostgreSQL and the schedulers. The first one answers `target`."""

    def __init__(self, folder: Path, accounts: int = 4, schedulers: int = 1) -> None:
        super().__init__(folder, accounts, metrics_listen="127.0.0.1:0")
        self._postgres = EmbeddedPostgres(folder / "data" / "postgres")
        names = [f"scheduler-{number}" for number in range(1, schedulers)]
        self._more = [scheduler(name, folder, self._scheduler.environment) for name in names]
        self.targets: list[str] = []

    async def __aenter__(self) -> Self:
        self._postgres.start()  # the schedulers use it, because it runs on their data folder
        await super().__aenter__()
        try:
            addresses = [service.launch().wait_for("ready", within=START_LIMIT)["listen"] for service in self._more]
        except BaseException:
            await self.__aexit__()
            raise
        self.targets = [self.target, *addresses]
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            for service in (self._scheduler, *self._more):
                if service.alive:
                    service.stop(STOP_LIMIT)
        finally:
            self._postgres.stop()

    def cpu(self) -> Cpu:
        pids = [service.pid for service in (self._scheduler, *self._more) if service.alive]
        schedulers = sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)
        postmaster = psutil.Process(self._postgres.pid)
        return Cpu(schedulers, used_by([postmaster, *postmaster.children(recursive=True)]))

    def reading(self) -> Reading:
        scrape = Scrape(self._scheduler.metrics_port)
        names = ("items_count", "items_sum", "seconds_sum")
        groups = {
            lane: Groups(*(scrape(f"contentgen_lane_group_{name}", lane=lane) for name in names)) for lane in LANES
        }
        return Reading(time.monotonic(), self.cpu(), groups, self.wal(), _busy())

    def kill(self) -> None:
        self._scheduler.kill()

    async def restart(self) -> None:
        """Starts it again, on the same address; returns once it serves."""
        self._scheduler.launch(CONTENTGEN_LISTEN=self.target)
        await asyncio.to_thread(self._scheduler.wait_for, "ready", within=START_LIMIT)


def _busy() -> float:
    """Returns the CPU seconds of the whole machine, what its host took from it included."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


@dataclass(frozen=True, slots=True)
class Used:
    """What a phase used: the readings' difference, and CPU seconds of the client or the workers."""

    reading: Reading
    children: float

    @property
    def cpu(self) -> float:
        return self.reading.cpu.total

    @property
    def others(self) -> float:
        return max(0.0, self.reading.machine - self.cpu - self.children) / self.reading.at


@dataclass(frozen=True, slots=True)
class Paced:
    """Single submits at random moments, and the worker that completes them: both are one process."""

    used: Used
    tasks: int
    rate: float
    seconds: list[float]
    """From submit to worker, the least first."""


@dataclass(frozen=True, slots=True)
class Idle:
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
    """Returns of each part the round in which the host and other processes took the least of the machine.

    Not the cheapest: where they take a core, groups are larger, and a task costs less.
    """
    phases = zip(*(measured.phases for measured in rounds), strict=True)
    paced = zip(*(measured.paced for measured in rounds), strict=True)
    fleets = zip(*(measured.fleets for measured in rounds), strict=True)
    return Measured(
        rest=_calmest([measured.rest for measured in rounds]),
        phases=[(_calmest([load for load, _ in same]), _calmest([drain for _, drain in same])) for same in phases],
        paced=[min(same, key=lambda paced: paced.used.others) for same in paced],
        idle=min((measured.idle for measured in rounds), key=lambda idle: idle.used.others),
        fleets=list(map(calmest_fleet, fleets)),
        hello_s=min(measured.hello_s for measured in rounds),
        refused=min(measured.refused for measured in rounds),
    )


def calmest_fleet(same: Sequence[Fleet]) -> Fleet:
    """Returns the same of turns of one fleet."""
    return replace(
        min(same, key=lambda fleet: fleet.resting.others), connecting=_calmest([fleet.connecting for fleet in same])
    )


def _calmest(used: Sequence[Used]) -> Used:
    return min(used, key=lambda use: use.others)
