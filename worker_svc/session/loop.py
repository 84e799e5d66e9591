"""The one shape of a loop in the worker: `start` and `stop`, both idempotent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Loop:
    """Runs `body` as one task. It may end by itself, and may then be started again."""

    def __init__(self, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._body = body
        self._task: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        """Starts the task unless it is running, and returns it."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._body())
        return self._task

    async def stop(self) -> None:
        """Cancels the task and waits for its end. How it ended is left to whoever waits for the task itself."""
        if self._task is not None:
            await cancelled(self._task)


async def cancelled(*tasks: asyncio.Task[Any]) -> list[Any]:
    """Cancels tasks and waits for their ends. Returns what each returned or raised."""
    for task in tasks:
        task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)
