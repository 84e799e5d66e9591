"""How long a delivery waits for its next try, and that its secrets show nowhere."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from scheduler_svc.domain.webhook import MAX_RETRY_DELAY, RETRY_FOR, Claim, DeliveryAttempt, Webhook, retry_delay
from scheduler_svc.webhooks.work import WithSecret

JITTER = st.floats(0, 1, exclude_max=True)
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@given(JITTER)
def test_the_first_retry_comes_within_ten_seconds(jitter: float) -> None:
    assert 2 < retry_delay(1, jitter) < 10


@given(st.integers(1, 1_000_000), JITTER)
def test_waits_grow_up_to_a_bound(attempt_count: int, jitter: float) -> None:
    assert retry_delay(attempt_count, 0.5) <= retry_delay(attempt_count + 1, 0.5) <= MAX_RETRY_DELAY
    assert 0.8 <= retry_delay(attempt_count, jitter) / retry_delay(attempt_count, 0.5) <= 1.2


def test_three_days_have_a_bounded_number_of_tries() -> None:
    passed, tries = 0.0, 1
    while (passed := passed + retry_delay(tries, 0.5)) < RETRY_FOR.total_seconds():
        tries += 1
    assert 15 < tries < 25


def test_secrets_are_in_no_text() -> None:
    webhook = Webhook(1, 0, "https://news.example/", ("task.ended",), True, "", NOW, None)
    attempt = DeliveryAttempt(
        Claim(NOW, 0), 1, 1, 1, "task.ended", 1, NOW, NOW, "msg_1", "{}", webhook.url, ("whsec_secret",)
    )
    for holder in (attempt, WithSecret(webhook, "whsec_secret")):
        assert "whsec_secret" not in f"{holder} {holder!r} {[holder]}"
