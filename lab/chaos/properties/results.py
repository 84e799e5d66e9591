"""A result that was made is kept until it is committed: no worker lets go of one that the database does not have."""

from __future__ import annotations

from collections.abc import Iterator

from lab.chaos.attempts import attempt_of, disk_was_full
from lab.chaos.evidence import Event, Evidence
from lab.chaos.violation import Violation
from scheduler_svc.domain.lifecycle import Status

NAME = "results"
LET_GO = frozenset({"NOT_HELD", "its worker does not hold it any more"})
"""Reason or message of the move that ends a lease which its worker, in a new session, does not name: it says that
nothing of it is left, not even a mark that a CLI was started. With a result it says so only once that is committed.
"""


def results(evidence: Evidence) -> Iterator[Violation]:
    """For each run that gave a result: its attempt did not end with a release.

    That it was lost with its worker, expired, timed out or was cancelled is legal, as is a result that is refused.
    """
    for run in evidence.journals.runs:
        if not run.given:
            continue
        attempt = attempt_of(run, evidence.stored.events.get(run.task_id, ()))
        if attempt is None or attempt.ending is None or not _let_go(attempt.ending):
            continue
        if not disk_was_full(run, evidence.journals.faults):  # what can't be written dies with its worker
            problem = (
                f"run {run.run} of {run.worker} made a result in attempt {attempt.number}, and the worker let go of it "
                f"({attempt.ending.message or attempt.ending.reason}), but it is not in the database"
            )
            yield Violation(NAME, run.task_id, problem)


def _let_go(ending: Event) -> bool:
    return ending.status is not Status.COMPLETED and not LET_GO.isdisjoint((ending.reason, ending.message))
