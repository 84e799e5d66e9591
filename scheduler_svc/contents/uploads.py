"""ContentService.UploadAsset: one upload by an editor, from its first message to the content that names the file."""

from __future__ import annotations

from contextlib import ExitStack

from grpc import aio

from contentgen.v1 import content_service_pb2 as pb
from scheduler_svc.assets.uploads import AssetReceiver
from scheduler_svc.assets.work import Quota, StoredFile, announce
from scheduler_svc.contents import asset_work
from scheduler_svc.contents.asset_work import NewFile
from scheduler_svc.domain.content import MAX_BYTES, Content, Media
from scheduler_svc.domain.errors import InvalidArgument

Context = aio.ServicerContext[pb.UploadAssetRequest, pb.UploadAssetResponse]


class ContentUploads(AssetReceiver):
    async def store(self, new: NewFile, first: pb.UploadAssetRequest, context: Context) -> Content:
        """Stores one file of a content, and returns the content.

        Raises InvalidArgument, NotFound, EtagMismatch, AccountAssetsFull, RequestTooSlow, AssetStoreUnavailable.
        """
        async with self.bounded():
            content = await self.calls.run(asset_work.admit, new)
            quota = Quota(content.account_id, self.settings.max_asset_bytes)
            store_id = await self.identity.id_for_upload()
            file, media = await self._object(quota, first, context)
            return await self.calls.run(asset_work.put_asset, new, file, quota, media=media, store_id=store_id)

    async def _object(
        self, quota: Quota, first: pb.UploadAssetRequest, context: Context
    ) -> tuple[StoredFile, Media | None]:
        """Returns what came once its object is there, and what it is; None if it was there before."""
        with ExitStack() as files:
            async with self.receiving:
                incoming = files.enter_context(await self.objects.run(lambda store: store.incoming()))
                file = await self.receive(first, context, incoming, MAX_BYTES)
                if not 1 <= file.size <= MAX_BYTES:
                    raise InvalidArgument.of("chunk", f"must have 1 to {MAX_BYTES:,} bytes in all")
                if await self.calls.run(announce, quota, file):
                    return file, None
                await self.objects.run(lambda store: store.keep(incoming, file.sha256))
            media = await self.media_of(incoming, file)
        if self.metrics:
            self.metrics.asset_stored(file.size)
        return file, media
