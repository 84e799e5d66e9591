"""Sends one delivery by HTTP: signed by Standard Webhooks, to an address that is checked when it is connected to.

An address is also checked when it is given: its form, and what its host's name leads to at that moment. Names are
resolved without threads: however many name servers never answer, all other names resolve.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import socket
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import standardwebhooks

from contentgen.version import own_version
from scheduler_svc.domain.clock import boottime
from scheduler_svc.domain.webhook import AddressPolicy, DeliveryAttempt, Response, url_problem

if TYPE_CHECKING:
    import aiohttp


class Names:
    """Each replica has one, on its event loop. It reads the system's hosts file and name servers at its first use."""

    def __init__(self, nameservers: Sequence[str] = ()) -> None:
        """`nameservers`: to be asked instead of the system's, as `address:port`."""
        self._nameservers = nameservers

    @cached_property
    def resolver(self) -> aiohttp.AsyncResolver:
        import aiohttp  # here, since most replicas never need its 20 MB

        if self._nameservers:
            return aiohttp.AsyncResolver(nameservers=list(self._nameservers))
        return aiohttp.AsyncResolver()

    async def addresses(self, host: str) -> list[str]:
        """Returns the addresses of a host, which may be one itself. Raises OSError if its name does not resolve."""
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            return [entry["host"] for entry in await self.resolver.resolve(host, family=socket.AF_UNSPEC)]

    async def close(self) -> None:
        if "resolver" in self.__dict__:
            await self.resolver.close()


RESOLVE_TIMEOUT = 3.0


async def address_problem(policy: AddressPolicy, names: Names, url: str) -> str | None:
    """Returns why a URL is refused, as it completes "url …"; None if it is not.

    A name that does not resolve now is not refused: it is checked again at each connection.
    """
    if problem := url_problem(url):
        return problem
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT):
            addresses = await names.addresses(str(parts.hostname))
    except (OSError, TimeoutError, UnicodeError):
        return None
    refusal = policy.refusal_of_all(sorted(set(addresses)), secure=parts.scheme == "https")
    return refusal and f"must lead to an address that is allowed: {refusal}"


TIMEOUT = 10.0
"""Seconds for a try: name, connection, request and the start of the answer."""
KEPT_FOR = 1.0
"""Seconds that a connection is kept for the next try: receivers close idle ones after some seconds more."""
MAX_ANSWER = 200
"""Bytes that are read of the answer of a receiver that fails, and kept with the error."""


class AddressRefused(OSError):
    pass


class WebhookSender:
    """Each replica has one, on its event loop. It opens a session at the first try: most replicas have no webhooks."""

    def __init__(self, policy: AddressPolicy, names: Names, boottime: Callable[[], float] = boottime) -> None:
        self._boottime = boottime
        self._policy = policy
        self._names = names
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def send(self, attempt: DeliveryAttempt) -> Response:
        """Tries once. Returns within ten seconds, and raises nothing.

        Sends nothing if the claim may end first: another replica may have sent it meanwhile, and what comes after it.
        """
        import aiohttp  # here, since most replicas never need its 20 MB
        from yarl import URL

        now = attempt.time_at(self._boottime())
        if now + timedelta(seconds=TIMEOUT) > attempt.claim_expire_time:
            return Response(0, "not sent: this scheduler stood still for too long")
        body = _body(attempt)
        secure = urlsplit(attempt.url).scheme == "https"
        try:
            async with self._session(secure=secure).post(
                URL(attempt.url, encoded=True),
                data=body.encode(),
                headers=_headers(attempt, body, now),
                allow_redirects=False,
            ) as answer:
                return await _response(answer)
        except TimeoutError:
            return Response(0, f"no answer within {TIMEOUT:g} s")
        except aiohttp.ClientConnectorDNSError:
            return Response(0, "the host's name does not resolve")
        except aiohttp.ClientConnectorError as error:
            return Response(0, f"can't connect: {_reason(error.os_error)}")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Response(0, f"{type(error).__name__} before the end of the answer")  # its text may hold the URL

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()

    def _session(self, *, secure: bool) -> aiohttp.ClientSession:
        """Returns one without cookies or proxies: tries share nothing but a connection, if its address is allowed."""
        import aiohttp

        if secure not in self._sessions:
            connector = aiohttp.TCPConnector(
                keepalive_timeout=KEPT_FOR,
                limit=0,
                use_dns_cache=False,
                resolver=self._names.resolver,
                socket_factory=_checked(self._policy, secure=secure),
            )
            self._sessions[secure] = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=TIMEOUT),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._sessions[secure]


def _reason(error: OSError) -> str:
    """Names no address: the text of several errors at once holds some."""
    if isinstance(error, AddressRefused):
        return str(error)
    return os.strerror(error.errno) if error.errno else "no address of the host takes connections"


def _checked(policy: AddressPolicy, *, secure: bool) -> Callable[[aiohttp.AddrInfoType], socket.socket]:
    """Makes sockets for allowed addresses only: whatever a name led to before, this is what is connected to."""

    def make(address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, sockaddr = address
        if refusal := policy.refusal(str(sockaddr[0]), secure=secure):
            raise AddressRefused(refusal)
        return socket.socket(family, kind, protocol)

    return make


def _body(attempt: DeliveryAttempt) -> str:
    message = {
        "type": attempt.event_type,
        "timestamp": attempt.create_time.isoformat(),
        "data": json.loads(attempt.data),
    }
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


def _headers(attempt: DeliveryAttempt, body: str, now: datetime) -> dict[str, str]:
    """`now`: the database's time, since this machine's clock may be wrong."""
    signatures = [standardwebhooks.Webhook(secret).sign(attempt.message_id, now, body) for secret in attempt.secrets]
    return {
        "content-type": "application/json",
        "accept-encoding": "identity",
        "user-agent": f"contentgen/{own_version()}",
        "webhook-id": attempt.message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


async def _response(answer: aiohttp.ClientResponse) -> Response:
    if 200 <= answer.status < 300:
        return Response(answer.status, "")
    if 300 <= answer.status < 400:
        return Response(answer.status, f"HTTP {answer.status}: redirects are not followed")
    start = (await answer.content.read(MAX_ANSWER)).decode(errors="replace")
    text = "".join(character for character in start if character.isprintable() or character == " ").strip()
    return Response(answer.status, f"HTTP {answer.status}: {text}" if text else f"HTTP {answer.status}")
