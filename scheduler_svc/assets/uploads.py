"""What all uploads of assets share: their bytes, bounds, and the row before and after the object.

    announce  the row is there and touched: for a week nothing collects it
    (object)  the bytes are written and synced
    complete  with the row locked, so that nothing collects it meanwhile: the object may be named, and counts

The object is not looked for again: what `announce` touched stays for a week, and an upload lasts an hour at most. So no
transaction of an upload waits for the object store. A crash in between leaves a row that is not complete, which the
next upload completes, or the collection deletes.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from grpc import aio
from structlog.contextvars import bound_contextvars

from scheduler_svc.assets.objects import Incoming, Objects, ObjectStore, StoreIdentity
from scheduler_svc.assets.work import StoredFile
from scheduler_svc.config import Settings
from scheduler_svc.domain.content import Media
from scheduler_svc.domain.errors import AccountAssetsFull, AssetStoreUnavailable, InvalidArgument, RequestTooSlow
from scheduler_svc.metrics import Metrics
from scheduler_svc.runtime.calls import Calls

MESSAGE_TIMEOUT = 30.0
UPLOAD_TIMEOUT = 3_600.0
"""Seconds of an upload in all: far less than the collection leaves an asset alone."""
MAX_UPLOADS = 16
"""Uploads of a kind whose bytes a replica reads at the same time; flow control holds further ones back."""

_log = structlog.get_logger(__name__)


class AssetReceiver:
    def __init__(
        self, calls: Calls, objects: Objects, identity: StoreIdentity, settings: Settings, metrics: Metrics | None
    ) -> None:
        self.calls = calls
        self.objects = objects
        self.identity = identity
        self.settings = settings
        self.metrics = metrics
        self.receiving = asyncio.Semaphore(MAX_UPLOADS)

    @asynccontextmanager
    async def bounded(self) -> AsyncIterator[None]:
        """Bounds the time of an upload, and counts it if it is refused. Raises RequestTooSlow."""
        try:
            async with asyncio.timeout(UPLOAD_TIMEOUT):
                yield
        except TimeoutError:
            raise RequestTooSlow(UPLOAD_TIMEOUT) from None
        except (AccountAssetsFull, AssetStoreUnavailable) as error:
            _log.warning("an asset is refused", action="assets", error=error.message)
            if self.metrics:
                self.metrics.assets_refused.labels(error.reason).inc()
            raise

    async def receive(
        self, first: Any, context: aio.ServicerContext[Any, Any], incoming: Incoming, limit: int
    ) -> StoredFile:
        """Writes the bytes, and returns what they are. What has more than `limit` is not read to its end."""
        digest, size, message = hashlib.sha256(), 0, first
        while message is not None and size <= limit:
            digest.update(message.chunk)
            size += len(message.chunk)
            await self.objects.run(_write, incoming, message.chunk)
            message = await next_message(context)
        return StoredFile(digest.hexdigest(), size)

    async def media_of(self, incoming: Incoming, file: StoredFile) -> Media:
        with bound_contextvars(sha256=file.sha256):
            return await self.objects.media_of(incoming)


def _write(_: ObjectStore, incoming: Incoming, chunk: bytes) -> None:
    """Writes a chunk to the file. Raises AssetStoreUnavailable if the disk is full."""
    try:
        incoming.file.write(chunk)
        incoming.file.flush()
    except OSError as error:
        raise AssetStoreUnavailable(str(error)) from None


async def first_message(context: aio.ServicerContext[Any, Any]) -> Any:
    """Returns the first message. Raises RequestTooSlow, and InvalidArgument if there is none."""
    first = await next_message(context)
    if first is None:
        raise InvalidArgument.of("", "the call must have a first message, and has none")
    return first


async def next_message(context: aio.ServicerContext[Any, Any]) -> Any:
    """Returns the next message, None at the end. Raises RequestTooSlow."""
    try:
        async with asyncio.timeout(MESSAGE_TIMEOUT):
            request = await context.read()
    except TimeoutError:
        raise RequestTooSlow(MESSAGE_TIMEOUT) from None
    return None if request is aio.EOF else request
