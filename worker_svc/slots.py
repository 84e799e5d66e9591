"""The worker's slots, and the queue of leases that wait for one.

Layer: above runner, below session. Pure.
"""

from __future__ import annotations


class Slots:
    """Leases that run or wait to, first come, first served. Ended leases are in neither."""

    def __init__(self, size: int, queue_size: int) -> None:
        self._size = size
        self._queue_size = queue_size
        self._queued: dict[str, None] = {}
        self._taken: set[str] = set()

    @property
    def size(self) -> int:
        return self._size

    @property
    def taken(self) -> int:
        """Slots in use, including those of runs that are being stopped."""
        return len(self._taken)

    @property
    def queued(self) -> int:
        return len(self._queued)

    def resize(self, size: int) -> None:
        self._size = size

    def free(self, limit: int | None = None) -> int:
        """How many more leases the worker would take, as a heartbeat reports it.

        `limit`, if given, bounds it, and allows no lease to wait for a slot.
        """
        unused = self._size - len(self._taken) - len(self._queued)
        return max(0, unused + self._queue_size if limit is None else min(limit, unused))

    def warrants_heartbeat(self, known: int, limit: int | None = None) -> bool:
        """Whether to send a heartbeat at once, if the scheduler knows of `known` free slots at most.

        Without a queue, any newly free slot warrants one. While a queue feeds the slots, a quarter of all places does,
        because each heartbeat renews every lease. Fewer free slots than `known`, after a `resize`, always do.
        """
        free = self.free(limit)
        if free <= known:
            return free < known
        return not self._queued or 4 * (free - known) >= self._size + self._queue_size

    def queue(self, lease_id: str) -> None:
        """Appends a lease to the queue, even a full one: the lease was granted."""
        self._queued[lease_id] = None

    def next(self) -> str | None:
        """Moves the oldest queued lease into a free slot; None if none is queued or no slot is free."""
        if not self._queued or len(self._taken) >= self._size:
            return None
        lease_id = next(iter(self._queued))
        del self._queued[lease_id]
        self._taken.add(lease_id)
        return lease_id

    def leave(self, lease_id: str) -> None:
        self._queued.pop(lease_id, None)
        self._taken.discard(lease_id)
