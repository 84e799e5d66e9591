"""Channels, and how what is held for them becomes a message: one delivery, which the outbox sends."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.channel import MAX_CHANNELS, Channel, Held, NewChannel, content_ids
from scheduler_svc.domain.errors import NotFound, TooManyChannels, existing
from scheduler_svc.domain.webhook import DeliveryAttempt, EventType
from scheduler_svc.webhooks.work import CLAIM_LEASE

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


def create_channel(tx: Tx, channel: NewChannel) -> Channel:
    """Creates a channel. Raises NotFound for an account that does not exist, and TooManyChannels."""
    for account_id in channel.account_ids:
        tx.accounts.require(account_id)
    if tx.channels.lock_count() >= MAX_CHANNELS:
        raise TooManyChannels(MAX_CHANNELS)
    tx.signals.webhooks = True
    return tx.channels.insert(channel, secrets.token_hex())


def _get_channel(tx: Tx, scope: Scope, channel_id: int) -> Channel:
    """Returns a channel. Raises NotFound, also for one that is for more accounts than `scope` holds."""
    channel = tx.channels.get(channel_id)
    if channel is None or not channel.is_within(scope):
        raise NotFound("channel", channel_id)
    return channel


def update_channel(tx: Tx, scope: Scope, channel_id: int, change: Mapping[str, Any]) -> Channel:
    """Returns the channel after the change. Raises NotFound, also for an account that does not exist."""
    _get_channel(tx, scope, channel_id)
    for account_id in change.get("account_ids", ()):
        tx.accounts.require(account_id)
    tx.signals.webhooks = True
    channel = existing(tx.channels.update(channel_id, change), "channel", channel_id)
    if not channel.active:
        tx.channels.drop_held(channel_id)
    return channel


def delete_channel(tx: Tx, scope: Scope, channel_id: int) -> None:
    """Deletes a channel; the retention deletes its messages. Raises NotFound."""
    _get_channel(tx, scope, channel_id)
    tx.signals.webhooks = True
    tx.channels.drop_held(channel_id)
    if not tx.channels.delete(channel_id):
        raise NotFound("channel", channel_id)


def claim_test(tx: Tx, scope: Scope, channel_id: int) -> DeliveryAttempt:
    """Stores a test message, as a try of this replica. Raises NotFound."""
    channel = _get_channel(tx, scope, channel_id)
    data = {"language": channel.language, "groups": []}
    return tx.deliveries.claim_ping(channel_id, EventType.DIGEST, data, CLAIM_LEASE)


def gather(tx: Tx, longest: float) -> float:
    """Makes messages of what is due. Returns the seconds until more is, `longest` at most."""
    wait = longest
    for held in tx.channels.held():
        begin = max(held.first_due, held.quiet_until or held.now)
        if held.full or not held.active or begin <= held.now:
            _gather(tx, held)
        else:
            wait = min(wait, (begin - held.now).total_seconds())
    return wait


def _gather(tx: Tx, held: Held) -> None:
    groups = tx.channels.take(held.channel_id, held.window)
    if not groups or not held.active:
        return
    titles = tx.channels.titles(content_ids(groups))
    for data in (data for group in groups for data in group.first if "content_id" in data):
        data["title"], data["account"] = titles.get(int(str(data["content_id"])), ("", ""))
    message = {"language": held.language, "groups": [group._asdict() for group in groups]}
    tx.deliveries.insert_message(held.channel_id, message, held.quiet_until)
    tx.signals.deliveries = True
