"""The figures of a poll."""

from __future__ import annotations

from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.poll import AttemptCount, PollResult, summarize

HEARD, SILENT = "heard", "silent"


def test_a_poll_without_attempts_counts_nothing() -> None:
    assert summarize([], set()) == PollResult()


def test_ends_count_whoever_answered_and_what_runs_on_by_its_worker() -> None:
    fates = [
        AttemptCount(worker_id, status, attempts)
        for worker_id, factor in ((HEARD, 1), (SILENT, 100))
        for status, attempts in (
            (Status.NONE, 1 * factor),
            (Status.SUBMITTED, 2 * factor),
            (Status.COMPLETED, 3 * factor),
            (Status.FAILED, 4 * factor),
            (Status.TIMEOUT, 5 * factor),
        )
    ]
    assert summarize(fates, {SILENT}) == PollResult(
        total=1515, completed=303, failed=404, timeout=505, still_running=2, error=200
    )
