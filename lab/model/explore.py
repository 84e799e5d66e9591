"""The explicit-state checker: breadth first over all states, then over their steps for liveness.

It knows nothing of the protocol. A counter-example to a property of single states is a shortest one.

Faults are finite in number, so from some time on a run has none. Two things may still be wrong with it: it may have
got where no step leads on to the end any more; or it may go round for ever though the end is always within reach. A
run of the second kind counts only if it is weakly fair: no action may stay possible for good and never be taken.
"""

from __future__ import annotations

import gc
import pickle
from array import array
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

T = TypeVar("T")
A = TypeVar("A")


# Parts of a model's state as small numbers, so that a whole state is a short tuple of integers. A part is an object of
# the production code, or holds some. It is copied before it is changed, and found again by what is in it; so a step of
# a part is computed once, however many whole states it occurs in.


def freeze(value: Any) -> Hashable:
    """Returns what is in `value`, hashable. Mappings keep their order, which the production code relies on."""
    if isinstance(value, (int, float, str, Enum, datetime, type(None))):
        return value
    if isinstance(value, dict):
        return tuple((freeze(key), freeze(item)) for key, item in value.items())
    if isinstance(value, (set, frozenset)):
        return tuple(sorted(value))
    if isinstance(value, (list, tuple, deque)):
        return tuple(map(freeze, value))
    if is_dataclass(value):
        return tuple(freeze(getattr(value, field.name)) for field in fields(value))
    return tuple(freeze(item) for item in vars(value).values())


class RolledBack(Exception):
    """A change is given up: nothing of it counts."""


