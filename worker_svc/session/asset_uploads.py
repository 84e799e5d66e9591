"""Uploads the assets of results, and holds each result back until they are stored (rule 24).

Each stream begins anew: a scheduler answers at once what it has.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path

import grpc
import grpc.aio
import structlog

from contentgen.v1 import worker_service_pb2 as pb
from contentgen.v1 import worker_service_pb2_grpc
from worker_svc.asset_folder import AssetFolder
from worker_svc.asset_sources import LeftOutError
from worker_svc.guard import now
from worker_svc.outcome import LeftOutReason
from worker_svc.session import wire
from worker_svc.session.channel import error_info
from worker_svc.session.loop import cancelled
from worker_svc.session.outbox import PendingUpdate

WANTED = "asset-wanted"  # the header by which a scheduler asks for the bytes of an asset
PARALLEL = 2
CHUNK = 64 * 1024
MIN_PAUSE, MAX_PAUSE = 0.5, 30.0
"""Seconds between two tries of an upload, doubling; the stream goes on meanwhile, and the lease stays held."""
MIN_TIMEOUT, MIN_RATE = 60.0, 32 * 1024
"""Seconds that an upload may take at least, and bytes a second beyond that."""
MAX_REFUSALS = 10
"""Tries of an asset that end with a scheduler's defect, after which the result goes without it."""
SPOOLED_TIMEOUT = 120.0
"""Seconds from its first upload in which a result from the spool has to be sent: its task's timeout is not known."""
LATE_TIMEOUT = 10.0
"""Seconds of a stream in which the worker takes nothing while late results wait for their uploads: a late result counts
only as long as its task is not granted anew (rule 16)."""

_log = structlog.get_logger()


PutCall = grpc.aio.StreamUnaryCall[pb.PutAssetRequest, pb.PutAssetResponse]


class _LeaseLost(Exception):
    """The lease takes no result any more, as far as the scheduler knows; that is for the report to find out."""


class Put:
    """Begins PutAsset calls on a connection of their own, so that no heartbeat waits behind their bytes.

    Behind a load balancer that may lead to a scheduler of an older version; then they go where the stream goes.
    """

    def __init__(self, own: grpc.aio.Channel, of_stream: grpc.aio.Channel, metadata: Sequence[tuple[str, str]]) -> None:
        self._channel = own
        self._of_stream = of_stream
        self._metadata = metadata

    def __call__(self, *, timeout: float) -> PutCall:
        stub = worker_service_pb2_grpc.WorkerServiceStub(self._channel)
        return stub.PutAsset(timeout=timeout, metadata=self._metadata)

    def unknown(self) -> None:
        """Uses the stream's scheduler from now on: the one that was reached does not know the call."""
        self._channel = self._of_stream


