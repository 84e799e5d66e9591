"""The leases that the worker holds, and what has to happen to each: the worker's side of the lease protocol.

Pure; times are seconds of CLOCK_BOOTTIME.

    QUEUED ── accept ──> ACCEPTED ── processing ──> PROCESSING ── settle ──> FINISHED ── acknowledged ──> forgotten
       └────────────────────┴── stop, then its ending ────┴───────────────────^

A lease is held, and named in each hello and heartbeat, until the update that ends it is acknowledged.

The scheduler polls for the progress of runs (rule 18). A poll is open until each CLI that it asked has answered, or its
run is over, or POLL_TIMEOUT has passed. An answer to one poll also answers all earlier ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from math import inf
from typing import NamedTuple

REPORT_RESERVE = 15.0
"""Seconds before a task's timeout in which its result is sent, whatever of it is not uploaded; or a quarter of it."""


class Stage(IntEnum):
    """How far a lease is; the numbers of the protocol."""

    QUEUED = 1
    ACCEPTED = 2
    PROCESSING = 3
    FINISHED = 4


class StopReason(Enum):
    """Why a lease is stopped. The first reason counts."""

    EXPIRED = auto()  # its deadline passed
    TASK_TIMEOUT = auto()  # the task's timeout, counted from `accepted`, has passed
    QUEUED_TOO_LONG = auto()  # it waited for a slot for longer than the task's timeout
    REVOKED = auto()  # the scheduler says that it is no longer this worker's
    DRAINING = auto()  # the worker drains
    REFUSED = auto()  # this machine cannot run anything now
    UNHEALTHY = auto()  # the circuit breaker counts this worker's CLI as broken


class StopAction(Enum):
    """What has to be done to stop a lease."""

    NOTHING = auto()  # it has ended, or is being stopped
    END = auto()  # it has no run: send the update that ends it
    STOP_RUN = auto()
    """Stop its run, and send the update that ends it when no process of the run lives."""


# The span that a lease follows. The scheduler has code of its own for it, whose domain imports nothing of others.

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE = re.compile(r"[ -~]{0,512}")


class TraceContext(NamedTuple):
    traceparent: str
    tracestate: str = ""

    @classmethod
    def of(cls, traceparent: str, tracestate: str) -> TraceContext | None:
        """Returns the context of an assignment; None if it has none, or none that is valid."""
        if not _TRACEPARENT.fullmatch(traceparent):
            return None
        return cls(traceparent, tracestate if _TRACESTATE.fullmatch(tracestate) else "")

    @property
    def trace_id(self) -> str:
        return self.traceparent[3:35]

    def variables(self) -> Mapping[str, str]:
        """Returns the variables by which a program learns of the span that it belongs to."""
        state = {"TRACESTATE": self.tracestate} if self.tracestate else {}
        return {"TRACEPARENT": self.traceparent, **state}


@dataclass(slots=True)
class Lease:
    lease_id: str
    attempt: int
    task_id: str
    timeout: float  # seconds from `accepted`
    received_at: float
    deadline: float
    """Past it no process of this lease may run. Only acknowledged heartbeats move it."""
    stage: Stage = Stage.QUEUED
    accepted_at: float = inf
    stop: StopReason | None = None
    account_id: int = 0
    failed_elsewhere: bool = False  # whether the task's previous attempt failed on another worker
    trace: TraceContext | None = None
    """The span that the attempt follows; None if its task belongs to no trace."""

    @property
    def report_by(self) -> float:
        """When its result has to be on its way: past the task's timeout the scheduler takes none any more.

        A lease from the spool does not know, and says infinity.
        """
        return self.accepted_at + self.timeout - min(REPORT_RESERVE, self.timeout / 4)

    @property
    def log_keys(self) -> dict[str, str | int]:
        """Identifies the lease in a log event. A lease from the spool does not know its task."""
        task = {"task_id": self.task_id} if self.task_id else {}
        trace = {"trace_id": self.trace.trace_id} if self.trace else {}
        return {**task, "lease_id": self.lease_id, "attempt": self.attempt, **trace}


