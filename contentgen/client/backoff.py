"""How long a watch waits before it connects again, and when it gives up.

Layer: client, pure but for clock and chance, which a test may give.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

FIRST_CEILING = 0.2
MAX_CEILING = 5.0
"""Seconds: a pause is anything from 0 to a ceiling that doubles (full jitter), so that watchers do not come as one."""
_MAX_DOUBLINGS = 10


class Backoff:
    """The pauses between failures in a row."""

    def __init__(
        self,
        patience: float | None,
        at_first: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Starts without a failure, and without a success.

        Args:
            patience: seconds that failures in a row may last; None: any time.
            at_first: the same before the first success, when the target may be wrong.
            clock: seconds.
            jitter: a number between two.
        """
        self._patience = patience
        self._limit: float | None = at_first if patience is None else min(at_first, patience)
        self._clock = clock
        self._jitter = jitter
        self._since: float | None = None
        self._failures = 0

    def connected(self) -> None:
        """After a failure that shows that the target is right."""
        self._limit = self._patience

    def reset(self) -> None:
        """After a success."""
        self.connected()
        self._since = None
        self._failures = 0

    def pause(self) -> float | None:
        """After a failure: the seconds to wait before the next attempt, or None if it is time to give up."""
        now = self._clock()
        if self._since is None:
            self._since = now
        if self._limit is not None and now - self._since >= self._limit:
            return None
        ceiling = min(FIRST_CEILING * 2 ** min(self._failures, _MAX_DOUBLINGS), MAX_CEILING)
        self._failures += 1
        return self._jitter(0, ceiling)
