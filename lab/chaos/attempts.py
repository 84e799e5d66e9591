"""A task's attempts, read out of its history: who had it from when, and how that ended; and what befell its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from lab.chaos.evidence import DISK_FULL, Event, Fault, Run
from scheduler_svc.domain.lifecycle import RUNNING, Status

_AFTER_FULL = 5.0
"""Seconds after a disk has free space again until what was kept in memory is on it for certain."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One lease."""

    number: int
    worker: str
    granted: float
    """Seconds since the epoch; what runs under it starts later."""
    until: float
    """When the next one was granted; infinite for the last one."""
    ending: Event | None
    """What ended it; None while it runs."""

    def may_have_started(self, run: Run) -> bool:
        """Returns whether this lease entitled the run to start."""
        return run.worker == self.worker and self.granted <= run.time < self.until


def attempts(events: Sequence[Event]) -> list[Attempt]:
    """Returns all attempts, in their order."""
    grants = [index for index, event in enumerate(events) if event.status is Status.SUBMITTED]
    result = []
    for index, following in pairwise([*grants, len(events)]):
        grant = events[index]
        ending = next((event for event in events[index + 1 : following] if event.status not in RUNNING), None)
        end = events[following].time if following < len(events) else inf
        result.append(Attempt(grant.attempt, grant.worker, grant.time, end, ending))
    return result


def attempt_of(run: Run, events: Sequence[Event]) -> Attempt | None:
    """Returns the attempt that the run belongs to; None where nobody was entitled to it."""
    return next((attempt for attempt in attempts(events) if attempt.may_have_started(run)), None)


def disk_was_full(run: Run, faults: Sequence[Fault]) -> bool:
    """Returns whether the run's worker had no space for a result or a file as the run ended."""
    return any(
        fault.kind == DISK_FULL
        and fault.victim == run.worker
        and fault.boottime <= run.last <= fault.boottime + fault.duration + _AFTER_FULL
        for fault in faults
    )
