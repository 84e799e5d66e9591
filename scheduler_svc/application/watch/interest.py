"""Watch interest: whether anybody watches tasks. While nobody does, moves are not signalled and cost nothing."""

from __future__ import annotations

import time

ANNOUNCE_INTERVAL = 10.0
"""Seconds between two announcements of a replica with watchers."""


class WatchInterest:
    """One a replica; all of its threads read it."""

    def __init__(self) -> None:
        self.here = False
        """Whether this replica has watchers."""
        self._elsewhere_until = 0.0

    @property
    def elsewhere(self) -> bool:
        """Whether another replica has announced watchers lately."""
        return time.monotonic() < self._elsewhere_until

    @property
    def anywhere(self) -> bool:
        """Whether this replica or another one has watchers."""
        return self.here or self.elsewhere

    def note_elsewhere(self) -> None:
        """Takes another replica's announcement."""
        self._elsewhere_until = time.monotonic() + 3 * ANNOUNCE_INTERVAL
