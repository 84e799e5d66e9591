"""Whether the database's clock runs ahead of a replica's own: leases run out by the one, and are renewed by others.

Pure. One large jump shows as a gap between two ticks of the reapers (`tick` in `lease.py`); jumps that are each shorter
than a gap show only as a sum, against a clock that never jumps.
"""

from __future__ import annotations

from collections import deque


class ClockWatch:
    """What a replica remembers of the two clocks: for a lease time, and for a heartbeat interval before. In seconds."""

    def __init__(self, lease_ttl: float, heartbeat_interval: float) -> None:
        self._window = lease_ttl + heartbeat_interval
        self._lowest: deque[tuple[float, float]] = deque()
        """When, and by how much at most, the database's clock was ahead; only what was never below since, so rising."""

    def gained(self, database: float, before: float, after: float) -> float:
        """How much the database's clock has gained at least since it was least ahead; 0 or less where that is now.

        It showed `database` at some moment between `before` and `after` of our own.
        """
        ahead = database - before
        while self._lowest and self._lowest[-1][1] >= ahead:
            self._lowest.pop()
        self._lowest.append((before, ahead))
        while self._lowest[0][0] < before - self._window:
            self._lowest.popleft()
        return database - after - self._lowest[0][1]


def is_ahead(gained: float, lease_ttl: float) -> bool:
    """Whether so much is too much: a sixth of a lease time, 5 s at most, half of what a worker has to stop its CLI."""
    return gained > min(lease_ttl / 6, 5.0)
