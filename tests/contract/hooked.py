"""Webhooks of a replica, for tests: creates them, lists their deliveries, moves time by SQL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from contentgen.v1 import webhook_service_pb2 as pb
from tests.harness.waiting import wait_until_async

if TYPE_CHECKING:
    from contentgen.v1.webhook_service_pb2_grpc import WebhookServiceAsyncStub

ALL = (
    "task.ended",
    "content.pending_review",
    "content.approved",
    "content.rejected",
    "publish.published",
    "publish.failed",
)
PENDING, DELIVERED, EXHAUSTED = pb.DELIVERY_STATUS_PENDING, pb.DELIVERY_STATUS_DELIVERED, pb.DELIVERY_STATUS_EXHAUSTED
PATIENCE_S = 60
T = TypeVar("T")


class Hooks:
    def __init__(self, stub: WebhookServiceAsyncStub, engine: sa.Engine) -> None:
        self.stub, self._engine = stub, engine

    async def create(self, url: str, *event_types: str, account_id: int = 0) -> pb.CreateWebhookResponse:
        request = pb.CreateWebhookRequest(account_id=account_id, url=url, event_types=event_types or ALL)
        return await self.stub.CreateWebhook(request)

    async def get(self, webhook_id: int) -> pb.Webhook:
        return (await self.stub.GetWebhook(pb.GetWebhookRequest(webhook_id=webhook_id))).webhook

    async def deliveries(self, webhook_id: int, **fields: Any) -> list[pb.Delivery]:
        """Newest first."""
        request = pb.ListDeliveriesRequest(webhook_id=webhook_id, **fields)
        return list((await self.stub.ListDeliveries(request)).deliveries)

    async def until(self, webhook_id: int, *statuses: int) -> list[pb.Delivery]:
        """The deliveries, once these are their states, newest first."""

        async def found() -> list[pb.Delivery]:
            deliveries = await self.deliveries(webhook_id)
            return deliveries if [delivery.status for delivery in deliveries] == list(statuses) else []

        return await self._wait(found, f"deliveries are {statuses}")

    async def until_none_waits(self, webhook_id: int) -> None:
        async def found() -> list[str]:
            return [] if await self.deliveries(webhook_id, status=PENDING) else ["none"]

        await self._wait(found, "nothing is pending")

    async def which(self, webhook_id: int, matches: Callable[[pb.Delivery], bool]) -> list[pb.Delivery]:
        """The deliveries that match, once there are any."""

        async def found() -> list[pb.Delivery]:
            return [delivery for delivery in await self.deliveries(webhook_id) if matches(delivery)]

        return await self._wait(found, "a delivery that matches")

    async def tried(self, webhook_id: int) -> pb.Delivery:
        """The one delivery, once a try has failed."""
        (delivery,) = await self.which(webhook_id, lambda candidate: bool(candidate.last_error))
        return delivery

    async def _wait(self, search: Callable[[], Awaitable[list[T]]], what: str) -> list[T]:
        predicate: Callable[[], list[T] | Awaitable[list[T]]] = search
        return await wait_until_async(predicate, within=PATIENCE_S, what=what, every=0.05)

    def pass_time(self, seconds: float) -> None:
        """Makes every pending delivery so much older."""
        with self._engine.begin() as connection:
            connection.execute(
                sa.text(
                    "UPDATE webhook_deliveries SET next_attempt_time = next_attempt_time - make_interval(secs => :s),"
                    " expire_time = expire_time - make_interval(secs => :s),"
                    " create_time = create_time - make_interval(secs => :s) WHERE status = 1"
                ),
                {"s": seconds},
            )
