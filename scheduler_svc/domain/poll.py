"""Polls: workers are asked how their runs stand, now rather than at their next interval (rule 18).

Polls are numbered in the order in which they are asked, so the answer to one answers all before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import NamedTuple

from scheduler_svc.domain.lifecycle import Status

POLL_TIMEOUT = 9.0
"""Seconds after which a worker that has not answered counts as silent: callers are answered within 10."""


class RunningAttempt(NamedTuple):
    """An attempt that a worker held when it was asked."""

    task_key: int
    attempt: int
    worker_id: str


class AttemptCount(NamedTuple):
    """How many attempts of a worker have come to the same: SUBMITTED where they run on, NONE where neither that nor an
    end is known of them (given back, deferred, cancelled, or deleted since).
    """

    worker_id: str
    status: Status
    attempts: int


@dataclass(frozen=True, slots=True)
class PollResult:
    """What became of the attempts that ran at the call. `error`: they run on as far as is known, but their worker is
    silent. `total` counts those too that were cancelled, deferred or given back since.
    """

    total: int = 0
    completed: int = 0
    failed: int = 0
    timeout: int = 0
    still_running: int = 0
    error: int = 0


def summarize(fates: Iterable[AttemptCount], silent: Set[str]) -> PollResult:
    """The figures of these attempts. What is committed counts, whether its worker answered or not."""
    counts = dict.fromkeys(("total", "completed", "failed", "timeout", "still_running", "error"), 0)
    for worker_id, status, attempts in fates:
        counts["total"] += attempts
        if status is Status.SUBMITTED:
            counts["error" if worker_id in silent else "still_running"] += attempts
        elif status is not Status.NONE:
            counts[status.label] += attempts
    return PollResult(**counts)
