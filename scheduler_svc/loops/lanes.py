"""Several group committers for one kind of item. A user's items all go to one of them, and so stay in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

from scheduler_svc.domain.system import LaneState
from scheduler_svc.loops.group_committer import GroupCommitter

T = TypeVar("T")
R = TypeVar("R")


class Lanes(Generic[T, R]):
    """Lives on the event loop."""

    def __init__(self, lanes: Sequence[GroupCommitter[T, R]]) -> None:
        self._users = dict.fromkeys(lanes, 0)

    @contextmanager
    def least_used(self) -> Iterator[GroupCommitter[T, R]]:
        """The lane with the fewest users, of which the caller is one in here."""
        lane = min(self._users, key=lambda each: self._users[each])
        self._users[lane] += 1
        try:
            yield lane
        finally:
            self._users[lane] -= 1

    def state(self) -> LaneState:
        """The states as one: that of a lane which stands still, if there is one."""
        states = [lane.state() for lane in self._users]
        slowest = max(states, key=lambda state: min(state.oldest, state.idle_for))
        return LaneState(
            slowest.oldest,
            slowest.idle_for,
            waiting=sum(state.waiting for state in states),
            set_aside=sum(state.set_aside for state in states),
        )
