"""Webhooks: the list, the form, the secret once, ping, pause, and the deliveries of each with their replay."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import get_args
from urllib.parse import urlencode

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from console_svc.site import NOT_FOUND, Link, NotDone, Page, get, post, present
from console_svc.web.forms import Form, typed_of
from console_svc.web.language import filled, plural, refused, text
from console_svc.web.paging import account_page, fetched, page_number, page_of
from console_svc.web.sessions import Session
from contentgen import (
    DeliveryStatus,
    EventType,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    ResourceNotFoundException,
    WebhookWithSecret,
)

DELIVERY_STATES: Sequence[DeliveryStatus] = get_args(DeliveryStatus)
OVERLAPS: Mapping[str, int] = {"0": 0, "1h": 3_600, "1d": 86_400, "7d": 7 * 86_400}
"""How long the secret before a new one stays valid, in seconds."""
MAX_REDELIVERED = 10_000
"""Deliveries that one press of a button sends again."""
NO_STATE = text("There is no such state: {state}.")
GONE = text("There is no such webhook.")
EVENT_TYPES: Sequence[EventType] = [name for name in get_args(EventType) if name != "webhook.ping"]


class Webhooks(Page):
    link = Link("/webhooks", "Webhooks", 100, "WebhookService/ListWebhooks")

    @get("/webhooks")
    async def show(self, request: Request, session: Session) -> Response:
        webhooks, page = await account_page(request, session.client.iter_webhooks)
        values = {"webhooks": webhooks, **page}
        return self._site.render(request, "webhooks/list.html", values, session, bad=page["bad_account"])

    @get("/webhooks/new")
    async def blank(self, request: Request, session: Session) -> Response:
        return self._new(request, session, WebhookForm({}, ["task.ended"]))

    @post("/webhooks/new")
    async def create(self, request: Request, session: Session) -> Response:
        """Shows the secret in the answer itself: another page of the user might take a notice."""
        form = WebhookForm.sent(await request.form())
        try:
            if not form.problems:
                webhook = await session.client.create_webhook(
                    form.plain("url"), form.event_types, account_id=form.account_id
                )
                return self._secret(request, session, webhook)
        except (InvalidArgument, ResourceExhausted, ResourceNotFoundException) as error:
            form.refused(error)
        return self._new(request, session, form)

    @get("/webhooks/{webhook_id:int}")
    async def one(self, request: Request, session: Session, webhook_id: int) -> Response:
        return await self._one(request, session, webhook_id)

    @post("/webhooks/{webhook_id:int}")
    async def update(self, request: Request, session: Session, webhook_id: int) -> Response:
        form = WebhookForm.sent(await request.form())
        try:
            if not form.problems:
                await session.client.update_webhook(webhook_id, url=form.plain("url"), event_types=form.event_types)
                return self._done(session, "Changed webhook {webhook_id}.", webhook_id)
        except InvalidArgument as error:
            form.refused(error)
        return await self._one(request, session, webhook_id, form)

    @post("/webhooks/{webhook_id:int}/active")
    async def activate(self, request: Request, session: Session, webhook_id: int) -> Response:
        active = (await request.form()).get("active") == "yes"
        await session.client.update_webhook(webhook_id, active=active)
        if active:
            return self._done(session, "Webhook {webhook_id} receives events again.", webhook_id)
        return self._done(session, "Webhook {webhook_id} receives no more events.", webhook_id)

    @post("/webhooks/{webhook_id:int}/rotate")
    async def rotate(self, request: Request, session: Session, webhook_id: int) -> Response:
        overlap = OVERLAPS.get(str((await request.form()).get("overlap")), OVERLAPS["1d"])
        webhook = await session.client.rotate_webhook_secret(webhook_id, overlap=overlap)
        return self._secret(request, session, webhook)

    @post("/webhooks/{webhook_id:int}/ping")
    async def ping(self, _: Request, session: Session, webhook_id: int) -> Response:
        delivery = await session.client.ping_webhook(webhook_id)
        answer = delivery["last_status_code"]
        if delivery["status"] == "delivered":
            return self._done(session, "The receiver has answered with {status}.", webhook_id, status=answer)
        return self._done(session, "The ping has failed: {error}", webhook_id, error=delivery["last_error"] or answer)

    @post("/webhooks/{webhook_id:int}/delete")
    async def delete(self, _: Request, session: Session, webhook_id: int) -> Response:
        if not await session.client.delete_webhook(webhook_id):
            raise NotDone(GONE, NOT_FOUND)
        notice = text("Deleted webhook {webhook_id} and its deliveries.")
        return self._site.done(session, notice, "/webhooks", webhook_id=webhook_id)

    @post("/webhooks/{webhook_id:int}/deliveries")
    async def redeliver_all(self, _: Request, session: Session, webhook_id: int) -> Response:
        try:
            count = await session.client.redeliver_deliveries(webhook_id, "exhausted", limit=MAX_REDELIVERED)
        except FailedPrecondition as error:
            return self._site.done(session, refused(error), f"/webhooks/{webhook_id}")
        notice = plural("{n} delivery is sent again.", "{n} deliveries are sent again.")
        return self._site.done(session, filled(notice, n=count), f"/webhooks/{webhook_id}")

    @post("/webhooks/{webhook_id:int}/deliveries/{delivery_id:int}")
    async def redeliver(self, _: Request, session: Session, webhook_id: int, delivery_id: int) -> Response:
        try:
            await session.client.redeliver_webhook(delivery_id)
        except FailedPrecondition as error:
            return self._site.done(session, refused(error), f"/webhooks/{webhook_id}")
        return self._done(session, "Delivery {delivery_id} is sent again.", webhook_id, delivery_id=delivery_id)

    def _new(self, request: Request, session: Session, form: WebhookForm) -> Response:
        values = {"form": form, "event_types": EVENT_TYPES}
        return self._site.render(request, "webhooks/new.html", values, session, bad=form.problems)

    def _secret(self, request: Request, session: Session, webhook: WebhookWithSecret) -> Response:
        return self._site.render(request, "webhooks/secret.html", {"webhook": webhook}, session)

    async def _one(
        self, request: Request, session: Session, webhook_id: int, form: WebhookForm | None = None
    ) -> Response:
        number = page_number(request)
        typed_state = request.query_params.get("status", "")
        status = next((state for state in DELIVERY_STATES if state == typed_state), None)
        bad_state = filled(NO_STATE, state=typed_state) if typed_state and not status else ""
        try:
            stored_webhook, (deliveries, more) = await asyncio.gather(
                session.client.get_webhook(webhook_id),
                page_of(session.client.iter_deliveries(webhook_id, status, page_size=fetched(number)), number),
            )
        except ResourceNotFoundException:
            raise NotDone(GONE, NOT_FOUND) from None
        webhook = present(stored_webhook, GONE)
        filters = {"status": status} if status else {}
        values = {
            "webhook": webhook,
            "form": form or WebhookForm({"url": webhook["url"]}, webhook["event_types"]),
            "event_types": EVENT_TYPES,
            "deliveries": deliveries,
            "states": DELIVERY_STATES,
            "status": status,
            "bad_state": bad_state,
            "before": urlencode({**filters, "page": number - 1}) if number > 1 else "",
            "after": urlencode({**filters, "page": number + 1}) if more else "",
        }
        return self._site.render(request, "webhooks/webhook.html", values, session, bad=form or bad_state)

    def _done(self, session: Session, notice: str, webhook_id: int, **values: object) -> Response:
        return self._site.done(session, notice, f"/webhooks/{webhook_id}", webhook_id=webhook_id, **values)


class WebhookForm(Form):
    """The form of a webhook. `event_types` are those that are ticked."""

    def __init__(self, typed: Mapping[str, str], event_types: Sequence[str]) -> None:
        super().__init__(typed, fields=("url", "event_types", "account"))
        self.event_types = [name for name in EVENT_TYPES if name in event_types]
        self.account_id = self.account()

    @classmethod
    def sent(cls, data: FormData) -> WebhookForm:
        form = cls(typed_of(data, ("url", "account")), [str(name) for name in data.getlist("event_types")])
        if not form.event_types:
            form.problems["event_types"] = text("Choose at least one.")
        return form
