"""When an attempt that did not complete is followed by another, and how long that waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_svc.domain import retry
from scheduler_svc.domain.retry import RetryBackoff

RETRYABLE = [
    "CREATOR_ERROR",
    "CREATOR_TIMEOUT",
    "CREATOR_INVALID_RESPONSE",
    "CREATOR_CLI_NOT_FOUND",
    "TASK_TIMEOUT",
    "DEFERRED",
]
FINAL = ["RESULT_TOO_LARGE", "INVALID_CREATOR_OPTIONS", "CANCELLED_BY_CLIENT", "EXPIRED", "NO_WORKER_ACCEPTS"]


@pytest.mark.parametrize("reason", RETRYABLE)
def test_another_attempt_may_help(reason: str) -> None:
    assert retry.is_retryable(reason)
    assert retry.is_auto_retried(reason, auto_retry=True, retry_count=2, max_retries=3)


@pytest.mark.parametrize("reason", FINAL)
def test_another_attempt_can_t_help(reason: str) -> None:
    assert not retry.is_retryable(reason)
    assert not retry.is_auto_retried(reason, auto_retry=True, retry_count=0, max_retries=3)


def test_a_reason_of_a_newer_worker_counts_as_retryable() -> None:
    assert retry.is_retryable("CREATOR_OUT_OF_CREDIT")


@pytest.mark.parametrize(
    ("auto_retry", "retry_count", "max_retries", "retries"),
    [(True, 0, 3, True), (True, 2, 3, True), (True, 3, 3, False), (True, 0, 0, False), (False, 0, 3, False)],
)
def test_retries_by_itself(auto_retry: bool, retry_count: int, max_retries: int, retries: bool) -> None:
    reason = "CREATOR_ERROR"
    decision = retry.is_auto_retried(reason, auto_retry=auto_retry, retry_count=retry_count, max_retries=max_retries)
    assert decision is retries


@pytest.mark.parametrize(("number", "seconds"), [(1, 30), (2, 60), (3, 120), (4, 240), (5, 480), (6, 600), (100, 600)])
def test_the_backoff_doubles_up_to_its_cap(number: int, seconds: float) -> None:
    assert RetryBackoff().before(number, 0.5) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [
        (RetryBackoff(initial_ms=500), [0.5, 1.0, 2.0, 4.0]),
        (RetryBackoff(multiplier=1.0), [30.0, 30.0, 30.0, 30.0]),
        (RetryBackoff(initial_ms=1_000, multiplier=3.5), [1.0, 3.5, 12.25, 42.875]),
        (RetryBackoff(initial_ms=1_000, multiplier=10.0, max_ms=50_000), [1.0, 10.0, 50.0, 50.0]),
        (RetryBackoff(initial_ms=3_600_000), [3_600.0, 3_600.0, 3_600.0, 3_600.0]),
        (RetryBackoff(max_ms=10_000), [10.0, 10.0, 10.0, 10.0]),
    ],
    ids=["first", "constant", "factor", "cap", "first above the cap by default", "cap below the first by default"],
)
def test_a_task_may_say_how_long_it_waits(backoff: RetryBackoff, waits: list[float]) -> None:
    assert [backoff.before(number, 0.5) for number in range(1, 5)] == pytest.approx(waits)


@given(
    number=st.integers(1, 100),
    jitter=st.floats(0, 1, exclude_max=True),
    initial=st.integers(1, 2_592_000_000),
    multiplier=st.floats(1, 100),
)
def test_no_wait_is_above_its_cap_or_below_its_first(
    number: int, jitter: float, initial: int, multiplier: float
) -> None:
    wait = RetryBackoff(initial, multiplier, 2_592_000_000).before(number, jitter)
    assert 0.9 * initial / 1e3 <= wait * (1 + 1e-9)
    assert wait <= 2_592_000


@pytest.mark.parametrize(("asked", "least", "most"), [(20, 20, 22), (0, 1, 1.1), (-5, 1, 1.1), (1e12, 86_400, 95_040)])
def test_a_deferral_waits_what_was_asked_within_bounds_and_never_less(asked: float, least: float, most: float) -> None:
    assert retry.deferral_wait(asked, 0.0) == least
    assert least < retry.deferral_wait(asked, 0.999) <= most


@given(number=st.integers(1, 32_767), jitter=st.floats(0, 1, exclude_max=True))
def test_jitter_moves_the_backoff_by_a_tenth_and_never_above_the_cap(number: int, jitter: float) -> None:
    middle = 30.0 * 2 ** min(number - 1, 10)
    assert min(600.0, 0.9 * middle) <= RetryBackoff().before(number, jitter) <= min(600.0, 1.1 * middle)


def test_two_that_failed_together_don_t_come_back_together() -> None:
    assert RetryBackoff().before(1, 0.0) < RetryBackoff().before(1, 0.9)


def test_a_refused_task_waits_longer_each_time_and_fails_at_the_tenth() -> None:
    waits = [retry.refusal_wait(refusals) for refusals in range(1, 12)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, None, None]
