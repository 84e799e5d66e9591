"""The database's clock and the replica's: how far they are apart, and whether the former runs ahead.

Leases expire by the former, and workers renew them by the latter.

One large jump shows as a gap between two ticks of the reapers (`tick` in `lease.py`). Several jumps that are each
shorter than a gap show only as a sum, against a clock that never jumps.
"""

from __future__ import annotations

import time
from collections import deque

CLOCK_TOLERANCE = 5.0
"""Seconds that a replica's clock may differ from the database's, unsaid."""
MAX_CLOCK_OFFSET = 300.0
"""Seconds beyond which a replica does not start, or serves no more."""


def offset(database: float, before: float, after: float) -> float:
    """Returns the seconds by which our clock is ahead of the database's, at least; negative: behind; 0: it may agree.

    The database's clock showed `database` at some moment between `before` and `after` of our own.
    """
    return max(before - database, 0.0) or min(after - database, 0.0)


def is_wrong(seconds: float) -> bool:
    """Returns whether a replica whose clock is off by so much may not serve."""
    return abs(seconds) > MAX_CLOCK_OFFSET


def describe_offset(seconds: float) -> str:
    return f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} the database's"


class ClockWatch:
    """Compares the two clocks over a lease time and a heartbeat interval. All values are in seconds."""

    def __init__(self, lease_ttl: float, heartbeat_interval: float) -> None:
        self._window = lease_ttl + heartbeat_interval
        self._lowest: deque[tuple[float, float]] = deque()
        """Pairs of a time and the database's lead then, at most. They rise: an entry goes once a later one is lower."""

    def gained(self, database: float, before: float, after: float) -> float:
        """Returns the database's gain, at least, since its smallest lead in the window; 0 or less if that is now.

        The database's clock showed `database` at some moment between `before` and `after` of our own.
        """
        ahead = database - before
        while self._lowest and self._lowest[-1][1] >= ahead:
            self._lowest.pop()
        self._lowest.append((before, ahead))
        while self._lowest[0][0] < before - self._window:
            self._lowest.popleft()
        return database - after - self._lowest[0][1]


def is_ahead(gained: float, lease_ttl: float) -> bool:
    """Returns whether the gain is over a sixth of a lease time, or 5 s: half of a worker's time to stop its CLI."""
    return gained > min(lease_ttl / 6, 5.0)


def boottime() -> float:
    """Returns the seconds since this machine's start, those included that it was suspended for."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))  # macOS has none
