"""What may run, and what the worker would take: slots, and a queue ahead of them.

Layer: above runner, below session. Pure.
"""

from __future__ import annotations


class Slots:
    """Leases in slots and leases queued ahead of one, first come, first served. Ended leases are in neither."""

    def __init__(self, size: int, queue_size: int) -> None:
        self._size = size
        self._queue_size = queue_size
        self._queued: dict[str, None] = {}
        self._taken: set[str] = set()

    @property
    def size(self) -> int:
        """Runs at once."""
        return self._size

    @property
    def taken(self) -> int:
        """Slots in use, those of runs that are being stopped included."""
        return len(self._taken)

    @property
    def queued(self) -> int:
        """Leases that wait for a slot."""
        return len(self._queued)

    def resize(self, size: int) -> None:
        """Changes the number of slots; what runs above it runs on."""
        self._size = size

    def free(self, most: int | None = None) -> int:
        """How many leases more the worker would take: absolute, as a `state` says it.

        With `most` set no more than that, and none to wait ahead of a slot.
        """
        unused = self._size - len(self._taken) - len(self._queued)
        return max(0, unused + self._queue_size if most is None else min(most, unused))

    def warrants_heartbeat(self, known: int, most: int | None = None) -> bool:
        """Whether a state should go out at once, when the scheduler can know of `known` free places at most.

        Where nothing waits, each freed slot is worth one. While a queue feeds the slots, a quarter of all places is:
        each state renews every lease that it names. Fewer than the scheduler knows of, after a `resize`, are always.
        """
        free = self.free(most)
        if free <= known:
            return free < known
        return not self._queued or 4 * (free - known) >= self._size + self._queue_size

    def queue(self, lease_id: str) -> None:
        """Puts a lease behind those that wait. More than there is room for is taken too: it was granted."""
        self._queued[lease_id] = None

    def next(self) -> str | None:
        """Takes the lease that waits longest into a free slot; None where none waits or none is free."""
        if not self._queued or len(self._taken) >= self._size:
            return None
        lease_id = next(iter(self._queued))
        del self._queued[lease_id]
        self._taken.add(lease_id)
        return lease_id

    def leave(self, lease_id: str) -> None:
        """The lease waits and runs no more."""
        self._queued.pop(lease_id, None)
        self._taken.discard(lease_id)
