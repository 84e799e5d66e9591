"""The channel to the schedulers, which all sessions share; each call carries the token of its session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import grpc
import grpc.aio

from console_svc.config import ConsoleSettings
from contentgen import AsyncContentGenerationClient
from contentgen.client.connection import open_aio_channel
from contentgen.client.target import Person

CONNECT_TIMEOUT = 2.0


class Schedulers:
    """Belongs to the event loop that runs when it is made."""

    def __init__(self, settings: ConsoleSettings) -> None:
        self._target = settings.scheduler
        self._channel = open_aio_channel(settings.scheduler, credentials(settings))
        self._present = cast("grpc.aio.Channel", PresentChannel(lambda: self._channel))

    def renew(self, credentials: grpc.ChannelCredentials | None) -> None:
        """Has later calls, of sessions that have begun too, go through a new channel; those under way keep the old."""
        self._channel = open_aio_channel(self._target, credentials)

    def client(self, token: str | None, person: Person | None = None) -> AsyncContentGenerationClient:
        """`person`: for whom the token's calls are made."""
        return AsyncContentGenerationClient(self._target, token=token, channel=self._present, on_behalf_of=person)

    async def connected(self) -> bool:
        """Returns whether there is a connection to any, for which it waits a little: without one no call can begin."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._channel.channel_ready()
                return True
        return False

    async def close(self) -> None:
        await self._channel.close()


class PresentChannel:
    """Passes each call to the channel that is in use as it begins."""

    def __init__(self, channel: Callable[[], grpc.aio.Channel]) -> None:
        self._channel = channel

    def __getattr__(self, kind: str) -> Callable[..., Any]:
        """`kind`: such as `unary_unary`."""

        def method(*arguments: Any, **options: Any) -> Callable[..., Any]:
            def call(*request: Any, **limits: Any) -> Any:
                return getattr(self._channel(), kind)(*arguments, **options)(*request, **limits)

            return call

        return method


def credentials(settings: ConsoleSettings) -> grpc.ChannelCredentials | None:
    if settings.tls_ca is None:
        return None
    cert, key = settings.tls_client_cert, settings.tls_client_key
    return grpc.ssl_channel_credentials(
        settings.tls_ca.read_bytes(), key.read_bytes() if key else None, cert.read_bytes() if cert else None
    )
