"""PostgreSQL: cores, transactions of several round trips, the ready tasks; and times in which it is away.

Part of `lab.simulation`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lab.simulation.clock import Clock, Process, ignore
from lab.simulation.costs import Part
from lab.simulation.machine import Cores, Interpreter

OWNER = "PostgreSQL"


@dataclass(slots=True, eq=False)
class Task:
    """When it was submitted. `assigned` is called with the time at which its worker has it."""

    since: float
    assigned: Callable[[float], None] | None = None
    stored: bool = False
    completed: bool = False


class Database:
    def __init__(self, clock: Clock, cores: Cores) -> None:
        self._clock = clock
        self._cores = cores
        self.away = False
        self.ready: deque[Task] = deque()
        self.stored = 0
        self.completed = 0

    def transaction(
        self, process: Interpreter, thread: str, cost: Part, wait: float, round_trips: int
    ) -> Process[bool]:
        """Runs one for a thread of a process, in so many round trips. `wait`: what it takes beside CPU."""
        for _ in range(round_trips):
            yield process.use(cost.scheduler / round_trips, thread)
            if self.away:
                return False
            yield self._cores.use(cost.postgres / round_trips, OWNER)
        yield self._clock.wait(wait)
        return not self.away

    def use(self, seconds: float) -> None:
        """CPU that nobody waits for."""
        self._cores.use(seconds, OWNER)(ignore)

    def store(self, tasks: list[Task]) -> None:
        """Stores them; a repeated submit changes nothing."""
        new = [task for task in tasks if not task.stored]
        for task in new:
            task.stored = True
        self.stored += len(new)
        self.ready.extend(new)

    def complete(self, tasks: Iterable[Task]) -> None:
        """Stores results; a repeated one changes nothing."""
        for task in tasks:
            self.completed += not task.completed
            task.completed = True

    def take(self, count: int) -> list[Task]:
        """Returns what a claim locks. Others skip it."""
        return [self.ready.popleft() for _ in range(min(count, len(self.ready)))]

    def release(self, tasks: list[Task]) -> None:
        """They were not claimed after all, or their lease has ended."""
        self.ready.extendleft(reversed(tasks))
