"""Webhooks and their deliveries in concurrent transactions, and what is bounded."""

from __future__ import annotations

import pytest

from scheduler_svc.application.webhooks import webhooks
from scheduler_svc.domain.errors import TooManyWebhooks
from scheduler_svc.domain.webhook import MAX_WEBHOOKS
from tests.harness.scheduling import Scheduling
from tests.integration.racing import overtaken


@pytest.mark.parametrize("account_id", [0, 1])
def test_two_calls_at_once_create_no_webhook_too_many(scheduling: Scheduling, account_id: int) -> None:
    new = (account_id, "https://news.example/", ("task.ended",))
    for _ in range(MAX_WEBHOOKS - 1):
        scheduling.run(webhooks.create_webhook, *new)
    with pytest.raises(TooManyWebhooks):
        overtaken(
            scheduling,
            lambda tx: webhooks.create_webhook(tx, *new),
            lambda: scheduling.run(webhooks.create_webhook, *new),
        )
