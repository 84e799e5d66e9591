"""AssetService: the files that contents name."""

from __future__ import annotations

from collections.abc import AsyncIterator

from contentgen.v1 import asset_pb2 as asset_pb
from contentgen.v1 import asset_service_pb2 as pb
from contentgen.v1.asset_service_pb2_grpc import AssetServiceServicer
from scheduler_svc.assets import work
from scheduler_svc.assets.objects import Objects
from scheduler_svc.domain.content import Asset
from scheduler_svc.domain.errors import InvalidArgument
from scheduler_svc.runtime.access import caller
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.validation import Violations, message_of

CHUNK = 512 * 1024
"""Bytes of one answer."""


class AssetService(AssetServiceServicer):
    def __init__(self, reads: Calls, objects: Objects) -> None:
        self._reads = reads
        self._objects = objects

    async def GetAsset(self, request: pb.GetAssetRequest, context: object) -> AsyncIterator[pb.GetAssetResponse]:
        with Violations() as violations:
            violations.sha256("sha256", request.sha256)
            for field, number in (("offset", request.offset), ("length", request.length)):
                if number < 0:
                    violations.add(field, f"must be 0 or more, is {number}")
        asset = await self._get(request.sha256)
        if request.offset > asset.size:
            raise InvalidArgument.of("offset", f"must be at most the size, {asset.size:,}")
        end = min(asset.size, request.offset + request.length) if request.length else asset.size
        for begin in range(request.offset, end, CHUNK):
            length = min(CHUNK, end - begin)
            chunk = await self._objects.run(
                lambda store, offset, size: store.read(asset.sha256, offset, size), begin, length
            )
            yield pb.GetAssetResponse(chunk=chunk)

    async def GetAssetInfo(self, request: pb.GetAssetInfoRequest, context: object) -> pb.GetAssetInfoResponse:
        with Violations() as violations:
            violations.sha256("sha256", request.sha256)
        return pb.GetAssetInfoResponse(asset=message_of(asset_pb.Asset, await self._get(request.sha256)))

    async def _get(self, sha256: str) -> Asset:
        return await self._reads.run(work.get_asset, caller().scope, sha256)
