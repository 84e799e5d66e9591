"""What keeps other sites, scripts and guessers out: headers, the origin of forms, tries to sign in."""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Callable, Collection
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CSRF_FIELD = "csrf"
MAX_TRIES = 10
"""Tries to sign in with a wrong token that an address may make in `TRIES_WINDOW`."""
TRIES_WINDOW = 60.0
MAX_ADDRESSES = 10_000
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; font-src 'self'; frame-src 'self'; form-action 'self'; frame-ancestors 'none';"
    " base-uri 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",  # the next user of the browser would see pages that it keeps
}
MISDIRECTED = 421
_NOT_OURS = "This console has another name. If this is one of its names, its CONTENTGEN_CONSOLE_HOSTS should list it.\n"
_HOST = re.compile(r"([\w.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?", re.ASCII)
_LOCAL = re.compile(r"/(?![/\\])")
_HSTS = "max-age=31536000"


class SecurityHeaders:
    """ASGI middleware. A page that sets one of these headers itself keeps its own."""

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        self._app = app
        self._headers = {**_HEADERS, **({"strict-transport-security": _HSTS} if secure else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)


class OwnNames:
    """ASGI middleware: a console is called by its address, as `localhost`, or by a name that is its own; else 421.

    A page of another site, whose name server suddenly answers with our address, would be of the same origin as ours. By
    TLS it would need our certificate, and no browser leaves the Host header out.
    """

    def __init__(self, app: ASGIApp, *, names: Collection[str], secure: bool) -> None:
        self._app = app
        self._names = names
        self._any = secure and not names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._own(Headers(scope=scope).get("host", "")):
            await self._app(scope, receive, send)
        else:
            await PlainTextResponse(_NOT_OURS, MISDIRECTED)(scope, receive, send)

    def _own(self, header: str) -> bool:
        host = _HOST.fullmatch(header.lower())
        if host is None:
            return not header
        name = host[1]
        return self._any or name in self._names or name == "localhost" or is_address(name)


def same_origin(request: Request) -> bool:
    """Returns whether a form comes from a page of ours. A browser that sends neither header is too old."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    return origin is not None and parts_of(origin).netloc == request.headers.get("host")


def parts_of(address: str) -> SplitResult:
    """Returns the parts of an address that a header names; all empty for what is no address."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def same_text(value: str, expected: str) -> bool:
    """Compares two texts in a time that does not tell how much of them is the same."""
    return hmac.compare_digest(value.encode(), expected.encode())


def is_address(host: str) -> bool:
    """Returns whether a host is named by its address, not by a name. What follows `%` could be text of any length."""
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return "%" not in host


def is_local(address: str) -> bool:
    """Returns whether an address is a path, and leads to no other host."""
    return _LOCAL.match(address) is not None


def page_before(request: Request) -> str:
    """Returns the path and query of our page that a request comes from, as its browser says; empty if none."""
    page = parts_of(request.headers.get("referer", ""))
    if page.netloc != request.headers.get("host") or not is_local(page.path):
        return ""
    return f"{page.path}?{page.query}" if page.query else page.path


def address_of(request: Request, *, behind_proxy: bool) -> str:
    """Returns where a browser is; as the proxy says, which appends what it sees to X-Forwarded-For.

    What stands before the last value, and what is no address, anybody may have written.
    """
    lines = request.headers.getlist("x-forwarded-for") if behind_proxy else []
    address = lines[-1].rpartition(",")[2].strip() if lines else ""
    if is_address(address):
        return address
    return request.client.host if request.client else ""


class SignInTries:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: dict[str, list[float]] = {}

    def admit(self, address: str) -> bool:
        """Returns whether one more is allowed; it counts then, until it is forgiven."""
        now = self._clock()
        recent = [try_time for try_time in self._tries.pop(address, []) if now - try_time < TRIES_WINDOW]
        allowed = len(recent) < MAX_TRIES
        if allowed:
            recent.append(now)
        while len(self._tries) >= MAX_ADDRESSES:
            del self._tries[next(iter(self._tries))]
        self._tries[address] = recent
        return allowed

    def forgive(self, address: str) -> None:
        """Forgets the last try, which has succeeded."""
        if recent := self._tries.get(address):
            recent.pop()
