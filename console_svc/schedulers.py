"""The channel to the schedulers, which all sessions share; each call carries the token of its session."""

from __future__ import annotations

import grpc
import grpc.aio

from console_svc.config import ConsoleSettings
from contentgen.client.client import AsyncContentGenerationClient
from contentgen.client.connection import open_aio_channel
from contentgen.client.errors import RequestError

UNAUTHENTICATED = "UNAUTHENTICATED"


class Schedulers:
    """Belongs to the event loop that runs when it is made."""

    def __init__(self, settings: ConsoleSettings) -> None:
        self._target = settings.scheduler
        self._channel = open_aio_channel(settings.scheduler, _credentials(settings))

    def client(self, token: str | None) -> AsyncContentGenerationClient:
        return AsyncContentGenerationClient(self._target, token=token, channel=self._channel)

    async def accepts(self, client: AsyncContentGenerationClient) -> bool:
        """Whether the schedulers know the client's token, or ask for none. Raises RequestError if none answers.

        A token that may not read counts of tasks is known, too.
        """
        try:
            await client.get_task_stats()
        except RequestError as error:
            if error.code == UNAUTHENTICATED:
                return False
            if error.code != "PERMISSION_DENIED":
                raise
        return True

    async def close(self) -> None:
        await self._channel.close()


def _credentials(settings: ConsoleSettings) -> grpc.ChannelCredentials | None:
    if settings.tls_ca is None:
        return None
    cert, key = settings.tls_client_cert, settings.tls_client_key
    return grpc.ssl_channel_credentials(
        settings.tls_ca.read_bytes(), key.read_bytes() if key else None, cert.read_bytes() if cert else None
    )
