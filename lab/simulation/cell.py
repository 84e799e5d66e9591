"""The real system that is measured: a PostgreSQL of its own, and schedulers on it that can be killed and restarted.

Part of `lab.simulation`: `calibration` and `check` measure on it what the simulation takes and is compared with.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from lab.benchmarks.stack import START_LIMIT, STOP_LIMIT, Cpu, Stack, scheduler, used_by
from scheduler_svc.postgres import EmbeddedPostgres
from tests.harness.process import Service
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
        self._more = [self._another(number) for number in range(1, schedulers)]
        self.targets: list[str] = []

    def _another(self, number: int) -> Service:
        return scheduler(f"scheduler-{number}", self.folder, self._scheduler.environment)

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
        """Returns what all schedulers, and what all of PostgreSQL's processes have used so far."""
        pids = [service.pid for service in (self._scheduler, *self._more) if service.alive]
        schedulers = sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)
        postmaster = psutil.Process(self._postgres.pid)
        return Cpu(schedulers, used_by([postmaster, *postmaster.children(recursive=True)]))

    def reading(self) -> Reading:
        """Returns what was used and done so far, by the first scheduler's lanes."""
        port = int(self._scheduler.events("ready")[0]["metrics_listen"].rpartition(":")[2])
        scrape = Scrape(port)
        groups = {lane: _groups(scrape, lane) for lane in LANES}
        return Reading(time.monotonic(), self.cpu(), groups, self.wal(), _busy())

    def kill(self) -> None:
        """Kill -9 of the first scheduler."""
        self._scheduler.kill()

    async def restart(self) -> None:
        """Starts it again, on the same address; returns once it serves."""
        self._scheduler.launch(CONTENTGEN_LISTEN=self.target)
        await asyncio.to_thread(self._scheduler.wait_for, "ready", within=START_LIMIT)


def _groups(scrape: Scrape, lane: str) -> Groups:
    count = scrape("contentgen_lane_group_items_count", lane=lane)
    items = scrape("contentgen_lane_group_items_sum", lane=lane)
    return Groups(count, items, scrape("contentgen_lane_group_seconds_sum", lane=lane))


def _busy() -> float:
    """Returns the CPU seconds of the whole machine, what its host took from it included."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)
