"""The sender of webhooks, with real name servers and receivers: whom it waits for, and which connections it keeps."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from scheduler_svc.domain.webhook import Claim, DeliveryAttempt
from scheduler_svc.domain.webhook_address import AddressPolicy
from scheduler_svc.webhooks.sender import Names, WebhookAddresses, WebhookSender
from tests.harness.name_server import SILENT, naming
from tests.harness.waiting import wait_until_async
from tests.harness.webhook_receiver import receiving

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
            assert await WebhookAddresses(AddressPolicy(), names).problem("https://news.example/"), "it is checked too"
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

    async def answer(request: web.Request) -> web.Response:
        assert request.transport
        ports.append(request.transport.get_extra_info("peername")[1])
        return web.Response(text="taken")

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
