"""Sessions by how much they would take: the emptiest are found without a look at all the others.

Part of `application/streams.py`. A thousand idle workers are a thousand sessions with room, and a claim is for few.
"""

from __future__ import annotations

from collections.abc import Iterator


class Rooms:
    """Sessions that have room, in groups of the same room."""

    def __init__(self) -> None:
        self._groups: dict[int, dict[int, None]] = {}
        self._free: dict[int, int] = {}

    def put(self, session_key: int, free: int) -> None:
        """The session would take so many leases now; 0: none."""
        if self._free.get(session_key, 0) == free:
            return
        self.remove(session_key)
        if free > 0:
            self._free[session_key] = free
            self._groups.setdefault(free, {})[session_key] = None

    def remove(self, session_key: int) -> None:
        """The session takes nothing more."""
        free = self._free.pop(session_key, None)
        if free is None:
            return
        group = self._groups[free]
        del group[session_key]
        if not group:
            del self._groups[free]

    def __iter__(self) -> Iterator[int]:
        """The emptiest session first; of those with the same room the one that has had it for longest."""
        for free in sorted(self._groups, reverse=True):
            yield from self._groups[free]
