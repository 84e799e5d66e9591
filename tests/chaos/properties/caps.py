"""No account has more tasks under way at any time than its limit allows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.chaos.attempts import attempts
from tests.chaos.evidence import Evidence
from tests.chaos.violation import Violation

NAME = "caps"


def caps(evidence: Evidence) -> Iterator[Violation]:
    """From grants and ends of leases: an end at the time of a grant comes before it."""
    moves: dict[int, list[tuple[float, int, str]]] = defaultdict(list)
    for task in evidence.stored.tasks.values():
        if task.account_id not in evidence.stored.caps:
            continue
        for attempt in attempts(evidence.stored.events.get(task.task_id, ())):
            moves[task.account_id].append((attempt.granted, 1, task.task_id))
            if attempt.ending is not None:
                moves[task.account_id].append((attempt.ending.time, -1, task.task_id))
    for account_id, cap in evidence.stored.caps.items():
        leases = 0
        for _, step, task_id in sorted(moves[account_id]):
            leases += step
            if step > 0 and leases > cap:
                said = f"its grant was lease {leases} of account {account_id}, which may have {cap}"
                yield Violation(NAME, task_id, said)
