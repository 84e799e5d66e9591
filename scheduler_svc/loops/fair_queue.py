"""The queue in front of a group committer: callers share the groups, however much one of them submits.

A group takes the next entry from the caller with the least weight in it so far; a caller's entries stay in order. If
several callers wait, a group ends once each has its share, so a caller with one task waits for a small group only.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Weighed(Protocol):
    """An entry: its `weight`, and when it came (`since`, by `time.monotonic`)."""

    @property
    def weight(self) -> int: ...
    @property
    def since(self) -> float: ...


E = TypeVar("E", bound=Weighed)


class FairQueue(Generic[E]):
    """Any thread puts, one thread takes."""

    def __init__(self, *, max_weight: int, share: int) -> None:
        """A group weighs about `max_weight` at most, a caller's part of it about `share` while others wait."""
        self._max_weight = max_weight
        self._share = share
        self._changed = threading.Condition()
        self._entries: dict[str, deque[E]] = {}  # none is empty
        self._closed = False

    def put(self, caller: str, entry: E) -> None:
        with self._changed:
            self._entries.setdefault(caller, deque()).append(entry)
            self._changed.notify()

    def close(self) -> None:
        """Ends the queue: `take` returns what is left, and then no more."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def take(self, timeout: float | None) -> tuple[list[E], bool]:
        """Returns the next group (empty after `timeout` seconds), and whether another one may follow."""
        with self._changed:
            self._changed.wait_for(lambda: self._entries or self._closed, timeout)
            group = list(self._fill())
            return group, bool(self._entries) or not self._closed

    def take_older(self, than: float) -> list[E]:
        """Removes and returns the entries that came before that time."""
        with self._changed:
            return [entry for caller in list(self._entries) for entry in self._older(caller, than)]

    def _fill(self) -> Iterator[E]:
        """Callers that have an entry in this group come last in the next one."""
        turns = [(0, turn, caller) for turn, caller in enumerate(self._entries)]
        shared, held = len(turns) > 1, 0
        while turns and held < self._max_weight:
            own, turn, caller = heapq.heappop(turns)
            if shared and own >= self._share:
                return
            entry = self._pop(caller)
            held += entry.weight
            yield entry
            if own == 0 and caller in self._entries:
                self._entries[caller] = self._entries.pop(caller)
            if caller in self._entries:
                heapq.heappush(turns, (own + entry.weight, turn, caller))

    def _older(self, caller: str, than: float) -> Iterator[E]:
        while caller in self._entries and self._entries[caller][0].since < than:
            yield self._pop(caller)

    def _pop(self, caller: str) -> E:
        entry = self._entries[caller].popleft()
        if not self._entries[caller]:
            del self._entries[caller]
        return entry
