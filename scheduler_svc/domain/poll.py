"""Polls: workers are asked for the state of their runs now, not at their next interval (rule 18).

Polls are numbered in the order in which they are made, so the answer to one answers all before it. A poll gets its
number after its attempts were read, and before any worker can be asked: no answer is older than the call.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import NamedTuple

from scheduler_svc.domain.lifecycle import Status

POLL_TIMEOUT = 9.0
"""Seconds after which a worker that has not answered counts as silent: callers get an answer within 10."""


class RunningAttempt(NamedTuple):
    """An attempt that a worker held when the poll was made."""

    task_key: int
    attempt: int
    worker_id: str


class AttemptCount(NamedTuple):
    """How many polled attempts of a worker have the same outcome.

    SUBMITTED: they still run. NONE: they neither run nor have a known end (released, deferred, cancelled or deleted).
    """

    worker_id: str
    status: Status
    attempts: int


@dataclass(frozen=True, slots=True)
class PollResult:
    """What became of the attempts that ran at the call.

    `error`: attempts that seem to run, but whose worker is silent. `total` includes those cancelled, deferred or
    released.
    """

    total: int = 0
    completed: int = 0
    failed: int = 0
    timeout: int = 0
    still_running: int = 0
    error: int = 0


def summarize(counts_by_worker: Iterable[AttemptCount], silent: Set[str]) -> PollResult:
    """Returns the sums. What is committed counts, whether its worker answered or not."""
    counts = dict.fromkeys(("total", "completed", "failed", "timeout", "still_running", "error"), 0)
    for worker_id, status, attempts in counts_by_worker:
        counts["total"] += attempts
        if status is Status.SUBMITTED:
            counts["error" if worker_id in silent else "still_running"] += attempts
        elif status is not Status.NONE:
            counts[status.label] += attempts
    return PollResult(**counts)
