"""When an attempt that did not complete is followed by another, and how long that waits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_svc.domain import retry

RETRYABLE = ["CREATOR_ERROR", "CREATOR_TIMEOUT", "CREATOR_INVALID_RESPONSE", "CREATOR_CLI_NOT_FOUND", "TASK_TIMEOUT"]
FINAL = ["RESULT_TOO_LARGE", "INVALID_CREATOR_OPTIONS", "CANCELLED_BY_CLIENT", "NO_WORKER_ACCEPTS"]


@pytest.mark.parametrize("reason", RETRYABLE)
def test_another_attempt_may_help(reason: str) -> None:
    assert retry.is_retryable(reason)
    assert retry.retries_by_itself(reason, auto_retry=True, retry_count=2, max_retries=3)


@pytest.mark.parametrize("reason", FINAL)
def test_another_attempt_can_t_help(reason: str) -> None:
    assert not retry.is_retryable(reason)
    assert not retry.retries_by_itself(reason, auto_retry=True, retry_count=0, max_retries=3)


def test_a_reason_of_a_newer_worker_counts_as_retryable() -> None:
    assert retry.is_retryable("CREATOR_OUT_OF_CREDIT")


@pytest.mark.parametrize(
    ("auto_retry", "retry_count", "max_retries", "retries"),
    [(True, 0, 3, True), (True, 2, 3, True), (True, 3, 3, False), (True, 0, 0, False), (False, 0, 3, False)],
)
def test_retries_by_itself(auto_retry: bool, retry_count: int, max_retries: int, retries: bool) -> None:
    reason = "CREATOR_ERROR"
    found = retry.retries_by_itself(reason, auto_retry=auto_retry, retry_count=retry_count, max_retries=max_retries)
    assert found is retries


@pytest.mark.parametrize(("number", "seconds"), [(1, 30), (2, 60), (3, 120), (4, 240), (5, 480), (6, 600), (100, 600)])
def test_the_backoff_doubles_up_to_its_cap(number: int, seconds: float) -> None:
    assert retry.backoff(number, 0.5) == pytest.approx(seconds)


@given(number=st.integers(1, 32_767), jitter=st.floats(0, 1, exclude_max=True))
def test_jitter_moves_the_backoff_by_a_tenth_and_never_above_the_cap(number: int, jitter: float) -> None:
    middle = 30.0 * 2 ** min(number - 1, 10)
    assert min(600.0, 0.9 * middle) <= retry.backoff(number, jitter) <= min(600.0, 1.1 * middle)


def test_two_that_failed_together_don_t_come_back_together() -> None:
    assert retry.backoff(1, 0.0) < retry.backoff(1, 0.9)


def test_a_refused_task_waits_longer_each_time_and_fails_at_the_tenth() -> None:
    waits = [retry.refusal_wait(refusals) for refusals in range(1, 12)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, None, None]
