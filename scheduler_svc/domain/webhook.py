"""Webhooks, the events that they want, and the deliveries of these events."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import NamedTuple
from urllib.parse import urlsplit

from scheduler_svc.config.values import Network

MAX_WEBHOOKS = 20
"""Webhooks of one account, and of all accounts together (account 0)."""
MAX_URL = 2_000
MAX_PENDING = 1_000_000
"""Deliveries of one webhook that wait, or some more; beyond it, its events are not stored."""
FIRST_CONCURRENT_TRIES = 4
"""Tries of one webhook that one replica has under way at first; while it fails: one."""
MAX_CONCURRENT_TRIES = 16
"""The same, after some successes."""
RETRY_FOR = timedelta(days=3)
"""How long after its move a delivery is tried, if it could not be delivered."""
FIRST_RETRY = 5.0
MAX_RETRY_DELAY = 6 * 3_600.0
_RETRY_FACTOR = 3
_RETRY_JITTER = 0.2


class EventType(StrEnum):
    """The values are the contract's."""

    TASK_ENDED = "task.ended"
    CONTENT_PENDING_REVIEW = "content.pending_review"
    CONTENT_APPROVED = "content.approved"
    CONTENT_REJECTED = "content.rejected"
    PUBLISH_PUBLISHED = "publish.published"
    PUBLISH_FAILED = "publish.failed"
    BUDGET_USED_UP = "account.budget_used_up"
    TASK_FAILED = "task.failed"
    PING = "webhook.ping"
    DIGEST = "channel.digest"
    """A message of a channel, which tells of several events."""


SUBSCRIBABLE = tuple(EventType)[:7]
"""Of webhooks, whose `task.ended` tells of failures, too."""


class DeliveryStatus(IntEnum):
    """The numbers are the contract's."""

    PENDING = 1
    DELIVERED = 2
    EXHAUSTED = 3


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook without its secrets. `account_id` 0: it gets the events of all accounts."""

    webhook_id: int
    account_id: int
    url: str
    event_types: tuple[str, ...]
    active: bool
    last_error: str
    create_time: datetime
    previous_secret_expire_time: datetime | None


@dataclass(frozen=True, slots=True)
class WebhookChange:
    """New values of a webhook's fields; None leaves a field unchanged."""

    url: str | None = None
    event_types: tuple[str, ...] | None = None
    active: bool | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one webhook, as a reader sees it; `data` is JSON."""

    delivery_id: int
    webhook_id: int
    event_type: str
    status: DeliveryStatus
    attempt_count: int
    next_attempt_time: datetime | None
    last_status_code: int
    last_error: str
    create_time: datetime
    end_time: datetime | None
    message_id: str
    data: str


class Claim(NamedTuple):
    """When a try was claimed: by the database's clock, and by `boottime`."""

    time: datetime
    boottime: float


class DeliveryAttempt(NamedTuple):
    """A try that this replica owns until `claim_expire_time`. `secrets` holds what it is signed with, newest first."""

    claim: Claim
    delivery_id: int
    webhook_id: int
    account_id: int
    event_type: str
    attempt_count: int
    claim_expire_time: datetime
    create_time: datetime
    message_id: str
    data: str
    url: str
    secrets: tuple[str, ...]

    def time_at(self, now: float) -> datetime:
        """Returns the database's time at `now` of `boottime`."""
        return self.claim.time + timedelta(seconds=now - self.claim.boottime)

    def __repr__(self) -> str:
        return f"DeliveryAttempt({self.delivery_id}, webhook {self.webhook_id})"  # the secrets belong in no log


class Response(NamedTuple):
    """How a try went. `status_code` 0: no answer. `error` is empty if it succeeded."""

    status_code: int
    error: str

    @property
    def delivered(self) -> bool:
        return not self.error

    @property
    def gone(self) -> bool:
        """Whether the receiver wants nothing any more."""
        return self.status_code == 410


def retry_delay(attempt_count: int, jitter: float) -> float:
    """Returns the seconds until the next try after so many; `jitter` in [0, 1)."""
    delay = min(FIRST_RETRY * math.pow(_RETRY_FACTOR, min(attempt_count - 1, 20)), MAX_RETRY_DELAY)
    return delay * (1 + _RETRY_JITTER * (2 * jitter - 1))


# Which addresses a webhook may have, by the networks beyond public ones that are allowed. Whoever creates a webhook has
# the schedulers call an address: without this that could be one of their own network, or of a cloud's metadata.


ALLOW_SETTING = "CONTENTGEN_WEBHOOK_ALLOW"
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""The only IPv6 addresses that are given to anybody: others are translated, reserved, or of one network."""
_NOT_PUBLIC = tuple(map(ipaddress.ip_network, ("168.63.129.16", "192.0.0.0/24")))
"""What clouds and gateways use for themselves, and not every Python counts as private."""

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """`allowed`: networks to which http and https may go. Https may also go to public addresses."""

    allowed: tuple[Network, ...] = ()

    def refusal(self, address: str, *, secure: bool) -> str | None:
        """Returns why an IP address is refused, or None if it is not; `secure`: by https.

        Does not name the address: who may not reach a network's name server does not learn from it by this.
        """
        ip = _innermost(ipaddress.ip_address(address.partition("%")[0]))
        if any(ip in network for network in self.allowed):
            return None
        if not secure:
            return f"http is only for networks in {ALLOW_SETTING}; use https"
        if _is_public(ip):
            return None
        return f"it is not public, and in no network in {ALLOW_SETTING}"

    def refusal_of_all(self, addresses: Iterable[str], *, secure: bool) -> str | None:
        """Returns why each of these is refused, or None if one of them is not."""
        refusals = [self.refusal(address, secure=secure) for address in addresses]
        return refusals[0] if refusals and all(refusals) else None


def url_problem(url: str) -> str | None:
    if not (url.isascii() and url.isprintable()) or " " in url:
        return "must be ASCII without white space, other characters percent-encoded"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"must be a URL ({error})"
    if parts.scheme not in {"http", "https"} or not host:
        return "must be https://host/path, or http:// to an allowed network"
    if "@" in parts.netloc:
        return "must have no user and no password: deliveries are signed with the webhook's secret"
    return "must have no fragment (#…), which is never sent" if "#" in url else None


def _innermost(ip: IpAddress) -> IpAddress:
    """Returns the IPv4 address within an IPv6 one, if there is one."""
    if isinstance(ip, ipaddress.IPv6Address):
        return ip.ipv4_mapped or ip.sixtofour or ip
    return ip


def _is_public(ip: IpAddress) -> bool:
    if isinstance(ip, ipaddress.IPv6Address) and ip not in _GLOBAL_UNICAST:
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _NOT_PUBLIC)