class AssetUploads:
    """The results whose assets are not known to be stored. `ready` is called with each once they are.

    Past the task's timeout the scheduler would take no result: before that it goes without what is not stored yet. It
    also goes without what the account may not have, or what a scheduler fails at again and again. No upload that waits
    for its next try holds up others.
    """

    def __init__(
        self, files: AssetFolder, report_by: Callable[[str], float], ready: Callable[[PendingUpdate], None]
    ) -> None:
        """`report_by`: when the result of a lease has to be on its way; infinity if that is not known."""
        self._files = files
        self._report_by = report_by
        self._ready = ready
        self._waiting: dict[str, PendingUpdate] = {}
        self._until: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(PARALLEL)
        self._put: Put | None = None
        self._open = False
        self._late: frozenset[str] = frozenset()
        self._late_until = 0.0

    @property
    def late_waits(self) -> bool:
        """Whether a result of a lease that is no longer this worker's waits, at the beginning of a stream."""
        return now() < self._late_until and not self._late.isdisjoint(self._waiting)

    def add(self, update: PendingUpdate) -> None:
        self._waiting[update.lease_id] = update
        if self._open:
            self._begin(update)

    def opened(self, put: Put | None, late: Collection[str] = ()) -> None:
        """Takes an open session. `put` None: its scheduler stores no assets. `late`: leases that it did not keep."""
        self.closed()
        self._open, self._put = True, put
        self._late, self._late_until = frozenset(late), now() + LATE_TIMEOUT
        for update in list(self._waiting.values()):
            self._begin(update)

    def closed(self) -> None:
        """Notes that the session is over. What is not stored by now is uploaded on the next."""
        self._open = False
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        self.closed()
        await cancelled(*tasks)

    def _begin(self, update: PendingUpdate) -> None:
        if self._put is None:
            self._done(wire.without_assets(update))
        else:
            self._tasks[update.lease_id] = asyncio.create_task(self._upload(update, self._put))

    def _done(self, update: PendingUpdate) -> None:
        self._waiting.pop(update.lease_id, None)
        self._until.pop(update.lease_id, None)
        self._ready(update)

    async def _upload(self, update: PendingUpdate, put: Put) -> None:
        assets, missing = list(wire.assets_of(update)), defaultdict[LeftOutReason, set[str]](set)
        try:
            async with asyncio.timeout(self._time_left(update.lease_id)):
                while assets:
                    try:
                        await self._store(put, update, assets[0])
                    except LeftOutError as error:
                        missing[error.reason].add(assets[0].sha256)
                    del assets[0]
        except _LeaseLost:
            pass
        except TimeoutError:
            missing[LeftOutReason.NOT_FOUND].update(asset.sha256 for asset in assets)
        self._tasks.pop(update.lease_id, None)
        self._done(_without(update, missing))

    async def _store(self, put: Put, update: PendingUpdate, asset: pb.ResultAsset) -> None:
        """Uploads one asset, however often it takes. Raises LeftOutError, _LeaseLost."""
        path = self._files.file(update.lease_id, asset.sha256)
        defects, pause = 0, MIN_PAUSE
        keys = {"lease_id": update.lease_id, "asset": asset.name, "sha256": asset.sha256}
        while True:
            try:
                async with self._slots:
                    await _send(put(timeout=MIN_TIMEOUT + asset.size / MIN_RATE), update, asset, path)
            except grpc.aio.AioRpcError as error:
                _log.warning("an asset is not stored yet", action="asset.retried", error=error.details(), **keys)
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    put.unknown()
                defects += _is_defect(error)
                if defects == MAX_REFUSALS:
                    raise LeftOutError(LeftOutReason.STORE_UNAVAILABLE) from None
            except OSError as error:
                _log.error("an asset is lost", action="asset.lost", error=str(error), **keys)
                raise LeftOutError(LeftOutReason.NOT_FOUND) from None
            except Exception:  # noqa: BLE001 - the next try, or the next stream, may work
                _log.exception("an upload failed", action="asset.fault", **keys)
            else:
                _log.debug("an asset is stored", action="asset.stored", **keys)
                return
            await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - a spread
            pause = min(2 * pause, MAX_PAUSE)

    def _time_left(self, lease_id: str) -> float:
        """Returns the seconds in which the uploads of a result may go on."""
        report_by = self._report_by(lease_id)
        deadline = self._until.setdefault(lease_id, now() + SPOOLED_TIMEOUT if report_by == inf else report_by)
        return deadline - now()


def _without(update: PendingUpdate, missing: Mapping[LeftOutReason, Collection[str]]) -> PendingUpdate:
    """Returns the result without these assets, by SHA-256."""
    for reason, digests in missing.items():
        _log.error(
            "a result goes without assets that were not stored",
            action="asset.left_out",
            reason=reason.value,
            lease_id=update.lease_id,
            assets=[asset.name for asset in wire.assets_of(update) if asset.sha256 in digests],
        )
        update = wire.with_left_out(update, digests, reason)
    return update


def _is_defect(error: grpc.aio.AioRpcError) -> bool:
    """Returns whether it is a scheduler's defect. Raises LeftOutError, _LeaseLost: no further try helps."""
    reason = error_info(error).reason
    if reason == "ACCOUNT_ASSETS_FULL":
        raise LeftOutError(LeftOutReason.ACCOUNT_FULL)
    if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
        raise LeftOutError(LeftOutReason.NOT_FOUND)
    if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
        raise _LeaseLost
    return reason == "INTERNAL"


async def _send(call: PutCall, update: PendingUpdate, asset: pb.ResultAsset, path: Path) -> None:
    """Raises AioRpcError, and OSError if the file can't be read."""
    blocks = _blocks(path)
    first = pb.PutAssetRequest(lease_id=update.lease_id, attempt=update.attempt, sha256=asset.sha256, size=asset.size)
    try:
        with suppress(asyncio.InvalidStateError):  # it is answered already
            await call.write(first)
            if dict(await call.initial_metadata()).get(WANTED):
                while block := await asyncio.to_thread(next, blocks, b""):
                    for offset in range(0, len(block), CHUNK):
                        await call.write(pb.PutAssetRequest(chunk=block[offset : offset + CHUNK]))
            await call.done_writing()
        await call
    finally:
        blocks.close()
        call.cancel()


def _blocks(path: Path) -> Generator[bytes]:
    with path.open("rb") as file:
        while block := file.read(16 * CHUNK):
            yield block
