"""Channels: people are told of what happens in their chat or by mail. For operators. Layer: client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from contentgen.client.documents import duration
from contentgen.client.methods import Methods, lists, returns, returns_whether_found
from contentgen.client.results import Channel, ChannelEvent, Language, MessageTest
from contentgen.client.tasks import PAGE_SIZE
from contentgen.client.transport import Pages
from contentgen.v1 import notification_service_pb2 as pb

SENDS = 20.0
"""Seconds that a call may take beyond others, for a message or the check of an address."""


class NotificationMethods(Methods):
    @returns(Channel)
    async def create_channel(
        self,
        url: str,
        event_types: Iterable[ChannelEvent],
        *,
        description: str = "",
        account_ids: Iterable[int] = (),
        quiet_hours: str = "",
        digest: float = 0.0,
        language: Language = "en",
    ) -> pb.Channel:
        """Creates a channel, active at once, and returns it without its address.

        Args:
            url: where messages go: an address of the library apprise, such as `feishu://TOKEN`.
            event_types: what is told.
            description: what it is for.
            account_ids: whose events; none: those of all accounts.
            quiet_hours: when nothing is sent, such as `22:00-08:00 Asia/Shanghai`.
            digest: seconds for which events are gathered into one message, up to a day; 0: each is told at once.
            language: of its messages.

        Raises:
            InvalidArgument: a bad or refused address, or another bad value.
            ResourceNotFoundException: an account does not exist.
            ResourceExhausted: there are 100 channels already.

        Example:
            >>> channel = client.create_channel("feishu://0123456789abcdef", ["content.pending_review"])
            >>> print(channel["channel_id"], channel["destination"])
        """
        channel = pb.Channel(
            url=url,
            description=description,
            event_types=event_types,
            account_ids=account_ids,
            quiet_hours=quiet_hours,
            digest=duration(digest),
            language=language,
        )
        request = pb.CreateChannelRequest(channel=channel)
        return (await self._call(self._stubs.notifications.CreateChannel, request, waits=SENDS)).channel

    @lists(Channel)
    def iter_channels(self, *, page_size: int = PAGE_SIZE) -> Pages[pb.Channel]:
        """Iterates over channels by id, which it reads page by page.

        Example:
            >>> failing = [channel["channel_id"] for channel in client.iter_channels() if channel["last_error"]]
        """
        request = pb.ListChannelsRequest(page_size=page_size)
        return Pages(self._transport, self._stubs.notifications.ListChannels, request, lambda page: page.channels)

    @returns(Channel)
    async def update_channel(
        self,
        channel_id: int,
        *,
        url: str | None = None,
        event_types: Iterable[ChannelEvent] | None = None,
        description: str | None = None,
        account_ids: Iterable[int] | None = None,
        quiet_hours: str | None = None,
        digest: float | None = None,
        language: Language | None = None,
        active: bool | None = None,
    ) -> pb.Channel:
        """Changes a channel, and returns it. What is None stays as it is. See `create_channel`.

        Args:
            channel_id: the channel.
            url: where messages go, stored ones too.
            event_types: what is told from now on.
            description: what it is for.
            account_ids: whose events; none: those of all accounts.
            quiet_hours: when nothing is sent; empty: never.
            digest: seconds for which events are gathered, from now on.
            language: of its messages.
            active: whether anything is sent. Without, what is held is dropped.

        Raises:
            ResourceNotFoundException: the channel, or an account, does not exist.
            InvalidArgument: nothing to change, or a bad value.

        Example:
            >>> channel = client.update_channel(channel_id, quiet_hours="22:00-08:00 Asia/Shanghai")
        """
        fields: dict[str, Any] = {
            "url": url,
            "event_types": event_types,
            "description": description,
            "account_ids": account_ids,
            "quiet_hours": quiet_hours,
            "digest": duration(digest),
            "language": language,
            "active": active,
        }
        changes = {field: value for field, value in fields.items() if value is not None}
        channel = pb.Channel(channel_id=channel_id, **changes)
        request = pb.UpdateChannelRequest(channel=channel, update_mask=FieldMask(paths=changes))
        return (await self._call(self._stubs.notifications.UpdateChannel, request, waits=SENDS)).channel

    @returns_whether_found
    async def delete_channel(self, channel_id: int) -> None:
        """Deletes a channel with what is held for it. Returns False if it does not exist.

        Example:
            >>> if client.delete_channel(channel_id):
            ...     print("deleted")
        """
        request = pb.DeleteChannelRequest(channel_id=channel_id)
        await self._call(self._stubs.notifications.DeleteChannel, request)

    @returns(MessageTest)
    async def test_channel(self, channel_id: int) -> pb.TestChannelResponse:
        """Sends a test message now, and returns how that went. A receiver that fails raises nothing.

        Raises:
            ResourceNotFoundException: the channel does not exist.

        Example:
            >>> sent = client.test_channel(channel_id)
            >>> print(sent["delivered"], sent["error"])
        """
        request = pb.TestChannelRequest(channel_id=channel_id)
        return await self._call(self._stubs.notifications.TestChannel, request, waits=SENDS)