class LeaseBook:
    """Every lease that the worker holds, oldest first."""

    def __init__(self) -> None:
        self._leases: dict[str, Lease] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def __iter__(self) -> Iterator[Lease]:
        return iter(self._leases.values())

    def get(self, lease_id: str) -> Lease | None:
        return self._leases.get(lease_id)

    def restore(self, lease_id: str, attempt: int) -> Lease:
        """Adds a lease whose result an earlier process left in the spool."""
        lease = self._leases[lease_id] = Lease(lease_id, attempt, "", inf, 0.0, inf, Stage.FINISHED)
        return lease

    def assign(self, lease: Lease) -> bool:
        """Adds an assigned lease. Returns False if it is held already, because it was sent twice."""
        return self._leases.setdefault(lease.lease_id, lease) is lease

    def accept(self, lease: Lease, now: float) -> StopReason | None:
        """Moves a queued lease into a slot. Returns the reason if it is too late to start it."""
        if (too_late := _too_late(lease, now)) is not None:
            return too_late
        lease.stage, lease.accepted_at = Stage.ACCEPTED, now
        return None

    def processing(self, lease: Lease) -> bool:
        """Records that the CLI has started. Returns False if that was known, or the run is over."""
        if lease.stage is not Stage.ACCEPTED:
            return False
        lease.stage = Stage.PROCESSING
        return True

    def settle(self, lease: Lease) -> None:
        """Records that its ending is known. From now on nothing stops it, and no deadline applies."""
        lease.stage, lease.deadline = Stage.FINISHED, inf

    def stop(self, lease: Lease, reason: StopReason) -> StopAction:
        """Stops a lease. A settled lease stays: its result is sent, and the scheduler judges it."""
        if lease.stage is Stage.FINISHED or lease.stop is not None:
            return StopAction.NOTHING
        lease.stop = reason
        return StopAction.END if lease.stage is Stage.QUEUED else StopAction.STOP_RUN

    def revoke(self, lease: Lease, now: float) -> StopAction:
        """Stops a lease that is no longer this worker's.

        Past its deadline only the guard ends a run, as in `due`. A worker that was suspended may learn that its lease
        expired before it learns that its CLI had ended in time; that result may still be accepted.
        """
        if lease.stage is not Stage.QUEUED and now >= lease.deadline:
            return StopAction.NOTHING
        return self.stop(lease, StopReason.REVOKED)

    def forget(self, lease_id: str) -> Lease | None:
        """Removes a lease whose ending is acknowledged. Returns None if it was not held."""
        return self._leases.pop(lease_id, None)

    def renew(self, lease_ids: Iterable[str], deadline: float) -> list[Lease]:
        """Moves the deadlines of renewed leases. Returns those that have a run to guard."""
        moved_leases = []
        for lease_id in lease_ids:
            lease = self._leases.get(lease_id)
            if lease is None or lease.stage is Stage.FINISHED or deadline <= lease.deadline:
                continue
            lease.deadline = deadline
            if lease.stage is not Stage.QUEUED:
                moved_leases.append(lease)
        return moved_leases

    def due(self, now: float) -> list[tuple[Lease, StopReason]]:
        """Returns the leases that have to be stopped at `now`, each with the reason.

        The deadline of a run is left to the guard: it alone knows whether the CLI had ended by then. A run that the
        guard ends at its deadline has not exceeded a later task timeout.
        """
        candidates = ((lease, _overdue(lease, now)) for lease in self._leases.values() if lease.stop is None)
        return [(lease, reason) for lease, reason in candidates if reason is not None]


def _overdue(lease: Lease, now: float) -> StopReason | None:
    if lease.stage is Stage.FINISHED:
        return None
    if lease.stage is Stage.QUEUED:
        return _too_late(lease, now)
    ends_at = lease.accepted_at + lease.timeout
    return StopReason.TASK_TIMEOUT if ends_at <= now and ends_at < lease.deadline else None


def _too_late(lease: Lease, now: float) -> StopReason | None:
    """Returns why it is too late to start a queued lease."""
    if now >= lease.deadline:
        return StopReason.EXPIRED
    return StopReason.QUEUED_TOO_LONG if now - lease.received_at > lease.timeout else None


# What the worker tells a tracer about the leases of tasks that belong to a trace.


class Tracer:
    """Makes no spans, so that a CLI gets the context that came with its lease; `otel.OtelTracer` makes some."""

    def started(self, lease: Lease) -> None:
        """Notes that a slot has taken it. What follows in its trace, such as the CLI's spans, follows this attempt."""

    def ended(self, lease: Lease, ending: str, reason: str) -> None:
        """Notes that the update that ends it is known, to be delivered. `ending`: its kind; `reason` may be empty."""

    def delivered(self, lease_id: str, outcome: str) -> None:
        """Notes that this update is acknowledged."""

    def close(self, within: float) -> None:
        """Exports what is left, for so many seconds at most."""


NO_TRACER = Tracer()


# The scheduler's polls: which are open, and which was answered last.

POLL_TIMEOUT = 7.0
"""Seconds that the CLIs have to answer a poll. The scheduler's callers wait for 10."""
MAX_OPEN_POLLS = 100
"""Open polls. Another one replaces the newest: its answer answers both."""


@dataclass(frozen=True, slots=True)
class _OpenPoll:
    poll_id: str
    number: int
    ends_at: float
    silent: set[str]  # leases whose CLI has not answered yet


class OpenPolls:
    """The polls of one stream, numbered as they arrive."""

    def __init__(self) -> None:
        self.answered = ""
        """The id of the last poll that is answered; empty if none of this stream is."""
        self._open: list[_OpenPoll] = []
        self._number = 0

    @property
    def next_number(self) -> int:
        return self._number + 1

    def forget(self) -> None:
        """Forgets all polls: on a new stream the scheduler sends them again."""
        self.answered = ""
        self._open.clear()

    def knows(self, poll_id: str) -> bool:
        """Returns whether that poll is open, or was answered last: the scheduler repeats a poll that takes long."""
        return poll_id == self.answered or any(poll.poll_id == poll_id for poll in self._open)

    def open(self, poll_id: str, asked: Iterable[str], at: float) -> None:
        """Opens a poll that the CLIs of `asked` have to answer."""
        self._number += 1
        if len(self._open) == MAX_OPEN_POLLS:
            self._open.pop()
        self._open.append(_OpenPoll(poll_id, self._number, at + POLL_TIMEOUT, set(asked)))
        self.settle(at)

    def record_answer(self, lease_id: str, number: int, at: float) -> None:
        for poll in self._open:
            if poll.number <= number:
                poll.silent.discard(lease_id)
        self.settle(at)

    def record_end(self, lease_id: str, at: float) -> None:
        """The end of a lease answers every poll."""
        self.record_answer(lease_id, self._number, at)

    def settle(self, at: float) -> bool:
        """Removes the polls that are answered, or have timed out by `at`. Returns whether there were any."""
        ended_polls = [poll for poll in self._open if not poll.silent or poll.ends_at <= at]
        if not ended_polls:
            return False
        self.answered = ended_polls[-1].poll_id
        self._open = [poll for poll in self._open if poll.number > ended_polls[-1].number]
        return True
