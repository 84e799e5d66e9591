"""A receiver of webhooks: a real HTTP server on loopback, which answers as a test tells it to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import standardwebhooks
from aiohttp import web

from tests.harness.waiting import wait_until_async

PATIENCE_S = 60
Answer = Callable[[web.Request], Awaitable[web.Response]]


@dataclass(frozen=True, slots=True)
class Received:
    headers: Mapping[str, str]
    body: str
    path: str

    @property
    def message_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def message(self) -> dict[str, Any]:
        return json.loads(self.body)  # type: ignore[no-any-return]

    @property
    def type(self) -> str:
        return str(self.message["type"])

    def verify(self, secret: str) -> None:
        """Raises WebhookVerificationError unless it is signed with this secret."""
        standardwebhooks.Webhook(secret).verify(self.body, dict(self.headers))


async def ok(_request: web.Request) -> web.Response:
    return web.Response(status=204)


def status(code: int, text: str = "", **headers: str) -> Answer:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=code, text=text, headers=headers)

    return answer


@dataclass(slots=True)
class Receiver:
    port: int = 0
    answer: Answer = ok
    received: list[Received] = field(default_factory=list)
    hanging: asyncio.Event = field(default_factory=asyncio.Event)
    """Set to let the answers of `hang` go."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def types(self) -> list[str]:
        return [request.type for request in self.received]

    async def hang(self, _request: web.Request) -> web.Response:
        await self.hanging.wait()
        return web.Response(status=204)

    async def take(self, count: int) -> list[Received]:
        """All that came, once that is `count` requests or more."""
        await wait_until_async(lambda: len(self.received) >= count, within=PATIENCE_S, what=f"{count} requests")
        return self.received

    async def handle(self, request: web.Request) -> web.Response:
        self.received.append(Received(dict(request.headers), await request.text(), request.path))
        return await self.answer(request)


@asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        receiver.hanging.set()
        await runner.cleanup()
