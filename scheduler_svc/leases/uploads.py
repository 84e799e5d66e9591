"""WorkerService.PutAsset: one upload, from its first message to the completed asset."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import ExitStack
from typing import Any

import structlog
from grpc import aio
from structlog.contextvars import bound_contextvars

from contentgen.v1 import worker_service_pb2 as pb
from scheduler_svc.assets.objects import Incoming, Objects, ObjectStore, StoreIdentity
from scheduler_svc.config import Settings
from scheduler_svc.domain.content import MAX_BYTES
from scheduler_svc.domain.errors import AccountAssetsFull, AssetStoreUnavailable, InvalidArgument, RequestTooSlow
from scheduler_svc.domain.ids import parse_lease_id
from scheduler_svc.leases import upload_work
from scheduler_svc.leases.upload_work import Upload
from scheduler_svc.metrics import Metrics
from scheduler_svc.runtime.access import caller
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.errors import ERROR_STATUSES
from scheduler_svc.runtime.interceptor import send_headers
from scheduler_svc.runtime.validation import MAX_INT32, MAX_NAME, Violations

WANTED = ("asset-wanted", "true")
"""The header that asks for the bytes."""
MESSAGE_TIMEOUT = 30.0
UPLOAD_TIMEOUT = 3_600.0
"""Seconds of an upload in all: far less than the collection leaves an asset alone."""
MAX_UPLOADS = 16
"""Uploads of a replica whose bytes are read at the same time; further ones wait, and flow control holds them back."""

_log = structlog.get_logger(__name__)

Context = aio.ServicerContext[pb.PutAssetRequest, pb.PutAssetResponse]


class AssetUploads:
    def __init__(
        self, calls: Calls, objects: Objects, identity: StoreIdentity, settings: Settings, metrics: Metrics | None
    ) -> None:
        self._calls = calls
        self._objects = objects
        self._identity = identity
        self._settings = settings
        self._metrics = metrics
        self._receiving = asyncio.Semaphore(MAX_UPLOADS)

    async def receive(self, context: Context) -> bool:
        """Stores one asset. Returns whether it was stored before.

        Raises InvalidArgument, LeaseLost, AccountAssetsFull, RequestTooSlow, AssetStoreUnavailable.
        """
        try:
            async with asyncio.timeout(UPLOAD_TIMEOUT):
                return await self._store(context)
        except TimeoutError:
            raise RequestTooSlow(UPLOAD_TIMEOUT) from None
        except (AccountAssetsFull, AssetStoreUnavailable) as error:
            _log.warning("an asset is refused", action="assets", error=error.message)
            if self._metrics:
                self._metrics.assets_refused.labels(ERROR_STATUSES[type(error)].reason).inc()
            raise

    async def _store(self, context: Context) -> bool:
        first = await _next(context)
        if first is None:
            raise InvalidArgument.of("", "the call must have a first message, and has none")
        upload = _upload(first)
        quota = await self._calls.run(upload_work.begin, upload, caller().name, self._settings.max_asset_bytes)
        if quota is None:
            return True
        store_id = await self._identity.id_for_upload()
        await send_headers(context.send_initial_metadata((WANTED,)))
        with ExitStack() as files:
            async with self._receiving:
                incoming = files.enter_context(await self._objects.run(lambda store: store.incoming()))
                await self._receive(upload, first.chunk, context, incoming)
                await self._objects.run(lambda store: store.keep(incoming, upload.sha256))
            with bound_contextvars(sha256=upload.sha256):
                media = await self._objects.media_of(incoming)
        await self._calls.run(upload_work.complete, upload, quota, media, store_id)
        if self._metrics:
            self._metrics.asset_stored(upload.size)
        return False

    async def _receive(self, upload: Upload, chunk: bytes, context: Context, incoming: Incoming) -> None:
        """Writes the bytes, and checks that they are the ones that were announced. Raises InvalidArgument."""
        digest, received = hashlib.sha256(), 0
        message: pb.PutAssetRequest | None = pb.PutAssetRequest(chunk=chunk)
        while message is not None:
            received += len(message.chunk)
            if received > upload.size:
                break
            digest.update(message.chunk)
            await self._objects.run(_write, incoming, message.chunk)
            message = await _next(context)
        if received != upload.size:
            raise InvalidArgument.of("size", f"must be the number of bytes that come, is {upload.size:,}")
        if digest.hexdigest() != upload.sha256:
            raise InvalidArgument.of("sha256", "must be that of the bytes that come")


def _write(_: ObjectStore, incoming: Incoming, chunk: bytes) -> None:
    """Writes a chunk to the file. Raises AssetStoreUnavailable if the disk is full."""
    try:
        incoming.file.write(chunk)
        incoming.file.flush()
    except OSError as error:
        raise AssetStoreUnavailable(str(error)) from None


async def _next(context: Context) -> pb.PutAssetRequest | None:
    """Returns the next message, None at the end. Raises RequestTooSlow."""
    try:
        async with asyncio.timeout(MESSAGE_TIMEOUT):
            request: Any = await context.read()
    except TimeoutError:
        raise RequestTooSlow(MESSAGE_TIMEOUT) from None
    return request if isinstance(request, pb.PutAssetRequest) else None


def _upload(first: pb.PutAssetRequest) -> Upload:
    """Reads which asset is to be uploaded. Raises InvalidArgument."""
    with Violations() as violations:
        violations.text("lease_id", first.lease_id, MAX_NAME, required=True)
        violations.number("attempt", first.attempt, 1, MAX_INT32)
        violations.sha256("sha256", first.sha256)
        violations.number("size", first.size, 1, MAX_BYTES)
    return Upload(first.lease_id, parse_lease_id(first.lease_id, first.attempt), first.sha256, first.size)
