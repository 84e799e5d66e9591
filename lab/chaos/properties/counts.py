"""The counts that GetTaskStats shows are the truth, every task stands where its state says, and no lease is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from lab.chaos.evidence import Evidence
from lab.chaos.violation import Violation
from scheduler_svc.domain.lifecycle import OPEN, Status

NAME = "counts"
_ALL = 0


def counts(evidence: Evidence) -> Iterator[Violation]:
    """For all tasks, and for each account that was asked for."""
    tasks = evidence.stored.tasks.values()
    for account_id, numbers in evidence.answers.counts.items():
        true = Counter(task.status.label for task in tasks if account_id in (_ALL, task.account_id))
        for status in Status:
            if status is not Status.NONE and numbers.get(status.label, 0) != true[status.label]:
                scope = f"account {account_id}" if account_id else "all accounts"
                claim = f"{numbers.get(status.label, 0)} tasks of {scope} are said to be {status.label}; it is "
                yield Violation(NAME, "", claim + f"{true[status.label]}")
    for task in tasks:
        expected = 1 if task.status in OPEN else 0
        if len(task.places) != expected:
            places = ", ".join(task.places) or "nowhere"
            claim = f"it is {task.status.label} and stands in {places}; it should stand in {expected} place"
            yield Violation(NAME, task.task_id, claim)
    for task_id in evidence.stored.leases:
        yield Violation(NAME, task_id, "a lease of it is left")
