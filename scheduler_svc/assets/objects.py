"""Where the bytes of assets are, calls into it from the event loop, and whether it is the store of this database.

A store has an id, and the first asset that is stored writes it down. So a replica with another folder or bucket notices
before it reads or writes there, and does not serve.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Concatenate, ParamSpec, Protocol, Self, TypeVar

import structlog

from scheduler_svc.domain.content import Media
from scheduler_svc.domain.errors import AssetStoreUnavailable
from scheduler_svc.runtime.calls import Calls

if TYPE_CHECKING:
    from scheduler_svc.assets.media_types import Looks
    from scheduler_svc.transactions import Tx

P = ParamSpec("P")
R = TypeVar("R")
THREADS = 4
LOOKED_AT = 2**20
"""Bytes at the beginning of a file by which it is told what the file is."""


class Incoming:
    """A temporary file, empty at first, which is removed on leaving the context unless it was kept."""

    def __init__(self, file: BinaryIO, path: Path | None = None) -> None:
        """`path` is its name, if it has one."""
        self.file = file
        self.path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # of a disk that is full, too
            self.file.close()
        if self.path:
            with suppress(OSError):
                self.path.unlink()


@contextmanager
def as_unavailable(*errors: type[Exception]) -> Iterator[None]:
    """Raises AssetStoreUnavailable with the first line of an error: further ones may show a request's details."""
    try:
        yield
    except errors as error:
        raise AssetStoreUnavailable((str(error).strip().splitlines() or [type(error).__name__])[0]) from None


class ObjectStore(Protocol):
    """Objects by the SHA-256 of their bytes. Every method blocks, and raises AssetStoreUnavailable.

    An object is there whole or not at all, and stays over a crash once `keep` has returned.
    """

    def identity(self, *, create: bool = False) -> str | None:
        """Returns the id of the store, which is kept in it; None if it has none. `create` gives it one then."""

    def incoming(self) -> Incoming: ...
    def keep(self, incoming: Incoming, sha256: str) -> None:
        """Makes the file an object, durably. One that is there already is replaced by the same bytes."""

    def read(self, sha256: str, offset: int, length: int) -> bytes:
        """Returns `length` bytes, which the object has."""

    def delete(self, sha256: str) -> None:
        """Deletes the object, if it is there."""


class Objects:
    """The object store for coroutines: bounded, however slow it is."""

    def __init__(self, store: ObjectStore, looks: Looks) -> None:
        self.store = store
        self._looks = looks
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="objects")

    async def run(self, work: Callable[Concatenate[ObjectStore, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs `work(store, …)` on a thread."""
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, lambda: work(self.store, *args, **kwargs)
        )

    async def media_of(self, incoming: Incoming) -> Media:
        """Looks at the first `LOOKED_AT` bytes. Leaves the position anywhere."""
        return await self._looks.media_of(await self.run(lambda _: _begin(incoming.file)))

    def close(self) -> None:
        self._executor.shutdown()
        self._looks.close()


def _begin(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(LOOKED_AT)


COMPARE_INTERVAL = 10.0
_FORGET = "UPDATE asset_store SET store_id = NULL"
_log = structlog.get_logger(__name__)


def claim_store(tx: Tx, store_id: str) -> None:
    """Notes that an asset is stored there. Raises AssetStoreUnavailable if the others are in another store."""
    expected = tx.assets.store_id() or tx.assets.claim_store(store_id)
    if expected != store_id:
        raise AssetStoreUnavailable(f"the assets are in store {expected}, and this is {store_id}")


class StoreIdentity:
    """Lives on the event loop. `problem` says what to set if the assets are in another store; else it is empty."""

    def __init__(self, calls: Calls, objects: Objects, location: str, changed: Callable[[str], None]) -> None:
        """`location` is the setting; `changed` is called with `problem` when that changes."""
        self._calls = calls
        self._objects = objects
        self._location = location
        self._changed = changed
        self.problem = ""

    async def id_for_upload(self) -> str:
        """Returns the store's id, before an object is written. Raises AssetStoreUnavailable if it is the wrong one."""
        expected = await self._calls.run(lambda tx: tx.assets.store_id())
        store_id = await self._objects.run(lambda store: store.identity(create=expected is None))
        if expected is not None:
            self._compare(expected, store_id)
        if self.problem or store_id is None:
            raise AssetStoreUnavailable(self.problem)
        return store_id

    async def run_once(self) -> float:
        """Compares the two ids; returns the seconds until the next time. A store that is away changes nothing."""
        expected = await self._calls.run(lambda tx: tx.assets.store_id())
        try:
            store_id = None if expected is None else await self._objects.run(lambda store: store.identity())
        except AssetStoreUnavailable:
            return COMPARE_INTERVAL
        self._compare(expected, store_id)
        return COMPARE_INTERVAL

    def _compare(self, expected: str | None, store_id: str | None) -> None:
        problem = ""
        if store_id != expected:
            problem = (
                f"CONTENTGEN_ASSETS={self._location} is {f'store {store_id}' if store_id else 'a new store'}, and the"
                f" assets of this database are in store {expected}: set it to the folder or bucket that the other"
                f" schedulers use, or copy that one with its store-id; if it is lost, {_FORGET} (docs/how-to/assets.md)"
            )
        if problem != self.problem:
            self.problem = problem
            if problem:
                _log.error(problem, action="assets")
            self._changed(problem)
