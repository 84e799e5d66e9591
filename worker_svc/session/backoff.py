"""The pause before each reconnect: full jitter, doubling with each failure, a heartbeat interval at most.

Layer: pure apart from its random numbers, inside session.
"""

from __future__ import annotations

import random

MIN_BOUND = 0.2
"""Seconds that the first pause takes at most."""
DEFAULT_MAX_PAUSE = 2.0
"""Seconds that a pause takes at most until a heartbeat interval is known."""
_MAX_DOUBLINGS = 16


class ReconnectBackoff:
    """The pauses of one worker, without end."""

    def __init__(self) -> None:
        self.max_pause = DEFAULT_MAX_PAUSE
        """Seconds that a pause takes at most; the heartbeat interval once it is known."""
        self._failures = 0

    def pause(self) -> float:
        """Returns the seconds until the next attempt, and counts a failure."""
        bound = min(self.max_pause, MIN_BOUND * 2 ** min(self._failures, _MAX_DOUBLINGS))
        self._failures += 1
        return random.uniform(0, bound)  # noqa: S311 - spreads reconnects, not a secret

    def succeeded(self, lasted: float) -> None:
        """A stream ended after `lasted` seconds; if that was long enough, pauses start from the beginning."""
        if lasted >= self.max_pause:
            self._failures = 0
