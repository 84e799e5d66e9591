"""Who watches an account is told of every move of its tasks once, and of each task's moves in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from scheduler_svc.domain.lifecycle import Status
from verification.chaos.evidence import Event, Evidence
from verification.chaos.violation import Violation

NAME = "watches"
Move = tuple[str, str]


def watches(evidence: Evidence) -> Iterator[Violation]:
    """For each account that was watched from its first task on: what was told is the history, task by task."""
    told: dict[str, list[Move]] = defaultdict(list)
    for move in evidence.journals.watched:
        told[move.task_id].append((move.previous, move.status))
    accounts = {move.account_id for move in evidence.journals.watched}
    for task in evidence.stored.tasks.values():
        if task.account_id in accounts:
            history = _moves(evidence.stored.events.get(task.task_id, ()))
            if said := _difference(told.pop(task.task_id, []), history):
                yield Violation(NAME, task.task_id, said)
    for task_id in told:
        yield Violation(NAME, task_id, "its watcher was told of a task that the database does not have")


def _moves(events: Sequence[Event]) -> list[Move]:
    return [("" if it.previous is Status.NONE else it.previous.label, it.status.label) for it in events]


def _difference(told: list[Move], history: list[Move]) -> str | None:
    if told == history:
        return None
    alike = next((n for n, (one, other) in enumerate(zip(told, history, strict=False)) if one != other), None)
    if alike is None:
        alike = min(len(told), len(history))
    return (
        f"its watcher was told of {_name(told, alike)} as move {alike + 1} of {len(told)}; "
        f"it should be {_name(history, alike)} of {len(history)}"
    )


def _name(moves: list[Move], index: int) -> str:
    return " → ".join(filter(None, moves[index])) if index < len(moves) else "none"
