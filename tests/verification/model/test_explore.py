"""The checker itself, on systems whose states are numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from verification.model.explore import Edge, Event, explore
from verification.model.liveness import DEADLOCK, LIVELOCK


class Numbers:
    """Steps from number to number, an action for each target; those in `faults` are faults.

    It starts at 0, and is settled at 9.
    """

    def __init__(self, steps: Mapping[int, list[int]], faults: Mapping[int, list[int]], wrong: int = -1) -> None:
        self._steps = steps
        self._faults = faults
        self._wrong = wrong

    def initial(self) -> int:
        return 0

    def edges(self, state: int) -> Iterator[Edge[int]]:
        for target in self._steps.get(state, []):
            yield Edge(Event("step", target), target, False)
        for target in self._faults.get(state, []):
            yield Edge(Event("fault", target), target, True)

    def wrong(self, state: int) -> str | None:
        return "wrong" if state == self._wrong else None

    def settled(self, state: int) -> bool:
        return state == 9


def test_exploring_reaches_every_reachable_state() -> None:
    result = explore(Numbers({0: [1, 2], 1: [9], 2: [2, 9], 7: [8]}, {}))
    assert (result.states, result.edges, result.complete, result.counter_example) == (4, 5, True, None)


def test_a_counter_example_is_a_shortest_one_over_faults_too() -> None:
    counter_example = explore(Numbers({0: [1], 1: [2], 2: [5], 5: [9]}, {1: [5]}, wrong=5)).counter_example
    assert counter_example is not None
    assert [state for _, state in counter_example.steps] == [1, 5]
    assert [event.name for event, _ in counter_example.steps] == ["step", "fault"]


def test_states_that_only_a_fault_leaves_are_stuck() -> None:
    counter_example = explore(Numbers({0: [1, 9], 1: [2], 2: [1]}, {2: [9]})).counter_example
    assert counter_example is not None
    assert (counter_example.wrong, [state for _, state in counter_example.steps]) == (DEADLOCK, [1])


def test_going_round_for_ever_is_wrong_where_the_way_out_is_not_always_there() -> None:
    counter_example = explore(Numbers({0: [1], 1: [2], 2: [3], 3: [1, 9]}, {})).counter_example
    assert counter_example is not None
    assert (counter_example.wrong, [state for _, state in counter_example.steps]) == (LIVELOCK, [1])


def test_going_round_for_ever_is_unfair_where_something_else_stays_possible() -> None:
    assert explore(Numbers({0: [1], 1: [2, 9], 2: [1, 9]}, {})).counter_example is None
    assert explore(Numbers({0: [0, 9]}, {})).counter_example is None


def test_rounds_within_rounds_are_one() -> None:
    steps = {0: [1, 5], 1: [2], 2: [1, 3], 3: [0], 5: [0]}
    counter_example = explore(Numbers(steps | {3: [0, 9]}, {})).counter_example
    assert counter_example is not None
    assert (counter_example.wrong, counter_example.steps) == (LIVELOCK, [])
    assert explore(Numbers({source: [*targets, 9] for source, targets in steps.items()}, {})).counter_example is None


def test_a_fault_is_no_way_round() -> None:
    assert explore(Numbers({0: [1], 1: [9]}, {1: [0]})).counter_example is None


def test_states_beyond_the_bound_are_not_judged() -> None:
    stuck = Numbers({0: [1], 1: [2], 2: [3], 3: [3]}, {})
    assert explore(stuck, depth=2).counter_example is None
    assert not explore(stuck, depth=2).complete
    assert explore(stuck, limit=2).counter_example is None
    assert explore(stuck).counter_example is not None


def test_a_wrong_state_at_the_bound_is_found() -> None:
    result = explore(Numbers({0: [1], 1: [2]}, {}, wrong=2), depth=2)
    assert result.counter_example is not None
