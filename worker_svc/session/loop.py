"""Tasks of the worker: loops, which have an idempotent `start` and `stop`, and waiting for the first of several."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Loop:
    """Runs `body` as one task. It may end by itself, and may then be started again."""

    def __init__(self, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._body = body
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts the task unless it is running."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._body())

    async def stop(self) -> None:
        """Cancels the task and waits for its end."""
        if self._task is not None:
            await cancelled(self._task)


async def cancelled(*tasks: asyncio.Task[Any]) -> list[Any]:
    """Cancels tasks and waits for their ends. Returns what each returned or raised."""
    for task in tasks:
        task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


async def first_of(*coroutines: Coroutine[Any, Any, Any]) -> tuple[int, Any]:
    """Waits for the first of them to end, cancels the others, and returns the index of the first and its result."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancelled(*(task for task in tasks if not task.done()))
    first = next(index for index, task in enumerate(tasks) if task in done)
    return first, tasks[first].result()
