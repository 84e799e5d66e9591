"""Deliveries in concurrent transactions, and their sender with real receivers."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from scheduler_svc.domain.account import ALL
from scheduler_svc.domain.errors import TooManyWebhooks
from scheduler_svc.domain.webhook import (
    MAX_WEBHOOKS,
    AddressPolicy,
    Claim,
    DeliveryAttempt,
    DeliveryStatus,
    Response,
)
from scheduler_svc.transactions import Tx
from scheduler_svc.webhooks import work as webhooks
from scheduler_svc.webhooks.sender import Names, WebhookSender, address_problem
from tests.harness.http_server import Handler
from tests.harness.receivers import SILENT, naming, receiving
from tests.harness.scheduling import Scheduling, overtaken
from tests.harness.waiting import wait_until_async

pytestmark = pytest.mark.integration


# Webhooks and their deliveries in concurrent transactions, and what is bounded.


@pytest.mark.parametrize("account_id", [0, 1])
def test_two_calls_at_once_create_no_webhook_too_many(scheduling: Scheduling, account_id: int) -> None:
    def creates(tx: Tx, of: int = account_id) -> int:
        return webhooks.create_webhook(tx, of, "https://news.example/", ("task.ended",)).webhook.webhook_id

    for _ in range(MAX_WEBHOOKS - 1):
        first = scheduling.run(creates)
    with pytest.raises(TooManyWebhooks):
        overtaken(scheduling, creates, lambda: scheduling.run(creates))
    scheduling.run(creates, 1 - account_id)
    scheduling.run(webhooks.delete_webhook, ALL, first)
    scheduling.run(creates)


def test_if_too_many_deliveries_wait_no_more_are_stored_until_fewer_do(scheduling: Scheduling) -> None:
    early = scheduling.hook()
    scheduling.cancel(scheduling.submit_one())
    late = scheduling.hook()
    for _ in range(2):
        scheduling.cancel(scheduling.submit_one())
    assert scheduling.run(lambda tx: tx.deliveries.mark_backlogs(3)) == [(early, True)]
    assert scheduling.run(lambda tx: tx.deliveries.mark_backlogs(3)) == []
    hook = scheduling.run(webhooks.get_webhook, ALL, early)
    assert hook.last_error == "no more events are stored: 1,000,000 deliveries wait"
    scheduling.cancel(scheduling.submit_one())
    stored = "SELECT webhook_id, count(*) FROM webhook_deliveries GROUP BY webhook_id ORDER BY webhook_id"
    assert scheduling.sql(stored) == [(early, 3), (late, 3)]
    scheduling.sql("DELETE FROM webhook_deliveries")
    assert scheduling.run(lambda tx: tx.deliveries.mark_backlogs(3)) == [(early, False)]
    scheduling.sql("UPDATE webhooks SET active = false")  # what is checked of active ones does not hold now


def test_what_a_killed_scheduler_was_delivering_is_repeated_by_another_under_its_id(scheduling: Scheduling) -> None:
    """Were it alive after all, what it records would no longer count."""
    scheduling.hook()
    scheduling.cancel(scheduling.submit_one())

    def claimed() -> list[DeliveryAttempt]:
        return scheduling.run(webhooks.next_round, [], {}, 10).attempts

    (first,) = claimed()
    assert claimed() == []
    scheduling.sql("UPDATE webhook_deliveries SET next_attempt_time = now()")
    (second,) = claimed()
    assert (second.message_id, second.attempt_count) == (first.message_id, 2)
    for attempt, status in ((first, DeliveryStatus.PENDING), (second, DeliveryStatus.DELIVERED)):
        scheduling.run(webhooks.record, [webhooks.Tried(attempt, Response(204, ""))])
        assert scheduling.sql("SELECT status FROM webhook_deliveries") == [(status,)]


# The sender of webhooks, with real name servers and receivers: whom it waits for, and which connections it keeps.


NOW = datetime(2026, 1, 2, tzinfo=UTC)
POLICY = AddressPolicy((ipaddress.ip_network("127.0.0.0/8"),))
SILENT_NAMES = 100
PATIENCE_S = 8


def attempt(url: str) -> DeliveryAttempt:
    """Claimed at second 0 of this machine's time and NOW of the database's, for 30 s."""
    until = NOW + timedelta(seconds=30)
    claim = Claim(NOW, 0)
    return DeliveryAttempt(claim, 1, 1, 1, "task.ended", 1, until, NOW, "msg_1", "{}", url, ("whsec_c2VjcmV0",))


@asynccontextmanager
async def sending(names: Names, now: float = 0) -> AsyncIterator[WebhookSender]:
    """`now`: this machine's time."""
    sender = WebhookSender(POLICY, names, boottime=lambda: now)
    try:
        yield sender
    finally:
        await sender.close()
        await names.close()


async def test_names_that_are_never_answered_hold_up_no_others() -> None:
    async with receiving() as receiver, naming() as server:
        names = Names([server.address])
        async with sending(names) as sender, asyncio.TaskGroup() as group:
            hosts = {f"{SILENT}{n}.example" for n in range(SILENT_NAMES)}
            tries = [group.create_task(sender.send(attempt(f"http://{host}/"))) for host in sorted(hosts)]
            await wait_until_async(lambda: hosts <= server.asked, within=PATIENCE_S, what="all names are asked for")
            response = await sender.send(attempt(f"http://news.example:{receiver.port}/"))
            assert response.delivered, response
            assert await address_problem(AddressPolicy(), names, "https://news.example/"), "it is checked too"
            assert not any(task.done() for task in tries)
            for pending_task in tries:
                pending_task.cancel()
        assert len(receiver.received) == 1


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_hosts_of_the_system_are_known(host: str) -> None:
    async with receiving() as receiver, sending(Names()) as sender:
        response = await sender.send(attempt(f"http://{host}:{receiver.port}/"))
        assert response.delivered, response


async def test_a_connection_is_kept_for_the_next_try() -> None:
    ports = []

    def answer(request: Handler) -> None:
        ports.append(request.client_address[1])
        request.answer(200, b"taken")

    async with receiving() as receiver, sending(Names()) as sender:
        receiver.answer = answer
        for _ in range(3):
            assert (await sender.send(attempt(receiver.url))).delivered
    assert len(ports) == 3
    assert len(set(ports)) == 1


async def test_a_try_that_may_outlast_its_claim_is_not_sent() -> None:
    async with receiving() as receiver, sending(Names(), now=20.5) as sender:
        response = await sender.send(attempt(receiver.url))
        assert response == (0, "not sent: this scheduler stood still for too long")
    assert receiver.received == []


async def test_a_try_is_signed_with_the_time_of_the_database() -> None:
    async with receiving() as receiver, sending(Names(), now=7) as sender:
        assert (await sender.send(attempt(receiver.url))).delivered
    (received,) = receiver.received
    assert int(received.headers["webhook-timestamp"]) == NOW.timestamp() + 7
