"""Whether all that was asked for is done at last, over the steps that are no faults.

Faults are finite in number, so from some time on a run has none. Two things may still be wrong with it: it may have
got where no step leads on to the end any more; or it may go round for ever though the end is always within reach. A
run of the second kind counts only if it is weakly fair: no action may stay possible for good and never be taken.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

DEADLOCK = "from here only a fault leads to a state in which every task has ended and every result is settled"
LIVELOCK = "from here it may loop for ever, although whatever stays possible happens at last"


class Steps:
    """Steps between numbered states, state after state, in flat arrays; each with the number of its action."""

    def __init__(self) -> None:
        self._begins = array("q", [0])
        self._targets = array("q")
        self._actions = bytearray()

    def add(self, target: int, action: int) -> None:
        """One more step from the state whose turn it is; `action` is less than 256."""
        self._targets.append(target)
        self._actions.append(action)

    def next_state(self) -> None:
        """All steps from that state are there."""
        self._begins.append(len(self._targets))

    def of(self, source: int) -> Iterator[tuple[int, int]]:
        """Yields the target and the action of each step from a state."""
        begin, end = self._begins[source : source + 2]
        return zip(self._targets[begin:end], self._actions[begin:end], strict=True)

    def targets(self, source: int) -> array[int]:
        """Returns where steps lead from a state."""
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
    """The first state from which no steps lead to one that is done; `before` has the steps the other way about."""
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
