"""The worker's slots, the queue of leases that wait for one, and whether it takes leases at all, and how many."""

from __future__ import annotations

from worker_svc.guard import now
from worker_svc.session.durable_journal import DurableJournal
from worker_svc.session.health import Probes
from worker_svc.session.leases import Lease, LeaseBook, StopReason


class Slots:
    """Leases that run or wait to, first come, first served. Ended leases are in neither."""

    def __init__(self, size: int, queue_size: int) -> None:
        self.size = size
        self._queue_size = queue_size
        self._queued: dict[str, None] = {}
        self._taken: set[str] = set()

    @property
    def taken(self) -> int:
        """Slots in use, including those of runs that are being stopped."""
        return len(self._taken)

    @property
    def queued(self) -> int:
        return len(self._queued)

    def free(self, limit: int | None = None) -> int:
        """Returns how many more leases the worker would take, as a heartbeat reports it.

        `limit`, if given, bounds it, and allows no lease to wait for a slot.
        """
        unused = self.size - len(self._taken) - len(self._queued)
        return max(0, unused + self._queue_size if limit is None else min(limit, unused))

    def warrants_heartbeat(self, known: int, limit: int | None = None) -> bool:
        """Returns whether to send a heartbeat at once, if the scheduler knows of `known` free slots at most.

        Without a queue, any newly free slot warrants one. While a queue feeds the slots, a quarter of all places does,
        because each heartbeat renews every lease. Fewer free slots than `known`, after a change of `size`, always do.
        """
        free = self.free(limit)
        if free <= known:
            return free < known
        return not self._queued or 4 * (free - known) >= self.size + self._queue_size

    def queue(self, lease_id: str) -> None:
        """Appends a lease to the queue, even a full one: the lease was granted."""
        self._queued[lease_id] = None

    def next(self) -> str | None:
        """Moves the oldest queued lease into a free slot; None if none is queued or no slot is free."""
        if not self._queued or len(self._taken) >= self.size:
            return None
        lease_id = next(iter(self._queued))
        del self._queued[lease_id]
        self._taken.add(lease_id)
        return lease_id

    def leave(self, lease_id: str) -> None:
        self._queued.pop(lease_id, None)
        self._taken.discard(lease_id)


# Whether the worker takes leases, and how many: the first reason of several not to.

REFUSAL_PAUSE = 5.0  # seconds without free slots after a lease was refused
MAX_UNACKNOWLEDGED = 4_000
"""Leases held, ended ones included, at which the worker stops asking for more."""


class Intake:
    """Decides from slots, journal and circuit breaker."""

    def __init__(self, book: LeaseBook, slots: Slots, journal: DurableJournal, probes: Probes) -> None:
        self.stopping = False  # whether the worker takes nothing until its process ends
        self.drain_wanted = False  # whether the scheduler wants it to take nothing for now
        self._book = book
        self._slots = slots
        self._journal = journal
        self._probes = probes
        self._refuses_until = 0.0

    @property
    def draining(self) -> bool:
        """Whether the worker takes nothing because its process is being stopped, or the scheduler wants it to drain."""
        return self.stopping or self.drain_wanted

    @property
    def closed(self) -> bool:
        """Whether the worker takes nothing: it drains, refuses, or waits for too many acknowledgements."""
        return self.draining or self.refuses or len(self._book) >= MAX_UNACKNOWLEDGED

    @property
    def refuses(self) -> bool:
        """Whether the worker itself is why it takes nothing. A heartbeat has to say so before leases are released."""
        return not self.draining and (self._cannot_run or self._probes.is_open)

    @property
    def _cannot_run(self) -> bool:
        return not self._journal.healthy or now() < self._refuses_until

    def free_slots(self) -> int:
        """Returns how many leases the worker would take now, as a heartbeat reports it."""
        return 0 if self.closed else self._slots.free(self._probes.breaker.capacity)

    def warrants_heartbeat(self, known_free_slots: int) -> bool:
        """Returns whether to send a heartbeat at once if the scheduler knows of at most `known_free_slots`."""
        return self._slots.warrants_heartbeat(known_free_slots, self._probes.breaker.capacity)

    def pause(self) -> None:
        """Takes nothing for REFUSAL_PAUSE seconds: this machine could not run a lease."""
        self._refuses_until = now() + REFUSAL_PAUSE

    def reason_against(self, lease: Lease) -> StopReason | None:
        """Returns why a lease that has just arrived cannot be taken; None if it can."""
        if now() >= lease.deadline:
            return StopReason.EXPIRED
        if self.draining:
            return StopReason.DRAINING
        if self._cannot_run:
            return StopReason.REFUSED
        return None if self._probes.admit(lease) else StopReason.UNHEALTHY
