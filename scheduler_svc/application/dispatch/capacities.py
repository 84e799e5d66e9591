"""Sessions by capacity, so that a claim finds the few with the most capacity without reading thousands of them.

Part of `application/leases/streams.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

_Group = tuple[bool, int]
"""Whether its sessions come first, and the capacity of each."""


class SessionCapacities:
    """Sessions with capacity, in groups of equal capacity."""

    def __init__(self) -> None:
        self._groups: dict[_Group, dict[int, None]] = {}
        self._group_of: dict[int, _Group] = {}

    def put(self, session_key: int, free: int, *, first: bool = False) -> None:
        """Sets a session's free slots; 0 removes it. `first`: it comes before all others."""
        group = first, free
        if self._group_of.get(session_key) == group:
            return
        self.remove(session_key)
        if free > 0:
            self._group_of[session_key] = group
            self._groups.setdefault(group, {})[session_key] = None

    def remove(self, session_key: int) -> None:
        group = self._group_of.pop(session_key, None)
        if group is None:
            return
        sessions = self._groups[group]
        del sessions[session_key]
        if not sessions:
            del self._groups[group]

    def __iter__(self) -> Iterator[int]:
        """The `first` ones, then those with the most capacity; among equals, the longest unchanged comes first."""
        for group in sorted(self._groups, reverse=True):
            yield from self._groups[group]
