"""PostgreSQL, with times in which it is away, and group commit: what arrives while a transaction runs is the next.

The groups are filled by the product's own queue, and it lingers by its rules.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from lab.benchmarks.stack import Cpu
from lab.simulation.machine import Clock, Cores, Interpreter, Process, ignore
from scheduler_svc.replica.replica import MAX_GROUP_WEIGHT
from scheduler_svc.runtime.calls import FairQueue
from scheduler_svc.runtime.group_committer import BUSY_GROUP, GROUP_SHARES

OWNER = "PostgreSQL"
ROUND_TRIPS = 2
"""Of a transaction; the product has up to four, in which other threads of the process run."""


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

    def transaction(self, process: Interpreter, thread: str, cost: Cpu, wait: float) -> Process[bool]:
        """Runs one for a thread of a process. `wait`: what it takes beside CPU."""
        for _ in range(ROUND_TRIPS):
            yield process.use(cost.scheduler / ROUND_TRIPS, thread)
            if self.away:
                return False
            yield self._cores.use(cost.postgres / ROUND_TRIPS, OWNER)
        yield self._clock.wait(wait)
        return not self.away

    def use(self, seconds: float) -> None:
        """Uses CPU that nobody waits for."""
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


T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Entry(Generic[T]):
    """An item that waits for its transaction. `answered` gets whether it was committed."""

    item: T
    weight: int
    since: float
    answered: Callable[[bool], None]
    after_commit: Callable[[], Process[None]] | None = None


class GroupLane(Generic[T]):
    """One transaction at a time. `commit` runs one for these items and returns whether it was committed."""

    def __init__(self, clock: Clock, commit: Callable[[list[T]], Process[bool]], linger: float = 0.0) -> None:
        self._clock = clock
        self._commit = commit
        self._linger = linger
        self._queue: FairQueue[Entry[T]] = FairQueue(
            max_weight=MAX_GROUP_WEIGHT, share=max(1, MAX_GROUP_WEIGHT // GROUP_SHARES)
        )
        self._busy = False
        self.waiting = 0

    def put(self, entry: Entry[T], caller: str = "") -> None:
        self.waiting += 1
        self._queue.put(caller, entry)
        if not self._busy:
            self._busy = True
            self._clock.start(self._serve())

    def _serve(self) -> Process[None]:
        while True:
            group, _ = self._queue.take(0.0)
            if not group:
                self._busy = False
                return
            committed = yield from self._commit([entry.item for entry in group])
            self.waiting -= len(group)
            for entry in group:
                entry.answered(committed)
            for entry in group:
                if entry.after_commit:
                    yield from entry.after_commit()
            is_small = sum(entry.weight for entry in group) < MAX_GROUP_WEIGHT // 10
            if self._linger and len(group) >= BUSY_GROUP and is_small:
                yield self._clock.wait(self._linger)
