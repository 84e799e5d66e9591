"""A cell with workers that run tasks, and clients that submit about as many as these can take.

Part of `lab.simulation`, used by `scenarios`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from lab.simulation.clients import Arrivals
from lab.simulation.clock import Clock
from lab.simulation.costs import Costs
from lab.simulation.database import OWNER, Task
from lab.simulation.fleet import RunningWorker
from lab.simulation.system import SimulatedCell

RAMP_S = 60.0
"""In which a fleet connects, and takes its first tasks, before anything is looked at."""
LOAD = 0.8
"""Of the workers' slots."""
BATCH = 10
"""Tasks in a call of the clients."""
STEP_S = 0.5


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of the scenarios: how many, and seconds."""

    workers: int
    slots: int
    seconds: float
    schedulers: tuple[int, ...]
    behind: tuple[int, ...]
    cores: tuple[int, ...]
    fleets: tuple[int, ...]
    cells: int
    outages: tuple[float, ...]
    down: float
    restart: float
    moved_after: float


@dataclass(frozen=True, slots=True)
class Load:
    """Done and used so far: CPU seconds of the scheduler that used most, and of PostgreSQL."""

    completed: int
    scheduler: float
    postgres: float
    claims: int

    def __sub__(self, other: Load) -> Load:
        return Load(
            self.completed - other.completed,
            self.scheduler - other.scheduler,
            self.postgres - other.postgres,
            self.claims - other.claims,
        )


class LoadedCell:
    def __init__(
        self,
        costs: Costs,
        sizes: Sizes,
        workers: int,
        schedulers: int,
        cores: int = 8,
        *,
        clock: Clock | None = None,
    ) -> None:
        """`cores` are PostgreSQL's."""
        self.sizes = sizes
        self.cell = SimulatedCell(costs, clock=clock, cores=cores, schedulers=schedulers, shared=False)
        self.clock = self.cell.clock
        surroundings = self.cell.around()
        self.workers = [
            RunningWorker(surroundings, self.cell.addresses, number, sizes.slots, sizes.seconds)
            for number in range(workers)
        ]
        for worker in self.workers:
            self.clock.after(random.uniform(0, RAMP_S / 2), worker.connect)
        self.clock.after(RAMP_S / 2, lambda: self.cell.database.store(self._first(LOAD * workers * sizes.slots)))
        self.rate = LOAD * workers * sizes.slots / sizes.seconds
        self.arrivals = Arrivals(surroundings, self.cell.addresses, self.rate, batch=BATCH)

    def _first(self, count: float) -> list[Task]:
        """So many tasks, with which the workers are as busy as they will be."""
        return [Task(self.clock.now) for _ in range(round(count))]

    @property
    def connected(self) -> int:
        return sum(worker.session is not None for worker in self.workers)

    @property
    def held(self) -> int:
        """Leases of all workers."""
        return sum(worker.held for worker in self.workers)

    @property
    def stopped(self) -> int:
        """Runs that were stopped because their leases could not be renewed."""
        return sum(worker.stopped for worker in self.workers)

    @property
    def hellos(self) -> int:
        return sum(worker.hellos for worker in self.workers)

    def load(self) -> Load:
        peers = self.cell.peers
        maximum = max((peer.process.used for peer in peers), default=0.0)
        return Load(
            self.cell.database.completed, maximum, self.cell.cores.used[OWNER], sum(peer.claims for peer in peers)
        )

    def latency(self) -> float:
        """Returns the seconds from submit to worker: the median of the later half; -1 if none arrived."""
        later = sorted(self.arrivals.latencies[len(self.arrivals.latencies) // 2 :])
        return later[len(later) // 2] if later else -1.0

    def kill(self, number: int) -> None:
        """Kill -9 of a scheduler."""
        if scheduler := self.cell.addresses[number].scheduler:
            scheduler.kill()

    def kill_all(self) -> None:
        for number in range(len(self.cell.addresses)):
            self.kill(number)

    def start_all(self) -> None:
        for address in self.cell.addresses:
            self.cell.start(address)

    def vanish(self) -> None:
        """All of it is lost, its workers excepted."""
        self.cell.database.away = True
        self.kill_all()

    def come_back(self) -> None:
        self.cell.database.away = False
        self.start_all()

    def send_clients_to(self, others: Sequence[LoadedCell]) -> None:
        """From now on its clients submit to these, in turn. What it stored stays its own."""
        self.arrivals.addresses = [address for cell in others for address in cell.cell.addresses]

    def settle(self, until: float) -> None:
        """Runs until all workers are connected, and a heartbeat longer."""
        while self.connected < len(self.workers) and self.clock.now < until:
            self.clock.run(self.clock.now + STEP_S)
        self.clock.run(self.clock.now + 10)
