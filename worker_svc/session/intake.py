"""Whether the worker takes leases, and how many: the first reason of several not to.

Layer: inside session, over slots.
"""

from __future__ import annotations

from worker_svc.guard import now
from worker_svc.session.durable_journal import DurableJournal
from worker_svc.session.leases import Lease, LeaseBook, StopReason
from worker_svc.session.probes import Probes
from worker_svc.slots import Slots

REFUSAL_PAUSE = 5.0
"""Seconds without free slots after a lease was refused."""
MAX_UNACKNOWLEDGED = 4_000
"""Leases held, ended ones included, at which the worker stops asking for more."""


class Intake:
    """Decides from slots, journal and circuit breaker."""

    def __init__(self, book: LeaseBook, slots: Slots, journal: DurableJournal, probes: Probes) -> None:
        self.stopping = False
        """Whether the worker takes nothing until its process ends."""
        self.drain_wanted = False
        """Whether the scheduler wants it to take nothing for now."""
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
        """Leases that the worker would take now, as a heartbeat reports them."""
        return 0 if self.closed else self._slots.free(self._probes.capacity)

    def warrants_heartbeat(self, known_free_slots: int) -> bool:
        """Whether to send a heartbeat at once if the scheduler knows of at most `known_free_slots`."""
        return self._slots.warrants_heartbeat(known_free_slots, self._probes.capacity)

    def pause(self) -> None:
        """Takes nothing for REFUSAL_PAUSE seconds: this machine could not run a lease."""
        self._refuses_until = now() + REFUSAL_PAUSE

    def reason_against(self, lease: Lease) -> StopReason | None:
        """Why a lease that has just arrived cannot be taken; None if it can."""
        if now() >= lease.deadline:
            return StopReason.EXPIRED
        if self.draining:
            return StopReason.DRAINING
        if self._cannot_run:
            return StopReason.REFUSED
        return None if self._probes.admit(lease) else StopReason.UNHEALTHY
