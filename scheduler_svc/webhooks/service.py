"""WebhookService: webhooks, their secrets and deliveries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import partial
from operator import attrgetter

from contentgen.v1 import webhook_service_pb2 as pb
from contentgen.v1.webhook_service_pb2_grpc import WebhookServiceServicer
from scheduler_svc.domain.webhook import (
    MAX_URL,
    SUBSCRIBABLE,
    DeliveryAttempt,
    DeliveryStatus,
    Response,
    Webhook,
    WebhookChange,
)
from scheduler_svc.runtime.access import caller, may_call
from scheduler_svc.runtime.auditing import replaces
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.pages import PageRequest
from scheduler_svc.runtime.validation import MAX_INT32, MAX_NAME, Violations, checked_id, message_of
from scheduler_svc.webhooks import work
from scheduler_svc.webhooks.work import Tried

DEFAULT_OVERLAP = timedelta(days=1)
MAX_OVERLAP = timedelta(days=7)
MAX_EVENT_TYPES = 100
DEFAULT_REDELIVERED = 1_000
REDELIVER_BATCH = 500
"""Deliveries that one transaction makes due."""


@dataclass(eq=False)
class WebhookService(WebhookServiceServicer):
    reads: Calls
    operators: Calls
    url_problem: Callable[[str], Awaitable[str | None]]
    """Returns why a URL is refused."""
    send: Callable[[DeliveryAttempt], Awaitable[Response]]
    """Tries a delivery once."""
    changed: Callable[[], Awaitable[None]]
    """Is awaited after each change of a webhook, so that this replica's moves follow it from then on."""

    async def CreateWebhook(self, request: pb.CreateWebhookRequest, context: object) -> pb.CreateWebhookResponse:
        with Violations() as violations:
            violations.account_filter("account_id", request.account_id)
            await check_url("url", request.url, self.url_problem, violations)
            types = checked_event_types("event_types", request.event_types, SUBSCRIBABLE, violations)
        result = await self.operators.run(work.create_webhook, request.account_id, request.url, types)
        await self.changed()
        return pb.CreateWebhookResponse(webhook=_message(result.webhook), secret=result.secret)

    async def GetWebhook(self, request: pb.GetWebhookRequest, context: object) -> pb.GetWebhookResponse:
        webhook_id = checked_id("webhook_id", request.webhook_id)
        webhook = await self.reads.run(work.get_webhook, caller().scope, webhook_id)
        return pb.GetWebhookResponse(webhook=_message(webhook))

    async def ListWebhooks(self, request: pb.ListWebhooksRequest, context: object) -> pb.ListWebhooksResponse:
        with Violations() as violations:
            violations.account_filter("account_id", request.account_id)
            page = PageRequest.of(request, violations, "ListWebhooks", request.account_id)
        scope = caller().scope
        webhooks = await self.reads.run(lambda tx: tx.webhooks.list(scope, page.position or 0, page.limit))
        listed, token = page.cut(webhooks, _message, attrgetter("webhook_id"))
        return pb.ListWebhooksResponse(webhooks=listed, next_page_token=token)

    async def UpdateWebhook(self, request: pb.UpdateWebhookRequest, context: object) -> pb.UpdateWebhookResponse:
        with Violations() as violations:
            violations.id("webhook.webhook_id", request.webhook.webhook_id)
            change = await self._change(request, violations)
        webhook_id = request.webhook.webhook_id
        before, changed = await self.operators.run(work.update_webhook, caller().scope, webhook_id, change)
        replaces(_message(before))
        await self.changed()
        return pb.UpdateWebhookResponse(webhook=_message(changed))

    async def DeleteWebhook(self, request: pb.DeleteWebhookRequest, context: object) -> pb.DeleteWebhookResponse:
        webhook_id = checked_id("webhook_id", request.webhook_id)
        await self.operators.run(work.delete_webhook, caller().scope, webhook_id)
        await self.changed()
        return pb.DeleteWebhookResponse()

    async def RotateWebhookSecret(
        self, request: pb.RotateWebhookSecretRequest, context: object
    ) -> pb.RotateWebhookSecretResponse:
        overlap = DEFAULT_OVERLAP
        with Violations() as violations:
            violations.id("webhook_id", request.webhook_id)
            if request.HasField("overlap"):
                overlap = violations.duration("overlap", request.overlap, timedelta(0), MAX_OVERLAP)
        rotated = await self.operators.run(work.rotate_secret, caller().scope, request.webhook_id, overlap)
        return pb.RotateWebhookSecretResponse(webhook=_message(rotated.webhook), secret=rotated.secret)

    async def PingWebhook(self, request: pb.PingWebhookRequest, context: object) -> pb.PingWebhookResponse:
        webhook_id = checked_id("webhook_id", request.webhook_id)
        attempt = await self.operators.run(work.claim_ping, caller().scope, webhook_id)
        tried = Tried(attempt, await self.send(attempt))
        delivery = await self.operators.run(work.record_ping, tried)
        return pb.PingWebhookResponse(delivery=message_of(pb.Delivery, delivery))

    async def ListDeliveries(self, request: pb.ListDeliveriesRequest, context: object) -> pb.ListDeliveriesResponse:
        with Violations() as violations:
            violations.id("webhook_id", request.webhook_id)
            status = violations.status("status", request.status, DeliveryStatus)
            page = PageRequest.of(request, violations, "ListDeliveries", request.webhook_id, request.status)
        deliveries = await self.reads.run(
            work.list_deliveries, caller().scope, request.webhook_id, status, before=page.position, limit=page.limit
        )
        listed, token = page.cut(deliveries, partial(message_of, pb.Delivery), attrgetter("delivery_id"))
        return pb.ListDeliveriesResponse(deliveries=listed, next_page_token=token)

    async def RedeliverWebhook(
        self, request: pb.RedeliverWebhookRequest, context: object
    ) -> pb.RedeliverWebhookResponse:
        if not request.webhook_id:
            with Violations() as violations:
                violations.id("delivery_id", request.delivery_id)
                for field in ("status", "limit"):
                    if getattr(request, field):
                        violations.add(field, "goes with webhook_id")
            delivery = await self.operators.run(work.redeliver, caller().scope, request.delivery_id)
            return pb.RedeliverWebhookResponse(delivery=message_of(pb.Delivery, delivery), redelivered_count=1)
        with Violations() as violations:
            if request.delivery_id:
                violations.add("delivery_id", "give it or webhook_id, not both")
            violations.id("webhook_id", request.webhook_id)
            violations.number("limit", request.limit, 0, MAX_INT32)
            violations.status("status", request.status, DeliveryStatus)
            if not request.status:
                violations.add("status", "is required with webhook_id")
        limit = request.limit or DEFAULT_REDELIVERED
        count = await self._redeliver(request.webhook_id, DeliveryStatus(request.status), limit)
        return pb.RedeliverWebhookResponse(redelivered_count=count)

    async def _redeliver(self, webhook_id: int, status: DeliveryStatus, limit: int) -> int:
        """Sends deliveries of a webhook again, each once, and returns how many."""
        count = after = 0
        while count < limit:
            batch = min(limit - count, REDELIVER_BATCH)
            ids = await self.operators.run(
                work.redeliver_batch, caller().scope, webhook_id, status, after=after, limit=batch
            )
            if not ids:
                break
            count, after = count + len(ids), max(ids)
        return count

    async def _change(self, request: pb.UpdateWebhookRequest, violations: Violations) -> WebhookChange:
        changeable = tuple(field.name for field in fields(WebhookChange))
        paths = violations.mask("update_mask", request.update_mask, changeable)
        url = types = active = None
        if "url" in paths:
            url = request.webhook.url
            await check_url("webhook.url", url, self.url_problem, violations)
        if "event_types" in paths:
            wanted = request.webhook.event_types
            types = checked_event_types("webhook.event_types", wanted, SUBSCRIBABLE, violations)
        if "active" in paths:
            active = request.webhook.active
        return WebhookChange(url, types, active)


def _message(webhook: Webhook) -> pb.Webhook:
    """Its address may hold a secret of its receiver's: it is for those who may change it."""
    return message_of(pb.Webhook, webhook, url=webhook.url if may_call("WebhookService/UpdateWebhook") else "")


async def check_url(
    field: str, url: str, url_problem: Callable[[str], Awaitable[str | None]], violations: Violations
) -> None:
    """Adds why an address is refused, if it is."""
    if not 0 < len(url) <= MAX_URL:
        violations.add(field, f"is required: 1 to {MAX_URL:,} characters, has {len(url):,}")
    elif problem := await url_problem(url):
        violations.add(field, problem)


def checked_event_types(
    field: str, names: Sequence[str], known: Sequence[str], violations: Violations
) -> tuple[str, ...]:
    """Returns those that are named, each once; one or more of `known` must be."""
    choices = ", ".join(known)
    if not names:
        violations.add(field, f"is required: one or more of {choices}")
    if violations.count(field, len(names), 0, MAX_EVENT_TYPES):
        for i, name in enumerate(names):
            if name not in known:
                violations.add(f"{field}[{i}]", f"must be one of {choices}, is {name[:MAX_NAME]!r}")
    return tuple(event_type for event_type in known if event_type in names)
