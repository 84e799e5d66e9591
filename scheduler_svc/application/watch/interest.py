"""Whether anyone watches tasks: where nobody does, moves are told to nobody, and cost nothing."""

from __future__ import annotations

import time

ANNOUNCE_INTERVAL = 10.0
"""Seconds between two announcements of a replica that has watchers."""


class WatchInterest:
    """One a replica; read by all of its threads."""

    def __init__(self) -> None:
        self.here = False
        """Whether this replica has watchers."""
        self._elsewhere_until = 0.0

    @property
    def elsewhere(self) -> bool:
        """Whether another replica has announced watchers of its own lately."""
        return time.monotonic() < self._elsewhere_until

    @property
    def anywhere(self) -> bool:
        """Whether this replica, or another one that this one knows of, has watchers."""
        return self.here or self.elsewhere

    def note_elsewhere(self) -> None:
        """Another replica announces that it has watchers."""
        self._elsewhere_until = time.monotonic() + 3 * ANNOUNCE_INTERVAL
