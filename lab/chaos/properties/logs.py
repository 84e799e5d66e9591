"""The attempt that completed a task has its log, and each log is of an attempt of a task's history."""

from __future__ import annotations

from collections.abc import Iterator

from lab.chaos.evidence import Evidence
from lab.chaos.violation import Violation
from scheduler_svc.domain.lifecycle import Status

NAME = "logs"


def logs(evidence: Evidence) -> Iterator[Violation]:
    """The campaign's CLI prints its result, so no attempt that completes a task is without output."""
    stored = evidence.stored
    attempts = {(task_id, event.attempt) for task_id, events in stored.events.items() for event in events}
    for task_id, attempt in sorted(set(stored.logs) - attempts):
        yield Violation(NAME, task_id, f"it has a log of attempt {attempt}, which its history does not have")
    for task_id, events in stored.events.items():
        for event in events:
            if event.status is Status.COMPLETED and (task_id, event.attempt) not in stored.logs:
                yield Violation(NAME, task_id, f"attempt {event.attempt} completed it and has no log")
