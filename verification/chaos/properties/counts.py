"""The counts that GetTaskStats shows are the truth, every task stands where its state says, and no lease is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from scheduler_svc.domain.lifecycle import OPEN, Status
from verification.chaos.evidence import Evidence
from verification.chaos.violation import Violation

NAME = "counts"
_ALL = 0


def counts(evidence: Evidence) -> Iterator[Violation]:
    """For all tasks, and for each account that was asked for."""
    tasks = evidence.stored.tasks.values()
    for account_id, shown in evidence.answers.counts.items():
        true = Counter(task.status.label for task in tasks if account_id in (_ALL, task.account_id))
        for status in Status:
            if status is not Status.NONE and shown.get(status.label, 0) != true[status.label]:
                whose = f"account {account_id}" if account_id else "all accounts"
                said = f"{shown.get(status.label, 0)} tasks of {whose} are said to be {status.label}; it is "
                yield Violation(NAME, "", said + f"{true[status.label]}")
    for task in tasks:
        wanted = 1 if task.status in OPEN else 0
        if len(task.places) != wanted:
            where = ", ".join(task.places) or "nowhere"
            said = f"it is {task.status.label} and stands in {where}; it should stand in {wanted} place"
            yield Violation(NAME, task.task_id, said)
    for task_id in evidence.stored.leases:
        yield Violation(NAME, task_id, "a lease of it is left")
