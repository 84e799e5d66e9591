"""Writes that survive a power cut, several of them with one sync."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Generic, TypeVar

Item = TypeVar("Item")

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


def sync_folder(folder: Path) -> None:
    """Makes the file names in `folder` durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Replaces the file at `path` durably and atomically. Raises OSError; the old file then stays."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with os.fdopen(os.open(temporary, _NEW_FILE, 0o600), "wb", buffering=0) as file:
            while data:
                data = data[file.write(data) :]
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


class GroupWriter(Generic[Item]):
    """Group commit: calls a blocking `write` in a thread with all items that arrived during the call before.

    An idle worker's item is written at once, a busy worker's items share a sync, and there is no timer.
    """

    def __init__(self, write: Callable[[Sequence[Item]], None], executor: Executor) -> None:
        self._write = write
        self._executor = executor
        self._waiting: list[tuple[Item, asyncio.Future[None]]] = []
        self._busy: asyncio.Task[None] | None = None

    def put(self, item: Item) -> asyncio.Future[None]:
        """Returns a future that is done once `item` is durable, or fails with the OSError of its batch."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._busy is None:
            self._busy = asyncio.create_task(self._flush())
        return future

    async def close(self) -> None:
        while self._busy is not None:
            await asyncio.shield(self._busy)

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                error: Exception | None = None
                try:
                    await loop.run_in_executor(self._executor, self._write, [item for item, _ in batch])
                except OSError as failure:
                    error = failure
                for future in (future for _, future in batch if not future.cancelled()):
                    if error:
                        future.set_exception(error)
                    else:
                        future.set_result(None)
        finally:
            self._busy = None
