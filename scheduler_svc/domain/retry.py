"""Whether another attempt follows one without a result, and after which wait."""

from __future__ import annotations

from typing import NamedTuple

INITIAL_BACKOFF_MS = 30_000
BACKOFF_MULTIPLIER = 2.0
MAX_BACKOFF_MS = 600_000
MAX_REFUSAL_WAIT = 60.0
MAX_REFUSALS = 10

WORKER_LOST = "WORKER_LOST"
TASK_TIMEOUT = "TASK_TIMEOUT"
NO_WORKER_ACCEPTS = "NO_WORKER_ACCEPTS"
CANCELLED_BY_CLIENT = "CANCELLED_BY_CLIENT"
DEFERRED = "DEFERRED"
EXPIRED = "EXPIRED"

DEFAULT_PAUSE, MIN_PAUSE, MAX_PAUSE = 30.0, 1.0, 86_400.0
"""Seconds that a deferral waits; a CLI's request beyond the bounds counts as the nearer bound."""

AUTO_RETRY, REQUEUED, RETRY_TASK = "AUTO_RETRY", "REQUEUED", "RETRY_TASK"
"""Reasons of moves back to pending: an automatic retry, a requeue after a loss, and RetryTask."""

FINAL_REASONS = frozenset(
    {"RESULT_TOO_LARGE", "INVALID_CREATOR_OPTIONS", CANCELLED_BY_CLIENT, EXPIRED, NO_WORKER_ACCEPTS}
)


def is_retryable(reason: str) -> bool:
    """Returns whether another attempt may help. Unknown reasons, of newer workers, count as retryable."""
    return reason not in FINAL_REASONS


def is_auto_retried(reason: str, *, auto_retry: bool, retry_count: int, max_retries: int) -> bool:
    return auto_retry and retry_count < max_retries and is_retryable(reason)


_MAX_EXPONENT = 100
"""The maximum number of a task's retries; keeps the power below a double's maximum."""


class RetryBackoff(NamedTuple):
    """The waits before a task's retries, as in its submit. None: the default."""

    initial_ms: int | None = None
    """Default: 30 s."""
    multiplier: float | None = None
    """1 or more. Default: 2."""
    max_ms: int | None = None
    """Default: 10 min, or `initial_ms` if that is longer."""

    def before(self, retry_count: int, jitter: float) -> float:
        """Returns the seconds before retry number `retry_count` (from 1): by default 30, 60, 120 … at most 600.

        `jitter` in [0, 1) changes it by up to a tenth, so that tasks which failed together don't retry together.
        """
        initial = INITIAL_BACKOFF_MS if self.initial_ms is None else self.initial_ms
        multiplier = BACKOFF_MULTIPLIER if self.multiplier is None else self.multiplier
        most = max(MAX_BACKOFF_MS, initial) if self.max_ms is None else self.max_ms
        return min(most, initial * multiplier ** min(retry_count - 1, _MAX_EXPONENT) * (0.9 + 0.2 * jitter)) / 1e3


DEFAULT_BACKOFF = RetryBackoff()


def deferral_wait(asked: float, jitter: float) -> float:
    """Returns the seconds before a deferred task is offered again: the CLI's request within bounds, and up to a tenth
    more.

    `jitter` in [0, 1): tasks that were deferred together don't come back together, and none too early.
    """
    return min(MAX_PAUSE, max(MIN_PAUSE, asked)) * (1 + 0.1 * jitter)


def refusal_wait(refusals: int) -> float | None:
    """Returns the seconds before a refused task is offered again: 1, 2, 4 … at most 60; None at the tenth refusal in a
    row.
    """
    if refusals >= MAX_REFUSALS:
        return None
    return min(MAX_REFUSAL_WAIT, 2.0 ** (refusals - 1))
