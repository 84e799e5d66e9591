"""Who watches an account is told of every move of its tasks once, and of each task's moves in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from lab.chaos.evidence import Event, Evidence
from lab.chaos.violation import Violation
from scheduler_svc.domain.lifecycle import Status

NAME = "watches"
Move = tuple[str, str]


def watches(evidence: Evidence) -> Iterator[Violation]:
    """For each account that was watched from its first task on: what was told is the history, task by task."""
    moves: dict[str, list[Move]] = defaultdict(list)
    for move in evidence.journals.watched:
        moves[move.task_id].append((move.previous, move.status))
    accounts = {move.account_id for move in evidence.journals.watched}
    for task in evidence.stored.tasks.values():
        if task.account_id in accounts:
            history = _moves(evidence.stored.events.get(task.task_id, ()))
            if difference := _difference(moves.pop(task.task_id, []), history):
                yield Violation(NAME, task.task_id, difference)
    for task_id in moves:
        yield Violation(NAME, task_id, "its watcher was told of a task that the database does not have")


def _moves(events: Sequence[Event]) -> list[Move]:
    return [("" if event.previous is Status.NONE else event.previous.label, event.status.label) for event in events]


def _difference(moves: list[Move], history: list[Move]) -> str | None:
    if moves == history:
        return None
    index = next((n for n, (move, step) in enumerate(zip(moves, history, strict=False)) if move != step), None)
    if index is None:
        index = min(len(moves), len(history))
    return (
        f"its watcher was told of {_name(moves, index)} as move {index + 1} of {len(moves)}; "
        f"it should be {_name(history, index)} of {len(history)}"
    )


def _name(moves: list[Move], index: int) -> str:
    return " → ".join(filter(None, moves[index])) if index < len(moves) else "none"
