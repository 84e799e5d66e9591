"""NotificationService: channels, by which people get messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter
from typing import Any

from contentgen.v1 import notification_service_pb2 as pb
from contentgen.v1.notification_service_pb2_grpc import NotificationServiceServicer
from scheduler_svc.domain.channel import LANGUAGES, MAX_DIGEST, Channel, NewChannel, QuietHours
from scheduler_svc.domain.webhook import SUBSCRIBABLE, DeliveryAttempt, EventType, Response
from scheduler_svc.notifications import work
from scheduler_svc.runtime.access import caller
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.pages import PageRequest
from scheduler_svc.runtime.validation import MAX_NAME, Violations, checked_id, duration, message_of
from scheduler_svc.webhooks.service import check_url, checked_event_types
from scheduler_svc.webhooks.work import Tried, record_ping

EVENT_TYPES = (EventType.TASK_FAILED, *SUBSCRIBABLE)
MAX_ACCOUNTS = 100
_FIELDS = (*NewChannel.__slots__, "active")


@dataclass(eq=False)
class NotificationService(NotificationServiceServicer):
    reads: Calls
    operators: Calls
    url_problem: Callable[[str], Awaitable[str | None]]
    """Returns why an address is refused."""
    send: Callable[[DeliveryAttempt], Awaitable[Response]]
    """Tries a delivery once."""
    changed: Callable[[], Awaitable[None]]
    """Is awaited after each change of a channel, so that this replica's moves follow it from then on."""

    async def CreateChannel(self, request: pb.CreateChannelRequest, context: object) -> pb.CreateChannelResponse:
        with Violations() as violations:
            if request.channel.channel_id:
                violations.add("channel.channel_id", "must be unset: the scheduler assigns it")
            values = await self._read(request.channel, NewChannel.__slots__, violations)
        channel = await self.operators.run(work.create_channel, NewChannel(**values))
        await self.changed()
        return pb.CreateChannelResponse(channel=_message(channel))

    async def ListChannels(self, request: pb.ListChannelsRequest, context: object) -> pb.ListChannelsResponse:
        with Violations() as violations:
            page = PageRequest.of(request, violations, "ListChannels")
        scope = caller().scope
        channels = await self.reads.run(lambda tx: tx.channels.list(scope, page.position or 0, page.limit))
        listed, token = page.cut(channels, _message, attrgetter("channel_id"))
        return pb.ListChannelsResponse(channels=listed, next_page_token=token)

    async def UpdateChannel(self, request: pb.UpdateChannelRequest, context: object) -> pb.UpdateChannelResponse:
        with Violations() as violations:
            violations.id("channel.channel_id", request.channel.channel_id)
            paths = violations.mask("update_mask", request.update_mask, _FIELDS)
            change = await self._read(request.channel, [name for name in _FIELDS if name in paths], violations)
        if "account_ids" in change:
            _require_accounts(change["account_ids"])
        channel_id = request.channel.channel_id
        channel = await self.operators.run(work.update_channel, caller().scope, channel_id, change)
        await self.changed()
        return pb.UpdateChannelResponse(channel=_message(channel))

    async def DeleteChannel(self, request: pb.DeleteChannelRequest, context: object) -> pb.DeleteChannelResponse:
        channel_id = checked_id("channel_id", request.channel_id)
        await self.operators.run(work.delete_channel, caller().scope, channel_id)
        await self.changed()
        return pb.DeleteChannelResponse()

    async def TestChannel(self, request: pb.TestChannelRequest, context: object) -> pb.TestChannelResponse:
        channel_id = checked_id("channel_id", request.channel_id)
        attempt = await self.operators.run(work.claim_test, caller().scope, channel_id)
        response = await self.send(attempt)
        await self.operators.run(record_ping, Tried(attempt, response))
        return pb.TestChannelResponse(delivered=response.delivered, error=response.error)

    async def _read(self, channel: pb.Channel, names: Sequence[str], violations: Violations) -> dict[str, Any]:
        violations.path = "channel."
        if "url" in names:
            await check_url("url", channel.url, self.url_problem, violations)
        values = {name: _READ[name](channel, violations) for name in names}
        violations.path = ""
        return values


def _require_accounts(account_ids: Sequence[int]) -> None:
    if account_ids:
        caller().about(set(account_ids))
    else:
        caller().require_all_accounts("channels of all accounts")


def _message(channel: Channel) -> pb.Channel:
    return message_of(pb.Channel, channel, url="", digest=duration(channel.digest))


def _description(channel: pb.Channel, violations: Violations) -> str:
    violations.text("description", channel.description, MAX_NAME)
    return channel.description


def _account_ids(channel: pb.Channel, violations: Violations) -> tuple[int, ...]:
    if violations.count("account_ids", len(channel.account_ids), 0, MAX_ACCOUNTS):
        for i, account_id in enumerate(channel.account_ids):
            violations.id(f"account_ids[{i}]", account_id)
    return tuple(sorted(set(channel.account_ids)))


def _quiet_hours(channel: pb.Channel, violations: Violations) -> str:
    if channel.quiet_hours and not QuietHours.read(channel.quiet_hours):
        example = "22:00-08:00 Asia/Shanghai"
        violations.add("quiet_hours", f"must be two times of a day and a zone of the IANA database, such as {example}")
    return channel.quiet_hours


def _language(channel: pb.Channel, violations: Violations) -> str:
    if channel.language and channel.language not in LANGUAGES:
        violations.add("language", f"must be one of {', '.join(LANGUAGES)}, is {channel.language[:MAX_NAME]!r}")
    return channel.language or LANGUAGES[0]


_READ: dict[str, Callable[[pb.Channel, Violations], Any]] = {
    "url": lambda channel, _: channel.url,
    "description": _description,
    "event_types": lambda channel, bad: checked_event_types("event_types", channel.event_types, EVENT_TYPES, bad),
    "account_ids": _account_ids,
    "quiet_hours": _quiet_hours,
    "digest": lambda channel, bad: bad.duration("digest", channel.digest, timedelta(0), MAX_DIGEST),
    "language": _language,
    "active": lambda channel, _: channel.active,
}
