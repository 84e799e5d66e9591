"""Writes by a thread, several of them together: each costs a sync."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

Item = TypeVar("Item")


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
