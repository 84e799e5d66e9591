"""How long to wait before dialling again: full jitter, doubling with each failure, a heartbeat interval at most.

Layer: pure but for its dice, inside session.
"""

from __future__ import annotations

import random

MIN_BOUND = 0.2
"""Seconds: the bound of the first pause."""
DEFAULT_MAX_PAUSE = 2.0
"""Seconds: the longest pause as long as no scheduler has said its heartbeat interval."""
_MAX_DOUBLINGS = 16


class ReconnectBackoff:
    """The pauses of one worker. Failures never make it give up."""

    def __init__(self) -> None:
        self.max_pause = DEFAULT_MAX_PAUSE
        """Seconds: no pause is longer; the heartbeat interval once it is known."""
        self._failures = 0

    def pause(self) -> float:
        """Seconds until the next try; the pauses of many workers are spread over the whole of it."""
        bound = min(self.max_pause, MIN_BOUND * 2 ** min(self._failures, _MAX_DOUBLINGS))
        self._failures += 1
        return random.uniform(0, bound)  # noqa: S311 - spreads reconnects, keeps no secret

    def succeeded(self, lasted: float) -> None:
        """A stream ended after `lasted` seconds. One that ends at once is a failure like any other."""
        if lasted >= self.max_pause:
            self._failures = 0
