"""Webhooks: addresses that are told what happens to tasks and contents. For operators. Layer: client."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.field_mask_pb2 import FieldMask

from contentgen.client.documents import DELIVERY_STATUS, document, duration, value
from contentgen.client.methods import (
    Methods,
    lists,
    plain,
    returns,
    returns_by,
    returns_if_found,
    returns_whether_found,
)
from contentgen.client.results import Delivery, DeliveryStatus, EventType, Webhook, WebhookWithSecret
from contentgen.client.task_control import BULK_TIMEOUT
from contentgen.client.tasks import PAGE_SIZE
from contentgen.client.transport import Pages
from contentgen.v1 import webhook_service_pb2 as pb

SENDS = 10.0
"""Seconds that a ping may take beyond other calls."""


def _with_secret(answer: pb.CreateWebhookResponse | pb.RotateWebhookSecretResponse) -> WebhookWithSecret:
    return {**document(Webhook, answer.webhook), "secret": answer.secret}


class WebhookMethods(Methods):
    @returns_by(_with_secret)
    async def create_webhook(
        self, url: str, event_types: Iterable[EventType], *, account_id: int | None = None
    ) -> pb.CreateWebhookResponse:
        """Creates a webhook, active at once, and returns it with its secret, which is not shown again.

        Args:
            url: where deliveries are sent: https, or http to a network that the schedulers allow.
            event_types: what is told.
            account_id: whose events; None: those of all accounts.

        Raises:
            InvalidArgument: a bad or refused URL, or an unknown event type.
            ResourceNotFoundException: the account does not exist.
            ResourceExhausted: it has 20 webhooks already.

        Example:
            >>> made = client.create_webhook("https://news.example/hook", ["task.ended", "content.approved"])
            >>> print(made["webhook_id"], made["secret"])
        """
        request = pb.CreateWebhookRequest(account_id=account_id or 0, url=url, event_types=event_types)
        return await self._call(self._stubs.webhooks.CreateWebhook, request)

    @returns_if_found(Webhook)
    async def get_webhook(self, webhook_id: int) -> pb.Webhook:
        """Returns a webhook without its secret, or None if it does not exist.

        Example:
            >>> if webhook := client.get_webhook(webhook_id):
            ...     print(webhook["active"], webhook["last_error"])
        """
        request = pb.GetWebhookRequest(webhook_id=webhook_id)
        return (await self._call(self._stubs.webhooks.GetWebhook, request)).webhook

    @lists(Webhook)
    def iter_webhooks(self, account_id: int | None = None, *, page_size: int = PAGE_SIZE) -> Pages[pb.Webhook]:
        """Iterates over webhooks by id, which it reads page by page.

        Example:
            >>> failing = [webhook["url"] for webhook in client.iter_webhooks() if webhook["last_error"]]
        """
        request = pb.ListWebhooksRequest(account_id=account_id or 0, page_size=page_size)
        return Pages(self._transport, self._stubs.webhooks.ListWebhooks, request, lambda page: page.webhooks)

    @returns(Webhook)
    async def update_webhook(
        self,
        webhook_id: int,
        *,
        url: str | None = None,
        event_types: Iterable[EventType] | None = None,
        active: bool | None = None,
    ) -> pb.Webhook:
        """Changes a webhook, and returns it. What is None stays as it is. See `create_webhook`.

        Args:
            webhook_id: the webhook.
            url: where deliveries are sent, stored ones too.
            event_types: what is told from now on.
            active: whether events are stored and sent. An answer of 410 sets it to False.

        Raises:
            ResourceNotFoundException: the webhook does not exist.
            InvalidArgument: nothing to change, or a bad value.

        Example:
            >>> webhook = client.update_webhook(webhook_id, active=True)
        """
        fields = {"url": url, "event_types": event_types, "active": active}
        changes = {field: value for field, value in fields.items() if value is not None}
        webhook = pb.Webhook(webhook_id=webhook_id, **changes)  # type: ignore[arg-type] # by the field's own name
        request = pb.UpdateWebhookRequest(webhook=webhook, update_mask=FieldMask(paths=changes))
        return (await self._call(self._stubs.webhooks.UpdateWebhook, request)).webhook

    @returns_whether_found
    async def delete_webhook(self, webhook_id: int) -> None:
        """Deletes a webhook with its deliveries, delivered or not. Returns False if it does not exist.

        Example:
            >>> if client.delete_webhook(webhook_id):
            ...     print("deleted")
        """
        request = pb.DeleteWebhookRequest(webhook_id=webhook_id)
        await self._call(self._stubs.webhooks.DeleteWebhook, request)

    @returns_by(_with_secret)
    async def rotate_webhook_secret(
        self, webhook_id: int, *, overlap: float | None = None
    ) -> pb.RotateWebhookSecretResponse:
        """Makes a new secret, and returns the webhook with it. It is not shown again.

        Args:
            webhook_id: the webhook.
            overlap: seconds for which the present secret is valid too, up to 7 days; default 1 day.

        Raises:
            ResourceNotFoundException: the webhook does not exist.

        Example:
            >>> secret = client.rotate_webhook_secret(webhook_id, overlap=3600)["secret"]
        """
        request = pb.RotateWebhookSecretRequest(webhook_id=webhook_id, overlap=duration(overlap))
        return await self._call(self._stubs.webhooks.RotateWebhookSecret, request)

    @returns(Delivery)
    async def ping_webhook(self, webhook_id: int) -> pb.Delivery:
        """Sends a `webhook.ping` now, and returns how that went. A receiver that fails raises nothing.

        Raises:
            ResourceNotFoundException: the webhook does not exist.

        Example:
            >>> delivery = client.ping_webhook(webhook_id)
            >>> print(delivery["status"], delivery["last_error"])
        """
        request = pb.PingWebhookRequest(webhook_id=webhook_id)
        return (await self._call(self._stubs.webhooks.PingWebhook, request, waits=SENDS)).delivery

    @lists(Delivery)
    def iter_deliveries(
        self, webhook_id: int, status: DeliveryStatus | None = None, *, page_size: int = PAGE_SIZE
    ) -> Pages[pb.Delivery]:
        """Iterates over the deliveries of a webhook, newest first, which it reads page by page.

        Raises:
            ResourceNotFoundException: the webhook does not exist.
            ValueError: a status that does not exist.

        Example:
            >>> lost = [each["delivery_id"] for each in client.iter_deliveries(webhook_id, "exhausted")]
        """
        request = pb.ListDeliveriesRequest(webhook_id=webhook_id, page_size=page_size)
        if status is not None:
            request.status = value(DELIVERY_STATUS, status)
        return Pages(self._transport, self._stubs.webhooks.ListDeliveries, request, lambda page: page.deliveries)

    @returns(Delivery)
    async def redeliver_webhook(self, delivery_id: int) -> pb.Delivery:
        """Sends a delivery again, by the same `message_id`, and returns it as pending.

        Raises:
            ResourceNotFoundException: the delivery does not exist.
            InvalidStateException: its webhook is not active.

        Example:
            >>> delivery = client.redeliver_webhook(delivery_id)
        """
        request = pb.RedeliverWebhookRequest(delivery_id=delivery_id)
        return (await self._call(self._stubs.webhooks.RedeliverWebhook, request)).delivery

    @plain
    async def redeliver_deliveries(self, webhook_id: int, status: DeliveryStatus, *, limit: int = 1_000) -> int:
        """Sends deliveries of a webhook again that are in a state, oldest first, and returns how many.

        Args:
            webhook_id: the webhook.
            status: in which state; those that have failed for good are `exhausted`.
            limit: how many at most.

        Raises:
            ResourceNotFoundException: the webhook does not exist.
            InvalidStateException: the webhook is not active.

        Example:
            >>> redelivered_count = client.redeliver_deliveries(webhook_id, "exhausted")
        """
        state = value(DELIVERY_STATUS, status)
        request = pb.RedeliverWebhookRequest(webhook_id=webhook_id, status=state, limit=limit)
        answer = await self._call(self._stubs.webhooks.RedeliverWebhook, request, waits=BULK_TIMEOUT)
        return answer.redelivered_count
