"""Checks a webhook's address when it is given: its form, and what its host's name leads to at that moment."""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import urlsplit

from scheduler_svc.domain.webhook_address import AddressPolicy, url_problem

RESOLVE_TIMEOUT = 3.0


class WebhookAddresses:
    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy

    async def problem(self, url: str) -> str | None:
        """Returns why a URL is refused, as it completes "url …"; None if it is not.

        A name that does not resolve now is not refused: it is checked again at each connection.
        """
        if problem := url_problem(url):
            return problem
        parts = urlsplit(url)
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT):
                found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, None, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError, UnicodeError):
            return None
        addresses = {str(sockaddr[0]) for *_, sockaddr in found}
        refusal = self._policy.refusal_of_all(sorted(addresses), secure=parts.scheme == "https")
        return refusal and f"must be an address that is allowed: {refusal}"
