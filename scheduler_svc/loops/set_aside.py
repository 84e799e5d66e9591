"""The items that a group committer has set aside: those that need a lock which another session holds.

They are retried each `RETRY_INTERVAL`. Later entries that share a key with one of them wait behind it, so that items
which belong together stay in order. For the committer's thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, TypeVar

E = TypeVar("E")

RETRY_INTERVAL = 0.5


class SetAsideItems(Generic[E]):
    """Entries in the order of their next retry."""

    def __init__(self, keys: Callable[[E], Iterable[Hashable]]) -> None:
        self._keys = keys
        self._entries: list[E] = []
        self._blocked_keys: set[Hashable] = set()
        self._next_try = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entries: Sequence[E], *, first: bool = False) -> None:
        """Sets these aside, as the last ones to be retried, or as the first ones."""
        if not self._entries:
            self._next_try = time.monotonic() + RETRY_INTERVAL
        place = 0 if first else len(self._entries)
        self._entries[place:place] = entries
        self._blocked_keys.update(key for entry in entries for key in self._keys(entry))

    def pass_on(self, entries: Sequence[E]) -> list[E]:
        """Returns the entries that share no key with one set aside; sets the others aside."""
        if not self._entries:
            return list(entries)
        passed = []
        for entry in entries:
            if self._blocked_keys.isdisjoint(self._keys(entry)):
                passed.append(entry)
            else:
                self.add([entry])
        return passed

    def until_next_try(self) -> float | None:
        """Returns the seconds until the next retry, or None if nothing is set aside."""
        return max(0.0, self._next_try - time.monotonic()) if self._entries else None

    def take(self) -> list[E]:
        taken, self._entries = self._entries, []
        self._blocked_keys.clear()
        return taken
