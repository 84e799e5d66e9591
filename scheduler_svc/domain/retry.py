"""When an attempt that did not complete is followed by another."""

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

DEFAULT_PAUSE, MIN_PAUSE, MAX_PAUSE = 30.0, 1.0, 86_400.0
"""Seconds that a deferral waits; what a CLI asks for beyond the bounds counts as the nearer one."""

AUTO_RETRY, REQUEUED, RETRY_TASK = "AUTO_RETRY", "REQUEUED", "RETRY_TASK"
"""Reasons of moves back to pending: a retry by itself, at once after a loss, and by a client."""

FINAL_REASONS = frozenset({"RESULT_TOO_LARGE", "INVALID_CREATOR_OPTIONS", CANCELLED_BY_CLIENT, NO_WORKER_ACCEPTS})


def is_retryable(reason: str) -> bool:
    """Whether another attempt may help. Reasons of newer workers that we don't know count as retryable."""
    return reason not in FINAL_REASONS


def retries_by_itself(reason: str, *, auto_retry: bool, retry_count: int, max_retries: int) -> bool:
    """Whether a failed or timed out attempt is followed by another without a call of RetryTask."""
    return auto_retry and retry_count < max_retries and is_retryable(reason)


_MAX_EXPONENT = 100
"""As many retries as a task may have; keeps the power below what a double holds."""


class RetryBackoff(NamedTuple):
    """How long a task waits before its retries, as its submit says. None: the default."""

    initial_ms: int | None = None
    """Default: 30 s."""
    multiplier: float | None = None
    """1 or more. Default: 2."""
    max_ms: int | None = None
    """Default: 10 min, or `initial_ms` where that is longer."""

    def before(self, retry_count: int, jitter: float) -> float:
        """Seconds before retry number `retry_count` (from 1): 30, 60, 120 … at most 600 by default.

        `jitter` in [0, 1) moves it by a tenth either way, so that tasks which failed together don't come back together.
        """
        initial = INITIAL_BACKOFF_MS if self.initial_ms is None else self.initial_ms
        multiplier = BACKOFF_MULTIPLIER if self.multiplier is None else self.multiplier
        most = max(MAX_BACKOFF_MS, initial) if self.max_ms is None else self.max_ms
        return min(most, initial * multiplier ** min(retry_count - 1, _MAX_EXPONENT) * (0.9 + 0.2 * jitter)) / 1e3


DEFAULT_BACKOFF = RetryBackoff()


def deferral_wait(asked: float, jitter: float) -> float:
    """Seconds before a deferred task is offered again: what its CLI `asked` for, within bounds, and up to a tenth more.

    `jitter` in [0, 1): tasks that were deferred together don't come back together, and none too early.
    """
    return min(MAX_PAUSE, max(MIN_PAUSE, asked)) * (1 + 0.1 * jitter)


def refusal_wait(refusals: int) -> float | None:
    """Seconds before a refused task is offered again: 1, 2, 4 … at most 60; None at the tenth refusal in a row."""
    if refusals >= MAX_REFUSALS:
        return None
    return min(MAX_REFUSAL_WAIT, 2.0 ** (refusals - 1))
