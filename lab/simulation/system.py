"""A simulated cell: PostgreSQL and schedulers, on one machine or on machines of their own; idle, or under load."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from lab.benchmarks.command import size
from lab.simulation.costs import Costs
from lab.simulation.fleet import Address, Arrivals, RunningWorker, Surroundings
from lab.simulation.machine import OWNER, Clock, Cores, Database, Interpreter, Task
from lab.simulation.scheduler import Scheduler

OTHERS = "others"


class SimulatedCell:
    """Its schedulers run on PostgreSQL's machine if `shared`, else each has a core of its own."""

    def __init__(
        self, costs: Costs, *, clock: Clock | None = None, cores: int = 2, schedulers: int = 1, shared: bool = True
    ) -> None:
        self.clock = clock or Clock()
        self.costs = costs
        self.cores = Cores(self.clock, cores)
        self.database = Database(self.clock, self.cores)
        self.peers: list[Scheduler] = []
        self.addresses = [Address() for _ in range(schedulers)]
        self._shared = shared
        self._started = 0
        self.start_all()
        self.cores.load(costs.rest.postgres, OWNER)
        if shared:
            self.cores.load(costs.others, OTHERS, first=True)

    def start(self, address: Address) -> None:
        self._started += 1
        cores = self.cores if self._shared else None
        name = f"scheduler {self._started}"
        address.scheduler = Scheduler(self.clock, cores, self.database, self.costs, name=name, peers=self.peers)

    def start_all(self) -> None:
        for address in self.addresses:
            self.start(address)

    def around(self, process: str = "") -> Surroundings:
        """Returns what workers and clients need. `process`: they run in one of this name, on the cell's machine."""
        interpreter = Interpreter(self.clock, self.cores, process) if process else None
        return Surroundings(self.clock, self.costs, self.database, interpreter)

    def used(self) -> tuple[float, float]:
        """Returns the CPU seconds of the schedulers and of PostgreSQL so far, if they share a machine."""
        schedulers = sum(seconds for owner, seconds in self.cores.used.items() if owner.startswith("scheduler"))
        return schedulers, self.cores.used[OWNER]


RAMP_S = 60.0
"""In which a fleet connects, and takes its first tasks, before anything is looked at."""
LOAD = 0.8
"""Of the workers' slots."""
BATCH = 10
"""Tasks in a call of the clients."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of the scenarios: how many, and seconds."""

    workers: int = size(100_000, "workers of fleet, and of all cells together")
    slots: int = size(3, "slots of a worker")
    seconds: float = size(180.0, "that a task runs, on average")
    schedulers: tuple[int, ...] = size((20, 30), "of fleet, by comma")
    behind: tuple[int, ...] = size((1, 2, 4), "schedulers of storm, by comma")
    cores: tuple[int, ...] = size((16,), "of PostgreSQL, by comma: of fleet")
    fleets: tuple[int, ...] = size((1000, 5000), "workers of storm, by comma")
    cells: int = size(100, "how many cells")
    outages: tuple[float, ...] = size((60.0,), "seconds that a cell is lost, by comma")
    down: float = size(30.0, "seconds that PostgreSQL fails over in storm")
    restart: float = size(3.0, "seconds that schedulers take to restart in storm")
    moved_after: float = size(30.0, "seconds after which clients leave a lost cell")


@dataclass(frozen=True, slots=True)
class Load:
    """Done and used so far: CPU seconds of the scheduler that used most, and of PostgreSQL."""

    completed: int
    scheduler: float
    postgres: float
    claims: int

    def __sub__(self, other: Load) -> Load:
        return Load(
            completed=self.completed - other.completed,
            scheduler=self.scheduler - other.scheduler,
            postgres=self.postgres - other.postgres,
            claims=self.claims - other.claims,
        )


class LoadedCell(SimulatedCell):
    def __init__(
        self, costs: Costs, sizes: Sizes, workers: int, schedulers: int, cores: int = 8, *, clock: Clock | None = None
    ) -> None:
        """`cores` are PostgreSQL's."""
        super().__init__(costs, clock=clock, cores=cores, schedulers=schedulers, shared=False)
        self.sizes = sizes
        surroundings = self.around()
        self.workers = [
            RunningWorker(surroundings, self.addresses, number, sizes.slots, sizes.seconds) for number in range(workers)
        ]
        for worker in self.workers:
            self.clock.after(random.uniform(0, RAMP_S / 2), worker.connect)
        busy = LOAD * workers * sizes.slots
        self.clock.after(RAMP_S / 2, lambda: self.database.store([Task(self.clock.now) for _ in range(round(busy))]))
        self.rate = busy / sizes.seconds
        self.arrivals = Arrivals(surroundings, self.addresses, self.rate, batch=BATCH)

    @property
    def connected(self) -> int:
        return sum(worker.session is not None for worker in self.workers)

    @property
    def held(self) -> int:
        return sum(worker.held for worker in self.workers)

    @property
    def stopped(self) -> int:
        """Runs that were stopped because their leases could not be renewed."""
        return sum(worker.stopped for worker in self.workers)

    @property
    def hellos(self) -> int:
        return sum(worker.hellos for worker in self.workers)

    def load(self) -> Load:
        maximum = max((peer.process.used for peer in self.peers), default=0.0)
        claims = sum(peer.claims for peer in self.peers)
        return Load(self.database.completed, maximum, self.cores.used[OWNER], claims)

    def latency(self) -> float:
        """Returns the seconds from submit to worker: the median of the later half; -1 if none arrived."""
        later = sorted(self.arrivals.latencies[len(self.arrivals.latencies) // 2 :])
        return later[len(later) // 2] if later else -1.0

    def kill(self, number: int) -> None:
        if scheduler := self.addresses[number].scheduler:
            scheduler.kill()

    def kill_all(self) -> None:
        for number in range(len(self.addresses)):
            self.kill(number)

    def vanish(self) -> None:
        self.database.away = True
        self.kill_all()

    def come_back(self) -> None:
        self.database.away = False
        self.start_all()

    def send_clients_to(self, others: Sequence[LoadedCell]) -> None:
        """From now on its clients submit to these, in turn. What it stored stays its own."""
        self.arrivals.addresses = [address for cell in others for address in cell.addresses]

    def settle(self, until: float) -> None:
        """Runs until all workers are connected, and a heartbeat longer."""
        while self.connected < len(self.workers) and self.clock.now < until:
            self.clock.run(self.clock.now + 0.5)
        self.clock.run(self.clock.now + 10)
