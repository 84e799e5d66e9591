"""How many tries webhooks may begin: whatever others have under way, places are left for the next account."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest

from scheduler_svc.domain.webhook import FIRST_CONCURRENT_TRIES, MAX_CONCURRENT_TRIES, Claim, DeliveryAttempt
from scheduler_svc.webhooks.loop import WebhookTries

NOW = datetime(2026, 1, 2, tzinfo=UTC)
WEBHOOKS = 20


def attempt(account_id: int, number: int) -> DeliveryAttempt:
    webhook_id = account_id * WEBHOOKS + number
    return DeliveryAttempt(Claim(NOW, 0), 1, webhook_id, account_id, "task.ended", 1, NOW, NOW, "msg_1", "{}", "", ())


def begin_all(tries: WebhookTries, accounts: range) -> None:
    """Begins whatever the webhooks of these accounts may begin, in rounds, as if none of them ever ended."""
    webhooks = [attempt(account_id, number) for account_id in accounts for number in range(WEBHOOKS)]
    chance = Random(1)
    while any(tries.free().values()):
        chance.shuffle(webhooks)
        free = tries.free()
        for delivery in [hook for hook in webhooks for _ in range(free[hook.webhook_id])][: tries.limit]:
            tries.begin(delivery)


@pytest.mark.parametrize(("accounts", "free"), [(1, 800), (5, 500), (50, 16)])
def test_however_many_accounts_have_slow_receivers_another_one_finds_places(accounts: int, free: int) -> None:
    tries = WebhookTries()
    steady = [attempt(account_id, number) for account_id in range(accounts) for number in range(WEBHOOKS)]
    for delivery in steady * 2:  # each has succeeded: it may have the most
        tries.begin(delivery)
        tries.end(delivery)
        tries.record(delivery, delivered=True)
    assert set(tries.free().values()) == {MAX_CONCURRENT_TRIES}
    begin_all(tries, range(accounts))
    assert 8 * tries.limit >= free
    newcomer = attempt(accounts, 0)
    tries.begin(newcomer)
    assert tries.free()[newcomer.webhook_id] == FIRST_CONCURRENT_TRIES - 1


def test_a_webhook_may_begin_more_as_it_succeeds_and_one_while_it_fails() -> None:
    tries, delivery = WebhookTries(), attempt(1, 1)
    for delivered, free in ((True, 8), (True, 16), (True, 16), (False, 1), (True, 2)):
        tries.begin(delivery)
        tries.end(delivery)
        tries.record(delivery, delivered=delivered)
        assert tries.free()[delivery.webhook_id] == free
