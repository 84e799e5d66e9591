"""No account has more tasks under way at any time than its limit allows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import inf

from lab.chaos.attempts import attempts
from lab.chaos.evidence import Event, Evidence
from lab.chaos.violation import Violation

NAME = "caps"
Move = tuple[float, int, str]
"""When the leases of an account became one more, or one fewer, by which task."""


def caps(evidence: Evidence) -> Iterator[Violation]:
    """From grants and ends of leases: an end at the time of a grant comes before it."""
    moves: dict[int, list[Move]] = defaultdict(list)
    for task in evidence.stored.tasks.values():
        if task.account_id in evidence.stored.caps:
            moves[task.account_id] += _moves(task.task_id, evidence.stored.events.get(task.task_id, ()))
    for account_id, cap in evidence.stored.caps.items():
        leases = 0
        steps = sorted(moves[account_id])
        for index, (time, step, task_id) in enumerate(steps):
            leases += step
            if step > 0 and leases > cap:
                problem = f"its grant was lease {leases} of account {account_id}, which may have {cap}"
                yield Violation(NAME, task_id, f"{problem}, for {_until_next_end(steps[index:]) - time:.3f} s at least")


def _moves(task_id: str, events: Sequence[Event]) -> Iterator[Move]:
    for attempt in attempts(events):
        yield attempt.granted, 1, task_id
        if attempt.ending is not None:
            yield attempt.ending.time, -1, task_id


def _until_next_end(moves: Sequence[Move]) -> float:
    return next((time for time, step, _ in moves if step < 0), inf)
