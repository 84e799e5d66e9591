"""When an attempt that did not complete is followed by another."""

from __future__ import annotations

BACKOFF_FIRST = 30.0
BACKOFF_CAP = 600.0
REFUSAL_CAP = 60.0
MAX_REFUSALS = 10

WORKER_LOST = "WORKER_LOST"
TASK_TIMEOUT = "TASK_TIMEOUT"
NO_WORKER_ACCEPTS = "NO_WORKER_ACCEPTS"
CANCELLED_BY_CLIENT = "CANCELLED_BY_CLIENT"

AUTO_RETRY, REQUEUED, RETRY_TASK = "AUTO_RETRY", "REQUEUED", "RETRY_TASK"
"""Reasons of moves back to pending: a retry by itself, at once after a loss, and by a client."""

FINAL_REASONS = frozenset({"RESULT_TOO_LARGE", "INVALID_CREATOR_OPTIONS", CANCELLED_BY_CLIENT, NO_WORKER_ACCEPTS})


def is_retryable(reason: str) -> bool:
    """Whether another attempt may help. Reasons of newer workers that we don't know count as retryable."""
    return reason not in FINAL_REASONS


def retries_by_itself(reason: str, *, auto_retry: bool, retry_count: int, max_retries: int) -> bool:
    """Whether a failed or timed out attempt is followed by another without a call of RetryTask."""
    return auto_retry and retry_count < max_retries and is_retryable(reason)


def backoff(retry_count: int, jitter: float) -> float:
    """Seconds before retry number `retry_count` (from 1): 30, 60, 120 … at most 600.

    `jitter` in [0, 1) moves it by a tenth either way, so that tasks which failed together don't come back together.
    """
    return min(BACKOFF_CAP, BACKOFF_FIRST * 2.0 ** min(retry_count - 1, 16) * (0.9 + 0.2 * jitter))


def refusal_wait(refusals: int) -> float | None:
    """Seconds before a refused task is offered again: 1, 2, 4 … at most 60; None at the tenth refusal in a row."""
    if refusals >= MAX_REFUSALS:
        return None
    return min(REFUSAL_CAP, 2.0 ** (refusals - 1))
