"""Sessions by how much they would take: the emptiest are found without a look at all the others.

Part of `application/streams.py`. A thousand idle workers are a thousand sessions with room, and a claim is for few.
"""

from __future__ import annotations

from collections.abc import Iterator

_Group = tuple[bool, int]
"""Whether its sessions are asked before all others, and the room of each."""


class SessionCapacities:
    """Sessions that have room, in groups of the same room."""

    def __init__(self) -> None:
        self._groups: dict[_Group, dict[int, None]] = {}
        self._group_of: dict[int, _Group] = {}

    def put(self, session_key: int, free: int, *, first: bool = False) -> None:
        """The session would take so many leases now; 0: none. `first`: it is asked before all others."""
        group = first, free
        if self._group_of.get(session_key) == group:
            return
        self.remove(session_key)
        if free > 0:
            self._group_of[session_key] = group
            self._groups.setdefault(group, {})[session_key] = None

    def remove(self, session_key: int) -> None:
        """The session takes nothing more."""
        group = self._group_of.pop(session_key, None)
        if group is None:
            return
        sessions = self._groups[group]
        del sessions[session_key]
        if not sessions:
            del self._groups[group]

    def __iter__(self) -> Iterator[int]:
        """Those that are asked first, then the emptiest; of equals the one that has had its room for longest."""
        for group in sorted(self._groups, reverse=True):
            yield from self._groups[group]
