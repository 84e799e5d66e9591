"""Webhooks and their deliveries in concurrent transactions, and what is bounded."""

from __future__ import annotations

import pytest

from scheduler_svc.domain.access import ALL
from scheduler_svc.domain.errors import TooManyWebhooks
from scheduler_svc.domain.webhook import MAX_WEBHOOKS
from scheduler_svc.webhooks import work as webhooks
from scheduler_svc.webhooks.work import mark_backlogs
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


def test_if_too_many_deliveries_wait_no_more_are_stored_until_fewer_do(scheduling: Scheduling) -> None:
    early = scheduling.hook()
    scheduling.cancel(scheduling.submit_one())
    late = scheduling.hook()
    for _ in range(2):
        scheduling.cancel(scheduling.submit_one())
    assert scheduling.run(mark_backlogs, 3) == [(early, True)]
    assert scheduling.run(mark_backlogs, 3) == []
    hook = scheduling.run(webhooks.get_webhook, ALL, early)
    assert hook.last_error == "no more events are stored: 1,000,000 deliveries wait"
    scheduling.cancel(scheduling.submit_one())
    stored = "SELECT webhook_id, count(*) FROM webhook_deliveries GROUP BY webhook_id ORDER BY webhook_id"
    assert scheduling.sql(stored) == [(early, 3), (late, 3)]
    scheduling.sql("DELETE FROM webhook_deliveries")
    assert scheduling.run(mark_backlogs, 3) == [(early, False)]
    scheduling.sql("UPDATE webhooks SET active = false")  # what is checked of active ones does not hold now
