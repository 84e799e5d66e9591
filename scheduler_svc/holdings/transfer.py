"""Export and import of an account: archives between the database, the store of files, and a stream of bytes."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncGenerator, Iterable
from contextlib import ExitStack
from itertools import islice
from typing import IO, Any, BinaryIO, cast

from grpc import aio

from contentgen.version import own_version
from scheduler_svc.assets.objects import Objects, ObjectStore, StoreIdentity
from scheduler_svc.assets.uploads import next_message
from scheduler_svc.assets.work import StoredFile, delete_retired
from scheduler_svc.domain.account import Account
from scheduler_svc.domain.content import KEPT_UNNAMED, Media
from scheduler_svc.domain.errors import AssetStoreUnavailable
from scheduler_svc.holdings import archive, work
from scheduler_svc.holdings.archive import PIECE, Archive, Exported
from scheduler_svc.holdings.erasure import submits_ended
from scheduler_svc.holdings.tables import ASSETS, Table
from scheduler_svc.holdings.work import StoredAsset
from scheduler_svc.runtime.calls import Calls

BATCH = 500
"""Files that one transaction announces."""


class _Lines:
    """A temporary file of rows, which counts and digests what is written."""

    def __init__(self, table: Table, file: IO[bytes]) -> None:
        self._table = table
        self._file = file
        self._digest = hashlib.sha256()
        self._rows = self._size = 0

    def write(self, data: bytes) -> None:
        self._digest.update(data)
        self._rows += data.count(b"\n")
        self._size += self._file.write(data)

    def exported(self) -> Exported:
        self._file.seek(0)
        return Exported(self._file, self._table.columns, self._rows, self._size, self._digest.hexdigest())


class Transfer:
    def __init__(
        self, calls: Calls, objects: Objects, identity: StoreIdentity, cell: int, *, failed: type[Exception]
    ) -> None:
        """`calls` may take minutes each: nobody else waits for them. `failed`: what bad rows raise."""
        self._failed = failed
        self._calls = calls
        self._objects = objects
        self._identity = identity
        self._cell = cell

    async def export(self, account_id: int) -> AsyncGenerator[bytes, None]:
        """Yields the archive. Raises NotFound, InvalidState, AssetStoreUnavailable, StoreUnavailable."""
        with ExitStack() as files:
            written: dict[str, _Lines] = {}

            def file_of(table: Table) -> _Lines:
                written[table.name] = _Lines(table, files.enter_context(tempfile.TemporaryFile()))
                return written[table.name]

            await submits_ended(self._calls)
            await self._calls.run(work.export, account_id, file_of)
            tables = {name: lines.exported() for name, lines in written.items()}
            yield archive.manifest(account_id, self._cell, own_version(), tables)
            for name, table in tables.items():
                yield archive.header(archive.path_of(name), table.size)
                while piece := await asyncio.to_thread(table.file.read, PIECE):
                    yield piece
                yield archive.padding(table.size)
            tables[ASSETS].file.seek(0)
            for sha256, size in archive.asset_sizes(tables[ASSETS].file):
                yield archive.header(archive.asset_path(sha256), size)
                for begin in range(0, size, PIECE):
                    yield await self._objects.run(_read, sha256, begin, min(PIECE, size - begin))
                yield archive.padding(size)
            yield archive.END

    async def receive(self, context: aio.ServicerContext[Any, Any]) -> tuple[Account, dict[str, int]]:
        """Stores the archive that a call brings. Raises RequestTooSlow, and what `store` raises."""
        with tempfile.TemporaryFile() as file:
            try:
                while (message := await next_message(context)) is not None:
                    await asyncio.to_thread(file.write, message.chunk)
                await asyncio.to_thread(file.flush)
            except OSError as error:
                raise AssetStoreUnavailable(str(error)) from None
            return await self.store(file)

    async def store(self, file: BinaryIO) -> tuple[Account, dict[str, int]]:
        """Stores the archive that a file holds; returns the account, and how many rows of each kind.

        Raises InvalidArgument, ResourceExists, InvalidState, AssetStoreUnavailable, StoreUnavailable.
        """
        received = await asyncio.to_thread(Archive, file)
        await asyncio.to_thread(received.check_assets)
        rows = received.assets()
        store_id = await self._identity.id_for_upload() if rows else ""
        try:
            assets = [await self._asset(received, row) for row in rows.values()]
            return await self._calls.run(work.receive, received, assets, store_id)
        except BaseException as error:
            if rows:
                await self._drop(list(rows))
            if isinstance(error, self._failed):
                raise archive.damaged(f"a row can't be stored ({error})") from None
            raise

    async def _asset(self, received: Archive, row: dict[str, object]) -> StoredAsset:
        file = StoredFile(str(row["sha256"]), int(str(row["size"])))
        if not await self._calls.run(lambda tx: tx.assets.touch(file.sha256, file.size)):
            await self._objects.run(_keep, received.asset(file.sha256), file.sha256)
        media = Media(str(row["media_type"]), *(cast("int | None", row[side]) for side in ("width", "height")))
        return StoredAsset(file, media)

    async def _drop(self, hashes: list[str]) -> None:
        """Deletes files that were brought and are not stored; what it can't, the collection deletes after a week."""
        remaining = iter(hashes)
        while these := list(islice(remaining, BATCH)):
            await self._calls.run(lambda tx, these: tx.holdings.drop_incomplete(these), these)
        while await self._calls.run(delete_retired, self._objects.store, KEPT_UNNAMED):
            pass


def _read(store: ObjectStore, sha256: str, begin: int, length: int) -> bytes:
    return store.read(sha256, begin, length)


def _keep(store: ObjectStore, pieces: Iterable[bytes], sha256: str) -> None:
    with store.incoming() as incoming:
        try:
            for piece in pieces:
                incoming.file.write(piece)
        except OSError as error:
            raise AssetStoreUnavailable(str(error)) from None
        store.keep(incoming, sha256)
