"""What a lane has set aside: entries that could not get a lock that somebody else holds. For the lane's thread.

They are tried again each `RETRY_INTERVAL`, and what comes after one of them and shares a key with it waits behind it,
so that the order of what belongs together holds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, TypeVar

E = TypeVar("E")

RETRY_INTERVAL = 0.5
"""Seconds between two tries of what is set aside."""


class SetAside(Generic[E]):
    """Entries in the order of their next try."""

    def __init__(self, keys: Callable[[E], Iterable[Hashable]]) -> None:
        """`keys` says what an entry belongs to: entries that share a key stay in their order."""
        self._keys = keys
        self._entries: list[E] = []
        self._barred: set[Hashable] = set()
        self._next_try = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entries: Sequence[E], *, first: bool = False) -> None:
        """Sets these aside, behind those that are, or before them: so that each has its turn to be tried."""
        if not self._entries:
            self._next_try = time.monotonic() + RETRY_INTERVAL
        place = 0 if first else len(self._entries)
        self._entries[place:place] = entries
        self._barred.update(key for entry in entries for key in self._keys(entry))

    def pass_on(self, entries: Sequence[E]) -> list[E]:
        """Those of these that nothing set aside stands in the way of; the others are set aside too."""
        if not self._entries:
            return list(entries)
        passed = []
        for entry in entries:
            if self._barred.isdisjoint(self._keys(entry)):
                passed.append(entry)
            else:
                self.add([entry])
        return passed

    def until_next_try(self) -> float | None:
        """Seconds; None while nothing is set aside."""
        return max(0.0, self._next_try - time.monotonic()) if self._entries else None

    def take(self) -> list[E]:
        """All of them, which are set aside no more."""
        taken, self._entries = self._entries, []
        self._barred.clear()
        return taken
