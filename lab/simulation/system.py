"""A simulated cell: PostgreSQL and schedulers, on one machine or on machines of their own.

Part of `lab.simulation`.
"""

from __future__ import annotations

from lab.simulation.clock import Clock
from lab.simulation.costs import Costs
from lab.simulation.database import OWNER, Database
from lab.simulation.fleet import Address, Surroundings
from lab.simulation.machine import Cores, Interpreter
from lab.simulation.scheduler import Scheduler

OTHERS = "others"


class SimulatedCell:
    """Its schedulers run on PostgreSQL's machine if `shared`, else each has a core of its own."""

    def __init__(
        self,
        costs: Costs,
        *,
        clock: Clock | None = None,
        cores: int = 2,
        schedulers: int = 1,
        shared: bool = True,
        yielding: bool = False,
    ) -> None:
        """`yielding`: the machine's other processes are nice, and have what the cell leaves."""
        self.clock = clock or Clock()
        self.costs = costs
        self.cores = Cores(self.clock, cores)
        self.database = Database(self.clock, self.cores)
        self.peers: list[Scheduler] = []
        self.addresses = [Address() for _ in range(schedulers)]
        self._shared = shared
        self._started = 0
        for address in self.addresses:
            self.start(address)
        self.cores.load(costs.rest.postgres, OWNER)
        if shared and not yielding:
            self.cores.load(costs.others, OTHERS, first=True)

    def start(self, address: Address) -> None:
        """Starts a scheduler at this address."""
        self._started += 1
        cores = self.cores if self._shared else None
        name = f"scheduler {self._started}"
        address.scheduler = Scheduler(self.clock, cores, self.database, self.costs, name=name, peers=self.peers)

    def around(self, process: str = "") -> Surroundings:
        """Returns what workers and clients need. `process`: they run in one of this name, on the cell's machine."""
        interpreter = Interpreter(self.clock, self.cores, process) if process else None
        return Surroundings(self.clock, self.costs, self.database, interpreter)

    def used(self) -> tuple[float, float]:
        """Returns the CPU seconds of the schedulers and of PostgreSQL so far, if they share a machine."""
        schedulers = sum(seconds for owner, seconds in self.cores.used.items() if owner.startswith("scheduler"))
        return schedulers, self.cores.used[OWNER]
