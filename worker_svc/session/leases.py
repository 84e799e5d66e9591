"""What the worker holds, and what has to happen to it: the decisions of the lease protocol on the worker's side.

Layer: pure, inside session. Times are seconds of CLOCK_BOOTTIME.

    QUEUED ── accept ──> ACCEPTED ── processing ──> PROCESSING ── settle ──> FINISHED ── acknowledged ──> forgotten
       └────────────────────┴── stop, then its ending ────┴───────────────────^

A lease is held, and named in each hello and state, until the update that ends it is acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from math import inf


class Stage(IntEnum):
    """How far a lease is; the numbers of the contract."""

    QUEUED = 1
    ACCEPTED = 2
    PROCESSING = 3
    FINISHED = 4


class StopReason(Enum):
    """Why a lease is not carried to its own end. The first reason stays."""

    EXPIRED = auto()
    """Its deadline passed."""
    TASK_TIMEOUT = auto()
    """The task's own time, counted from `accepted`, is over."""
    QUEUED_TOO_LONG = auto()
    """It waited ahead of a slot for longer than the task may run."""
    REVOKED = auto()
    """The scheduler says that it is not this worker's any more."""
    DRAINING = auto()
    """The worker is going away."""
    REFUSED = auto()
    """This worker can't run anything now."""
    UNHEALTHY = auto()
    """This worker's CLI is broken, as far as its last runs show."""


class StopAction(Enum):
    """What stopping a lease asks for."""

    NOTHING = auto()
    """It is over, or being stopped: the update that ends it says what there is to say."""
    END = auto()
    """It has no run: its ending can go out at once."""
    STOP_RUN = auto()
    """Its run has to be stopped; its ending goes out when nothing of it lives."""


@dataclass(slots=True)
class Lease:
    """A lease that this worker holds."""

    lease_id: str
    attempt: int
    task_id: str
    timeout: float
    """Seconds from `accepted`."""
    received_at: float
    deadline: float
    """Past it nothing of this lease may run; moved by acknowledged states only."""
    stage: Stage = Stage.QUEUED
    accepted_at: float = inf
    stop: StopReason | None = None
    account_id: int = 0
    failed_elsewhere: bool = False
    """Its task's attempt before this one failed on another worker."""

    @property
    def log_keys(self) -> dict[str, str | int]:
        """Which lease a log event is about. One from the spool does not know its task."""
        task = {"task_id": self.task_id} if self.task_id else {}
        return {**task, "lease_id": self.lease_id, "attempt": self.attempt}


class LeaseBook:
    """Every lease that the worker holds, in the order in which it got them."""

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._leases.values())

    def __contains__(self, lease_id: str) -> bool:
        return lease_id in self._leases

    def get(self, lease_id: str) -> Lease | None:
        """The lease, if it is held."""
        return self._leases.get(lease_id)

    def restore(self, lease_id: str, attempt: int) -> Lease:
        """A lease whose ending an earlier process left in the spool."""
        lease = self._leases[lease_id] = Lease(lease_id, attempt, "", inf, 0.0, inf, Stage.FINISHED)
        return lease

    def assign(self, lease: Lease) -> bool:
        """Takes a lease that was assigned; False where it is held already (it was sent twice)."""
        return self._leases.setdefault(lease.lease_id, lease) is lease

    def accept(self, lease: Lease, now: float) -> StopReason | None:
        """Takes a queued lease into a slot, or says why it may not start any more."""
        if (too_late := _too_late(lease, now)) is not None:
            return too_late
        lease.stage, lease.accepted_at = Stage.ACCEPTED, now
        return None

    def processing(self, lease: Lease) -> bool:
        """The CLI has started; False where that was known, or is past."""
        if lease.stage is not Stage.ACCEPTED:
            return False
        lease.stage = Stage.PROCESSING
        return True

    def settle(self, lease: Lease) -> None:
        """Its ending is known. From here on nothing stops it, and no deadline holds: it is kept until acknowledged."""
        lease.stage, lease.deadline = Stage.FINISHED, inf

    def stop(self, lease: Lease, why: StopReason) -> StopAction:
        """Ends a lease before its time. A settled one stays: its result is sent, and judged there."""
        if lease.stage is Stage.FINISHED or lease.stop is not None:
            return StopAction.NOTHING
        lease.stop = why
        return StopAction.END if lease.stage is Stage.QUEUED else StopAction.STOP_RUN

    def revoke(self, lease: Lease, now: float) -> StopAction:
        """The scheduler says that a lease is not this worker's any more.

        Past its deadline a run is the guard's to judge, as in `due`: a worker that was frozen may hear that its lease
        ran out before it has read that its CLI had ended in time. Such a result is paid for, and is taken where nobody
        else was granted the task.
        """
        if lease.stage is not Stage.QUEUED and now >= lease.deadline:
            return StopAction.NOTHING
        return self.stop(lease, StopReason.REVOKED)

    def forget(self, lease_id: str) -> Lease | None:
        """The update that ended it is acknowledged."""
        return self._leases.pop(lease_id, None)

    def renew(self, lease_ids: Iterable[str], deadline: float) -> list[Lease]:
        """Moves the deadlines of leases that a state named and the scheduler renewed; those with a CLI to guard."""
        moved = []
        for lease_id in lease_ids:
            lease = self._leases.get(lease_id)
            if lease is None or lease.stage is Stage.FINISHED or deadline <= lease.deadline:
                continue
            lease.deadline = deadline
            if lease.stage is not Stage.QUEUED:
                moved.append(lease)
        return moved

    def due(self, now: float) -> list[tuple[Lease, StopReason]]:
        """The leases whose time is over at `now`, and which time that was.

        The deadline of a run is the guard's to judge: it alone knows whether the CLI had ended by then, and a worker
        that was frozen hears of that only afterwards. Nor has a task run for too long that the guard ended before.
        """
        found = ((lease, _overdue(lease, now)) for lease in self._leases.values() if lease.stop is None)
        return [(lease, why) for lease, why in found if why is not None]


def _overdue(lease: Lease, now: float) -> StopReason | None:
    if lease.stage is Stage.FINISHED:
        return None
    if lease.stage is Stage.QUEUED:
        return _too_late(lease, now)
    ends_at = lease.accepted_at + lease.timeout
    return StopReason.TASK_TIMEOUT if ends_at <= now and ends_at < lease.deadline else None


def _too_late(lease: Lease, now: float) -> StopReason | None:
    """Why a lease that waits ahead of a slot may not start any more."""
    if now >= lease.deadline:
        return StopReason.EXPIRED
    return StopReason.QUEUED_TOO_LONG if now - lease.received_at > lease.timeout else None
