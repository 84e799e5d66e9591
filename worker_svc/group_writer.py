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
        self._waiting: list[Item] = []
        self._last: asyncio.Task[None] | None = None  # the batch that is being written, or was
        self._next: asyncio.Task[None] | None = None  # the one that gathers meanwhile

    async def put(self, item: Item) -> None:
        """Returns once `item` is durable. Raises the OSError of its batch."""
        self._waiting.append(item)
        batch = self._next
        if batch is None:
            batch = self._next = asyncio.create_task(self._write_after(self._last))
            batch.add_done_callback(_retrieve)
        await asyncio.wait([batch])  # which goes on if this item's caller is cancelled
        batch.result()

    async def close(self) -> None:
        while batches := [batch for batch in (self._last, self._next) if batch and not batch.done()]:
            await asyncio.wait(batches)

    async def _write_after(self, last: asyncio.Task[None] | None) -> None:
        if last is not None:
            await asyncio.wait([last])
        self._last, self._next = self._next, None
        items, self._waiting = self._waiting, []
        await asyncio.get_running_loop().run_in_executor(self._executor, self._write, items)


def _retrieve(batch: asyncio.Task[None]) -> None:
    """Keeps the loop from reporting the error of a batch whose callers were all cancelled."""
    if not batch.cancelled():
        batch.exception()
