"""Channels, by which people are told what happens: the list, the form, a test message, pause and deletion."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from console_svc.site import NOT_FOUND, Link, NotDone, Page, get, post
from console_svc.web.account_names import AccountNames
from console_svc.web.forms import Form, typed_of
from console_svc.web.language import text
from console_svc.web.paging import all_of
from console_svc.web.sessions import Session
from console_svc.web.values import seconds, zone_of
from contentgen import Channel, ChannelEvent, InvalidArgument, ResourceExhausted, ResourceNotFoundException

EVENTS: Sequence[ChannelEvent] = get_args(ChannelEvent)
GONE = text("There is no such channel.")
_NAMES = ("url", "description", "accounts", "begin", "end", "zone", "digest", "language")
_PATHS = {"quiet_hours": "begin", "account_ids": "accounts"}


class Notifications(Page):
    link = Link("/notifications", "Notifications", 105, "NotificationService/ListChannels")

    @get("/notifications")
    async def show(self, request: Request, session: Session) -> Response:
        channels = await all_of(session.client.iter_channels())
        return self._site.render(request, "notifications/list.html", {"channels": channels}, session)

    @get("/notifications/new")
    async def blank(self, request: Request, session: Session) -> Response:
        typed = {"zone": zone_of(request).key, "language": "zh_CN", **session.chosen("accounts")}
        form = ChannelForm(typed, (EVENTS[0], EVENTS[2], EVENTS[-1]))
        return self._form(request, session, form)

    @post("/notifications/new")
    async def create(self, request: Request, session: Session) -> Response:
        form = ChannelForm.sent(await request.form(), session.accounts)
        try:
            if not form.problems:
                channel = await session.client.create_channel(form.plain("url"), **form.values)
                return self._done(session, "The channel is there. Send a test message.", channel["channel_id"])
        except (InvalidArgument, ResourceExhausted, ResourceNotFoundException) as error:
            form.refused(error)
        return self._form(request, session, form)

    @get("/notifications/{channel_id:int}")
    async def one(self, request: Request, session: Session, channel_id: int) -> Response:
        channel = await self._channel(session, channel_id)
        return self._form(request, session, ChannelForm.of(channel, zone_of(request).key, session.accounts), channel)

    @post("/notifications/{channel_id:int}")
    async def update(self, request: Request, session: Session, channel_id: int) -> Response:
        """An empty address leaves the present one, which is not shown."""
        form = ChannelForm.sent(await request.form(), session.accounts)
        try:
            if not form.problems:
                await session.client.update_channel(channel_id, url=form.plain("url") or None, **form.values)
                return self._done(session, "The channel is changed.", channel_id)
        except (InvalidArgument, ResourceNotFoundException) as error:
            form.refused(error)
        return self._form(request, session, form, await self._channel(session, channel_id))

    @post("/notifications/{channel_id:int}/active")
    async def activate(self, request: Request, session: Session, channel_id: int) -> Response:
        active = (await request.form()).get("active") == "yes"
        await session.client.update_channel(channel_id, active=active)
        notice = text("The channel sends messages again.") if active else text("The channel sends no more messages.")
        return self._done(session, notice, channel_id)

    @post("/notifications/{channel_id:int}/test")
    async def test(self, _: Request, session: Session, channel_id: int) -> Response:
        sent = await session.client.test_channel(channel_id)
        if sent["delivered"]:
            return self._done(session, "The test message is sent.", channel_id)
        return self._done(session, "The test message could not be sent: {error}", channel_id, error=sent["error"])

    @post("/notifications/{channel_id:int}/delete")
    async def delete(self, _: Request, session: Session, channel_id: int) -> Response:
        if not await session.client.delete_channel(channel_id):
            raise NotDone(GONE, NOT_FOUND)
        return self._site.done(session, text("The channel is deleted."), "/notifications")

    async def _channel(self, session: Session, channel_id: int) -> Channel:
        async for channel in session.client.iter_channels():
            if channel["channel_id"] == channel_id:
                return channel
        raise NotDone(GONE, NOT_FOUND)

    def _form(self, request: Request, session: Session, form: ChannelForm, channel: Channel | None = None) -> Response:
        values = {"form": form, "events": EVENTS, "channel": channel}
        return self._site.render(request, "notifications/channel.html", values, session, bad=form.problems)

    def _done(self, session: Session, notice: str, channel_id: int, **values: object) -> Response:
        return self._site.done(session, notice, f"/notifications/{channel_id}", **values)


class ChannelForm(Form):
    """The form of a channel. `event_types` are those that are ticked."""

    def __init__(self, typed: Mapping[str, str], event_types: Sequence[str]) -> None:
        super().__init__(typed, fields=(*_NAMES, "event_types"))
        self.event_types = [name for name in EVENTS if name in event_types]
        self.account_ids: Sequence[int] = ()
        self.digest = 0.0

    @classmethod
    def of(cls, channel: Channel, zone_here: str, accounts: AccountNames) -> ChannelForm:
        begin, end, zone = re.split("[- ]", channel["quiet_hours"] or "-- ", maxsplit=2)
        typed = {
            "description": channel["description"] or "",
            "accounts": accounts.typed_all(channel["account_ids"]),
            "begin": begin,
            "end": end,
            "zone": zone.strip("- ") or zone_here,
            "digest": f"{channel['digest']:g}",
            "language": channel["language"],
        }
        return cls(typed, channel["event_types"])

    @classmethod
    def sent(cls, data: FormData, accounts: AccountNames) -> ChannelForm:
        form = cls(typed_of(data, _NAMES), [str(name) for name in data.getlist("event_types")])
        if not form.event_types:
            form.problems["event_types"] = text("Choose at least one.")
        form.account_ids = form.read("accounts", accounts.numbers, text("The name or the number of an account.")) or []
        form.digest = form.read("digest", seconds, text("Choose one of these.")) or 0.0
        return form

    @property
    def values(self) -> dict[str, Any]:
        """The arguments of the client, without the address."""
        begin, end = self.plain("begin"), self.plain("end")
        return {
            "event_types": self.event_types,
            "description": self.plain("description"),
            "account_ids": self.account_ids,
            "quiet_hours": f"{begin}-{end} {self.plain('zone')}" if begin or end else "",
            "digest": self.digest,
            "language": self.plain("language") or "en",
        }

    def _field(self, path: str) -> str:
        name = path.partition(".")[2].partition("[")[0]
        return super()._field(_PATHS.get(name, name))
