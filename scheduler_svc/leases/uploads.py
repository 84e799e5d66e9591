"""WorkerService.PutAsset: one upload, from its first message to the completed asset."""

from __future__ import annotations

from contextlib import ExitStack

from grpc import aio

from contentgen.v1 import worker_service_pb2 as pb
from scheduler_svc.assets.uploads import AssetReceiver, first_message
from scheduler_svc.assets.work import StoredFile, complete
from scheduler_svc.domain.content import MAX_BYTES
from scheduler_svc.domain.errors import InvalidArgument
from scheduler_svc.domain.ids import parse_lease_id
from scheduler_svc.leases import upload_work
from scheduler_svc.leases.upload_work import Upload
from scheduler_svc.runtime.access import caller
from scheduler_svc.runtime.interceptor import send_headers
from scheduler_svc.runtime.validation import MAX_INT32, MAX_NAME, Violations

WANTED = ("asset-wanted", "true")
"""The header that asks for the bytes."""

Context = aio.ServicerContext[pb.PutAssetRequest, pb.PutAssetResponse]


class AssetUploads(AssetReceiver):
    async def put(self, context: Context) -> bool:
        """Stores one asset. Returns whether it was stored before.

        Raises InvalidArgument, LeaseLost, AccountAssetsFull, RequestTooSlow, AssetStoreUnavailable.
        """
        async with self.bounded():
            return await self._store(context)

    async def _store(self, context: Context) -> bool:
        first: pb.PutAssetRequest = await first_message(context)
        upload = _upload(first)
        quota = await self.calls.run(upload_work.begin, upload, caller().name, self.settings.max_asset_bytes)
        if quota is None:
            return True
        store_id = await self.identity.id_for_upload()
        await send_headers(context.send_initial_metadata((WANTED,)))
        with ExitStack() as files:
            async with self.receiving:
                incoming = files.enter_context(await self.objects.run(lambda store: store.incoming()))
                _check(upload.file, await self.receive(first, context, incoming, upload.file.size))
                await self.objects.run(lambda store: store.keep(incoming, upload.file.sha256))
            media = await self.media_of(incoming, upload.file)
        await self.calls.run(complete, quota, upload.file, media, store_id)
        if self.metrics:
            self.metrics.asset_stored(upload.file.size)
        return False


def _check(announced: StoredFile, received: StoredFile) -> None:
    """Raises InvalidArgument if other bytes came than those that were announced."""
    if received.size != announced.size:
        raise InvalidArgument.of("size", f"must be the number of bytes that come, is {announced.size:,}")
    if received.sha256 != announced.sha256:
        raise InvalidArgument.of("sha256", "must be that of the bytes that come")


def _upload(first: pb.PutAssetRequest) -> Upload:
    """Reads which asset is to be uploaded. Raises InvalidArgument."""
    with Violations() as violations:
        violations.text("lease_id", first.lease_id, MAX_NAME, required=True)
        violations.number("attempt", first.attempt, 1, MAX_INT32)
        violations.sha256("sha256", first.sha256)
        violations.number("size", first.size, 1, MAX_BYTES)
    ref = parse_lease_id(first.lease_id, first.attempt)
    return Upload(first.lease_id, ref, StoredFile(first.sha256, first.size))
