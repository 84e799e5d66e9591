"""What waits for a lane: callers share its groups, however much one of them submits.

A group is filled from whoever has least in it so far, each caller's entries in the order they came. Where several
callers wait, a group ends once each has its share: who submits one task waits for a small group, not for a large one.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Weighed(Protocol):
    """An entry: its `weight`, and when it came (`time.monotonic`)."""

    @property
    def weight(self) -> int: ...
    @property
    def since(self) -> float: ...


E = TypeVar("E", bound=Weighed)


class FairQueue(Generic[E]):
    """Any thread puts, one takes."""

    def __init__(self, *, most: int, share: int) -> None:
        """A group weighs `most` or little more; what a caller has in it `share` or little more, where others wait."""
        self._most = most
        self._share = share
        self._changed = threading.Condition()
        self._entries: dict[str, deque[E]] = {}  # none is empty
        self._closed = False

    def put(self, who: str, entry: E) -> None:
        """Behind what this caller has waiting."""
        with self._changed:
            self._entries.setdefault(who, deque()).append(entry)
            self._changed.notify()

    def close(self) -> None:
        """Nothing is put any more."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def take(self, timeout: float | None) -> tuple[list[E], bool]:
        """The next group, and whether there may be one after it. Empty after `timeout` seconds without an entry."""
        with self._changed:
            self._changed.wait_for(lambda: self._entries or self._closed, timeout)
            group = list(self._fill())
            return group, bool(self._entries) or not self._closed

    def take_older(self, than: float) -> list[E]:
        """What came before that time."""
        with self._changed:
            return [entry for who in list(self._entries) for entry in self._older(who, than)]

    def _fill(self) -> Iterator[E]:
        """The callers who get something now are the last ones to choose from the next time."""
        turns = [(0, turn, who) for turn, who in enumerate(self._entries)]
        shared, held = len(turns) > 1, 0
        while turns and held < self._most:
            own, turn, who = heapq.heappop(turns)
            if shared and own >= self._share:
                return
            entry = self._pop(who)
            held += entry.weight
            yield entry
            if own == 0 and who in self._entries:
                self._entries[who] = self._entries.pop(who)
            if who in self._entries:
                heapq.heappush(turns, (own + entry.weight, turn, who))

    def _older(self, who: str, than: float) -> Iterator[E]:
        while who in self._entries and self._entries[who][0].since < than:
            yield self._pop(who)

    def _pop(self, who: str) -> E:
        entry = self._entries[who].popleft()
        if not self._entries[who]:
            del self._entries[who]
        return entry
