"""The explicit-state checker: breadth first over all states, then over their steps for liveness.

It knows nothing of the protocol. A counter-example to a property of single states is a shortest one.
"""

from __future__ import annotations

import gc
from array import array
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from lab.model.liveness import DEADLOCK, LIVELOCK, Steps, first_deadlock, first_livelock

S = TypeVar("S", bound=Hashable)


class Event(NamedTuple):
    """What happens: a name, whose it is (an index, -1 for nobody's), and what distinguishes it from its like."""

    name: str
    who: int = -1
    what: Hashable = None


class Edge(NamedTuple, Generic[S]):
    """One step of a system. A fault's step counts for safety, and never helps liveness."""

    event: Event
    target: S
    fault: bool


class System(Protocol[S]):
    """What can be explored."""

    def initial(self) -> S: ...
    def edges(self, state: S) -> Iterable[Edge[S]]: ...
    def wrong(self, state: S) -> str | None:
        """Returns what is wrong with a state; None where every property holds."""
        ...

    def settled(self, state: S) -> bool:
        """Returns whether all that was asked for is done."""
        ...


@dataclass(frozen=True, slots=True)
class CounterExample(Generic[S]):
    """A property that does not hold, and the steps that lead there, each with the state after it."""

    wrong: str
    steps: Sequence[tuple[Event, S]]


@dataclass(frozen=True, slots=True)
class Exploration(Generic[S]):
    """How far it went; `complete`: every reachable state was walked."""

    states: int
    edges: int
    depth: int
    complete: bool
    counter_example: CounterExample[S] | None


LIMIT = 1_000_000
"""States, each well below a kilobyte."""


def explore(system: System[S], *, depth: int | None = None, limit: int = LIMIT) -> Exploration[S]:
    """Walks all states within `depth` steps of the initial one, or up to about `limit` of them."""
    with _without_collections():
        return _Walk(system, limit).run(depth)


@contextmanager
def _without_collections() -> Iterator[None]:
    """Nothing of a walk is garbage before its end: to look for some among a million states takes longer each time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class _Walk(Generic[S]):
    def __init__(self, system: System[S], limit: int) -> None:
        self._system = system
        self._limit = limit
        self._numbers: dict[S, int] = {}
        self._states: list[S] = []
        self._parents = array("q")
        self._events: list[Event] = []
        self._names: dict[Event, Event] = {}
        self._calm = Steps()
        self._actions: dict[tuple[str, int], int] = {}
        self._edges = 0

    def run(self, depth: int | None) -> Exploration[S]:
        self._found(self._system.initial(), -1, Event("start"))
        begin, level = 0, 0
        while begin < len(self._states) and (depth is None or level < depth) and len(self._states) < self._limit:
            end = len(self._states)
            for source in range(begin, end):
                if (problem := self._system.wrong(self._states[source])) is not None:
                    return self._result(level, False, self._counter_example(source, problem))
                self._expand(source)
            begin, level = end, level + 1
        for source in range(begin, len(self._states)):
            if (problem := self._system.wrong(self._states[source])) is not None:
                return self._result(level, False, self._counter_example(source, problem))
        return self._result(level, begin == len(self._states), self._unsettled(begin))

    def _expand(self, source: int) -> None:
        for event, target, fault in self._system.edges(self._states[source]):
            self._edges += 1
            number = self._found(target, source, event)
            if not fault:
                action = self._actions.setdefault(event[:2], len(self._actions))
                self._calm.add(number, action)
        self._calm.next_state()

    def _found(self, state: S, parent: int, event: Event) -> int:
        number = self._numbers.get(state)
        if number is None:
            number = self._numbers[state] = len(self._states)
            self._states.append(state)
            self._parents.append(parent)
            self._events.append(self._names.setdefault(event, event))
        return number

    def _unsettled(self, not_expanded: int) -> CounterExample[S] | None:
        """Returns what keeps a run from being settled at last. What was not expanded is not judged."""
        pairs = enumerate(self._states)
        done = bytearray(number >= not_expanded or self._system.settled(state) for number, state in pairs)
        for _ in range(not_expanded, len(done)):
            self._calm.next_state()
        predecessors = self._calm.reversed()
        if (deadlock := first_deadlock(predecessors, done)) is not None:
            return self._counter_example(deadlock, DEADLOCK)
        livelock = first_livelock(self._calm, predecessors, done)
        return None if livelock is None else self._counter_example(livelock, LIVELOCK)

    def _counter_example(self, number: int, problem: str) -> CounterExample[S]:
        steps = []
        while number > 0:
            steps.append((self._events[number], self._states[number]))
            number = self._parents[number]
        return CounterExample(problem, steps[::-1])

    def _result(self, depth: int, complete: bool, example: CounterExample[S] | None) -> Exploration[S]:
        return Exploration(len(self._states), self._edges, depth, complete, example)
