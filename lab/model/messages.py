"""What travels between a worker and a scheduler in the model.

The messages of the contract as plain tuples, without what no decision depends on.
"""

from __future__ import annotations

from typing import NamedTuple

from scheduler_svc.domain.ids import LeaseRef, format_lease_id, parse_lease_id
from worker_svc.session.outbox import UpdateKind


class Word(NamedTuple):
    """One update: of which lease, and what it says. `started`, of a release, is whether a CLI had run."""

    lease_id: str
    attempt: int
    kind: UpdateKind
    started: bool = False


class Hello(NamedTuple):
    session_number: int
    held: tuple[tuple[str, int], ...]
    lost: tuple[str, ...]


class State(NamedTuple):
    number: int
    free_slots: int
    held: tuple[tuple[str, int], ...]
    last_assignment: int


class Report(NamedTuple):
    number: int
    words: tuple[Word, ...]


class Welcome(NamedTuple):
    drop: tuple[str, ...]


class StateAcknowledged(NamedTuple):
    number: int
    not_renewed: tuple[str, ...]


class ReportAcknowledged(NamedTuple):
    number: int
    outcomes: tuple[tuple[str, int, int], ...]


class Assignment(NamedTuple):
    number: int
    heartbeat_number: int
    leases: tuple[tuple[str, int], ...]


ToScheduler = Hello | State | Report
ToWorker = Welcome | StateAcknowledged | ReportAcknowledged | Assignment


def named(ref: LeaseRef) -> tuple[str, int]:
    """Returns a lease as a message names it."""
    return format_lease_id(ref.task_key, ref.fence), ref.attempt


def ref_of(lease_id: str, attempt: int) -> LeaseRef:
    """Returns the lease that a message names so."""
    ref = parse_lease_id(lease_id, attempt)
    assert ref is not None, "the model's ids are all of its making"
    return ref
