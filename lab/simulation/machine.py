"""Discrete events, and stations that take CPU: the cores of a machine, a Python process, PostgreSQL.

The bottom of the simulation. A process yields steps; a step arranges that the process goes on once it is over. simpy
has the same idea, and took six times as long for 20,000 hellos; a fleet of 100,000 workers is simulated many times.
"""

from __future__ import annotations

import heapq
import itertools
import math
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Generic, TypeVar

from lab.benchmarks.stack import Cpu
from scheduler_svc.replica.replica import MAX_GROUP_WEIGHT
from scheduler_svc.runtime.calls import FairQueue
from scheduler_svc.runtime.group_committer import BUSY_GROUP, GROUP_SHARES

R = TypeVar("R")

Call = Callable[[], None]
Step = Callable[[Call], None]
"""Gets what to call once the step is over."""
Process = Generator[Step, None, R]


def ignore() -> None:
    """For a step whose end nobody waits for."""


class Clock:
    """Simulated seconds. What is due at one moment happens in the order in which it was asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Call]] = []
        self._numbers = itertools.count()

    def after(self, seconds: float, call: Call) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._numbers), call))

    def wait(self, seconds: float) -> Step:
        return partial(self.after, seconds)

    def start(self, process: Process[object]) -> None:
        def go_on() -> None:
            if (step := next(process, None)) is not None:
                step(go_on)

        go_on()

    def run(self, until: float = inf) -> None:
        """Lets happen what is due, up to that time or until nothing is."""
        while self._due and self._due[0][0] <= until:
            self.now, _, call = heapq.heappop(self._due)
            call()
        self.now = max(self.now, until) if until < inf else self.now


TICK = 0.01
"""Seconds in which what goes on all the time has its share."""
_NOTHING = 1e-12


class Cores:
    """Cores that jobs share in turns. `used`: CPU seconds by owner."""

    def __init__(self, clock: Clock, count: int) -> None:
        self.used: defaultdict[str, float] = defaultdict(float)
        self._clock = clock
        self._free = count
        self._waiting: deque[tuple[float, str, Call]] = deque()

    def use(self, seconds: float, owner: str) -> Step:
        """Returns a step that takes so much CPU, on one core at a time."""
        return partial(self._put, seconds, owner)

    def load(self, cores: float, owner: str, *, first: bool = False) -> None:
        """Takes so many cores from now on, or less while others want them too. `first`: never less."""
        threads = math.ceil(cores)

        def goes_on(share: float) -> Process[None]:
            while True:
                begin = self._clock.now
                yield partial(self._put, share * TICK, owner, first=first)
                due = begin + TICK if first else self._clock.now + (1 - share) * TICK
                yield self._clock.wait(max(0.0, due - self._clock.now))

        for _ in range(threads):
            self._clock.start(goes_on(cores / threads))

    def _put(self, seconds: float, owner: str, callback: Call, *, first: bool = False) -> None:
        if self._free:
            self._free -= 1
            self._turn(seconds, owner, callback)
        elif first:
            self._waiting.appendleft((seconds, owner, callback))
        else:
            self._waiting.append((seconds, owner, callback))

    def _turn(self, seconds: float, owner: str, callback: Call) -> None:
        slice_s = min(seconds, 0.002)
        self.used[owner] += slice_s
        self._clock.after(slice_s, partial(self._over, seconds - slice_s, owner, callback))

    def _over(self, remaining: float, owner: str, callback: Call) -> None:
        if remaining > _NOTHING:
            self._waiting.append((remaining, owner, callback))
        if self._waiting:
            self._turn(*self._waiting.popleft())
        else:
            self._free += 1
        if remaining <= _NOTHING:
            callback()


class Interpreter:
    """A Python process. Its threads take turns: each has the interpreter for a switch interval, or until it waits."""

    def __init__(self, clock: Clock, cores: Cores | None, owner: str) -> None:
        """Without `cores` it has one for itself."""
        self._clock = clock
        self._cores = cores
        self._owner = owner
        self.used = 0.0
        self._threads: dict[str, deque[tuple[float, Call]]] = {}  # those that want to run, in turn
        self._running = self._ended = False

    def use(self, seconds: float, thread: str = "event loop") -> Step:
        """Returns a step that takes so much CPU of a thread; steps of one thread come one after the other."""
        return partial(self._put, thread, seconds)

    def end(self) -> None:
        """The process is killed: what waits or runs is never done."""
        self._threads.clear()
        self._ended = True

    def _put(self, thread: str, seconds: float, callback: Call) -> None:
        if self._ended:
            return
        self._threads.setdefault(thread, deque()).append((seconds, callback))
        if not self._running:
            self._running = True
            self._turn(thread, sys.getswitchinterval())

    def _turn(self, thread: str, remaining: float) -> None:
        """Runs the first job of the thread, as far as its turn goes."""
        jobs = self._threads[thread]
        seconds, callback = jobs.popleft()
        slice_s = min(seconds, remaining)
        if seconds - slice_s > _NOTHING:
            jobs.appendleft((seconds - slice_s, callback))
            callback = ignore
        self.used += slice_s
        end = partial(self._over, thread, remaining - slice_s, callback)
        if self._cores:
            self._cores.use(slice_s, self._owner)(end)
        else:
            self._clock.after(slice_s, end)

    def _over(self, thread: str, remaining: float, callback: Call) -> None:
        if self._ended:
            return
        callback()
        if self._threads.get(thread):
            if remaining > _NOTHING or len(self._threads) == 1:
                self._turn(thread, remaining if remaining > _NOTHING else sys.getswitchinterval())
                return
            self._threads[thread] = self._threads.pop(thread)  # its turn is over
        else:
            self._threads.pop(thread, None)
        if self._threads:
            self._turn(next(iter(self._threads)), sys.getswitchinterval())
        else:
            self._running = False


# PostgreSQL, with times in which it is away, and group commit: what arrives while a transaction runs is the next. The
# groups are filled by the product's own queue, and it lingers by its rules.


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