class Parts(Generic[T]):
    """All values that one kind of part has had, each under its number."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._values: list[T] = []
        self._copies: list[bytes] = []
        self._steps: dict[Hashable, tuple[int, Any]] = {}

    def __getitem__(self, number: int) -> T:
        return self._values[number]

    def __iter__(self) -> Iterator[T]:
        return iter(self._values)

    def number(self, value: T) -> int:
        """Returns the number of a value, which is not to be changed any more."""
        number = self._numbers.setdefault(freeze(value), len(self._values))
        if number == len(self._values):
            self._values.append(value)
            self._copies.append(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
        return number

    def copy(self, number: int) -> T:
        return cast(T, pickle.loads(self._copies[number]))  # noqa: S301 - our own, and much faster than a deep copy

    def step(self, number: int, name: Hashable, change: Callable[[T], A]) -> tuple[int, A]:
        """Returns the number after `change`, and what it returned; `name` stands for it, with all that it depends on.

        A change that is rolled back leaves the number as it was, and returns None.
        """
        if (number, name) not in self._steps:
            value = self.copy(number)
            try:
                answer = change(value)
                self._steps[number, name] = self.number(value), answer
            except RolledBack:
                self._steps[number, name] = number, None
        return self._steps[number, name]


DEADLOCK = "from here only a fault leads to a state in which every task has ended and every result is settled"
LIVELOCK = "from here it may loop for ever, although whatever stays possible happens at last"


class Steps:
    """Steps between numbered states, state after state, in flat arrays; each with the number of its action."""

    def __init__(self) -> None:
        self._begins = array("q", [0])
        self._targets = array("q")
        self._actions = bytearray()

    def add(self, target: int, action: int) -> None:
        """Adds one more step from the state whose turn it is; `action` is less than 256."""
        self._targets.append(target)
        self._actions.append(action)

    def next_state(self) -> None:
        """Begins the next state: all steps from this one are there."""
        self._begins.append(len(self._targets))

    def of(self, source: int) -> Iterator[tuple[int, int]]:
        """Yields the target and the action of each step from a state."""
        begin, end = self._begins[source : source + 2]
        return zip(self._targets[begin:end], self._actions[begin:end], strict=True)

    def targets(self, source: int) -> array[int]:
        begin, end = self._begins[source : source + 2]
        return self._targets[begin:end]

    def reversed(self) -> Steps:
        """Returns the same steps the other way about, without their actions."""
        states = len(self._begins) - 1
        begins = array("q", bytes(8 * (states + 1)))
        for target in self._targets:
            begins[target + 1] += 1
        for number in range(states):
            begins[number + 1] += begins[number]
        reverse, place = Steps(), begins[:]
        reverse._begins, reverse._targets = begins, array("q", bytes(8 * len(self._targets)))
        for source in range(states):
            for target in self.targets(source):
                reverse._targets[place[target]] = source
                place[target] += 1
        return reverse


def first_deadlock(before: Steps, done: bytearray) -> int | None:
    """Returns the first state from which no steps lead to one that is done; `before` has the steps the other way."""
    reached = done[:]
    todo = [number for number, is_done in enumerate(done) if is_done]
    while todo:
        for source in before.targets(todo.pop()):
            if not reached[source]:
                reached[source] = 1
                todo.append(source)
    first = reached.find(0)
    return None if first < 0 else first


def first_livelock(steps: Steps, before: Steps, done: bytearray) -> int | None:
    """Returns the first of the states between which a weakly fair run may go round for ever, none of them done.

    A run stays in the end within one strongly connected component. It is fair there exactly if each action that is
    possible in all the states of it is also taken between them; then so is the run that takes all steps in turn.
    """
    rounds = (min(component) for component in _components(steps, before, done) if _is_fair(steps, component))
    return min(rounds, default=None)


def _is_fair(steps: Steps, component: Sequence[int]) -> bool:
    inside = set(component)
    always, actions = -1, 0
    for state in component:
        possible = 0
        for target, action in steps.of(state):
            possible |= 1 << action
            if target in inside:
                actions |= 1 << action
        always &= possible
    return not always & ~actions


def _components(steps: Steps, before: Steps, done: bytearray) -> Iterator[list[int]]:
    """Yields the strongly connected components of the states that are not done (Kosaraju's)."""
    visited = done[:]
    for root in reversed(_post_order(steps, done)):
        if visited[root]:
            continue
        visited[root] = 1
        component = [root]
        for state in component:
            for source in before.targets(state):
                if not visited[source]:
                    visited[source] = 1
                    component.append(source)
        yield component


def _post_order(steps: Steps, done: bytearray) -> array[int]:
    """Returns the states that are not done, each after all that it leads to first (but for what leads back to it)."""
    visited, order = done[:], array("q")
    for root in range(len(done)):
        if visited[root]:
            continue
        visited[root] = 1
        path = [(root, iter(steps.targets(root)))]
        while path:
            state, targets = path[-1]
            following = next((target for target in targets if not visited[target]), None)
            if following is None:
                path.pop()
                order.append(state)
            else:
                visited[following] = 1
                path.append((following, iter(steps.targets(following))))
    return order


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
    def initial(self) -> S: ...
    def edges(self, state: S) -> Iterable[Edge[S]]: ...
    def wrong(self, state: S) -> str | None:
        """Returns what is wrong with a state; None where every property holds."""
        ...

    def settled(self, state: S) -> bool: ...


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
    gc.disable()  # nothing of a walk is garbage before its end, and a look at a million states takes longer each time
    try:
        return _Walk(system, limit).run(depth)
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
        self._wrong: CounterExample[S] | None = None
        """Of the first state that is found to be wrong."""

    def run(self, depth: int | None) -> Exploration[S]:
        self._number(self._system.initial(), -1, Event("start"))
        begin, level = 0, 0
        while begin < len(self._states) and (depth is None or level < depth) and len(self._states) < self._limit:
            end = len(self._states)
            level += 1
            for source in range(begin, end):
                self._expand(source)
                if self._wrong is not None:
                    return self._result(level, False, self._wrong)
            begin = end
        return self._result(level, begin == len(self._states), self._wrong or self._unsettled(begin))

    def _expand(self, source: int) -> None:
        for event, target, fault in self._system.edges(self._states[source]):
            self._edges += 1
            number = self._number(target, source, event)
            if not fault:
                action = self._actions.setdefault(event[:2], len(self._actions))
                self._calm.add(number, action)
        self._calm.next_state()

    def _number(self, state: S, parent: int, event: Event) -> int:
        number = self._numbers.get(state)
        if number is None:
            number = self._numbers[state] = len(self._states)
            self._states.append(state)
            self._parents.append(parent)
            self._events.append(self._names.setdefault(event, event))
            if self._wrong is None and (problem := self._system.wrong(state)) is not None:
                self._wrong = self._counter_example(number, problem)
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
