"""Which addresses a webhook may have, by the networks beyond public ones that are allowed.

Whoever creates a webhook has the schedulers call an address: without this that could be one of the schedulers' own
network, or of a cloud's metadata.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from scheduler_svc.config.values import Network

SETTING = "CONTENTGEN_WEBHOOK_ALLOW"
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
            return f"http is only for networks in {SETTING}; use https"
        if _is_public(ip):
            return None
        return f"it is not public, and in no network in {SETTING}"

    def refusal_of_all(self, addresses: Iterable[str], *, secure: bool) -> str | None:
        """Returns why each of these is refused, or None if one of them is not."""
        refusals = [self.refusal(address, secure=secure) for address in addresses]
        return refusals[0] if refusals and all(refusals) else None


def url_problem(url: str) -> str | None:
    """Returns what is wrong with the form of a URL, or None."""
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
