"""Checks a webhook's address when it is given: its form, and what its host's name leads to at that moment."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from scheduler_svc.domain.webhook_address import AddressPolicy, url_problem
from scheduler_svc.webhooks.names import Names

RESOLVE_TIMEOUT = 3.0


class WebhookAddresses:
    def __init__(self, policy: AddressPolicy, names: Names) -> None:
        self._policy = policy
        self._names = names

    async def problem(self, url: str) -> str | None:
        """Returns why a URL is refused, as it completes "url …"; None if it is not.

        A name that does not resolve now is not refused: it is checked again at each connection.
        """
        if problem := url_problem(url):
            return problem
        parts = urlsplit(url)
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT):
                addresses = await self._names.addresses(str(parts.hostname))
        except (OSError, TimeoutError, UnicodeError):
            return None
        refusal = self._policy.refusal_of_all(sorted(set(addresses)), secure=parts.scheme == "https")
        return refusal and f"must lead to an address that is allowed: {refusal}"
