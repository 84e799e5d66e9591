"""`ContentGenerationClient` and `AsyncContentGenerationClient`: one method a call, typed dicts out.

Layer: the top of client; the methods stand in files of their own, by what they are about.
"""

from __future__ import annotations

from typing import Self

import grpc
import grpc.aio

from contentgen.client.accounts import AccountMethods
from contentgen.client.aio import AioTransport
from contentgen.client.assets import AssetMethods
from contentgen.client.blocking import BlockingTransport
from contentgen.client.connection import open_aio_channel, open_channel
from contentgen.client.contents import ContentMethods
from contentgen.client.methods import Asyncio, Blocking, Messages
from contentgen.client.notifications import NotificationMethods
from contentgen.client.publish_pool import PublishPoolMethods
from contentgen.client.schedules import ScheduleMethods
from contentgen.client.system import AuditMethods, SystemMethods, WorkerPoolMethods
from contentgen.client.target import Person, Target
from contentgen.client.task_control import TaskControlMethods
from contentgen.client.task_progress import TaskProgressMethods
from contentgen.client.tasks import TaskMethods
from contentgen.client.webhooks import WebhookMethods

TIMEOUT = 10.0
"""Seconds that a call may take, beyond what the scheduler is asked to wait."""


class _AllMethods(
    TaskMethods,
    TaskProgressMethods,
    TaskControlMethods,
    ContentMethods,
    PublishPoolMethods,
    AssetMethods,
    AccountMethods,
    ScheduleMethods,
    WorkerPoolMethods,
    SystemMethods,
    WebhookMethods,
    NotificationMethods,
    AuditMethods,
): ...


class AsyncMethods(_AllMethods, Asyncio):
    """All methods as coroutines, on whatever transport: on one that blocks, `transport.run` runs them to their end."""


class MessageMethods(_AllMethods, Messages):
    """All methods with the messages themselves, on a transport that blocks."""


class ContentGenerationClient(_AllMethods, Blocking):
    """The schedulers at a target. Methods block until they are done; any number of threads may share one client.

    Methods raise ContentGenerationError: RequestError and its subclasses if a call fails, ResourceNotFoundException and
    InvalidStateException among them. Calls that are safe to retry are retried while the scheduler is UNAVAILABLE, for a
    few seconds. Each call has a deadline. In a program that uses OpenTelemetry each call carries the current span, and
    tasks belong to its trace.

    Tests of a service that uses it get a real scheduler, and a worker that does what they say, from fixtures of pytest:
    see docs/how-to/test-your-service.md.

    Example:
        >>> with ContentGenerationClient("127.0.0.1:50051") as client:
        ...     task_id = client.submit_task(account_id=1, topic="人工智能的未来发展", priority=8)
        ...     print(client.wait(task_id, timeout=60)["status"])
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        token: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float = TIMEOUT,
        channel: grpc.Channel | None = None,
        on_behalf_of: Person | None = None,
        account_id: int = 0,
    ) -> None:
        """Connects at the first call.

        Args:
            target: a host, with a port unless it is 50051, or any gRPC target, such as
                `ipv4:10.0.0.1:50051,10.0.0.2:50051`; calls go to its addresses in turn, and past those that are away.
                None: what the environment says, as for the command: CONTENTGEN_SCHEDULER, else `127.0.0.1:50051`, with
                CONTENTGEN_TOKEN or CONTENTGEN_TOKEN_FILE, CONTENTGEN_TLS_CA, CONTENTGEN_TLS_CLIENT_CERT and
                CONTENTGEN_TLS_CLIENT_KEY.
            token: sent with every call, for a scheduler that asks for one.
            credentials: of a TLS channel, such as `grpc.ssl_channel_credentials(ca)`; None: plaintext.
            timeout: seconds that a call may take, beyond what it asks the scheduler to wait.
            channel: used instead of one to `target`, and left open by `close`; it retries no call by itself.
            on_behalf_of: for whom all calls are made, with a token that delegates (docs/how-to/tokens-and-roles.md).
            account_id: whom calls are about whose request names no account. It matters where several cells share an
                address (docs/how-to/load-balancers.md): for assets, and for the ids of an account that has moved.

        Raises:
            ValueError: the environment names no scheduler, no token, or a file that can't be read.
        """
        if channel is not None:
            place = None
        else:
            place = Target.given(target, token, credentials)
            channel, token = open_channel(place.as_one, place.credentials), place.token
        transport = BlockingTransport(
            channel, owned=place is not None, token=token, timeout=timeout, target=place, on_behalf_of=on_behalf_of
        )
        transport.account_id = account_id
        super().__init__(transport)
        self._close = transport.close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends what is under way, watches too, in whichever thread. Calls after it raise ValueError."""
        self._close()


class AsyncContentGenerationClient(AsyncMethods):
    """The schedulers at a target, for asyncio. All tasks of an event loop may share one client.

    The methods are those of ContentGenerationClient: `await` those that return a result, iterate over the others with
    `async for`. They raise the same exceptions, retry the same calls, and block nothing. A call ends when its task is
    cancelled.

    Example:
        >>> async with AsyncContentGenerationClient("127.0.0.1:50051") as client:
        ...     task_id = await client.submit_task(account_id=1, topic="人工智能的未来发展", priority=8)
        ...     print((await client.wait(task_id, timeout=60))["status"])
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        token: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float = TIMEOUT,
        channel: grpc.aio.Channel | None = None,
        on_behalf_of: Person | None = None,
        account_id: int = 0,
    ) -> None:
        """Connects at the first call, and belongs to the event loop of that call.

        The arguments are those of ContentGenerationClient; a `channel` is one of grpc.aio.
        """
        if channel is not None:
            transport = AioTransport(
                lambda: channel, owned=False, token=token, timeout=timeout, target=None, on_behalf_of=on_behalf_of
            )
        else:
            place = Target.given(target, token, credentials)
            address, secure = place.as_one, place.credentials
            transport = AioTransport(
                lambda: open_aio_channel(address, secure),
                owned=True,
                token=place.token,
                timeout=timeout,
                target=place,
                on_behalf_of=on_behalf_of,
            )
        transport.account_id = account_id
        super().__init__(transport)
        self._close = transport.close

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends what is under way, watches too. Calls after it raise ValueError."""
        await self._close()
