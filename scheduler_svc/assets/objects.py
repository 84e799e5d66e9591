"""Where the bytes of assets are, and calls into it from the event loop, on a few threads of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import BinaryIO, Concatenate, ParamSpec, Protocol, TypeVar

from scheduler_svc.domain.asset import Media

P = ParamSpec("P")
R = TypeVar("R")

THREADS = 4
LOOKED_AT = 2**20
"""Bytes at the beginning of a file by which it is told what the file is."""


class Incoming(Protocol):
    """A temporary file, empty at first, which is removed on leaving the context unless it was kept."""

    @property
    def file(self) -> BinaryIO: ...
    def __enter__(self) -> Incoming: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


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


class Looks(Protocol):
    """Tells what files are, whatever they hold: in a bounded time, and without an error."""

    async def media_of(self, begin: bytes) -> Media:
        """Returns what the file is that begins so."""

    def close(self) -> None: ...


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
