"""WaitTask: waits are woken by the signal that a task has ended, on whichever replica."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from scheduler_svc.application.calls import Calls
from scheduler_svc.application.tasks import query
from scheduler_svc.domain.errors import ShuttingDown
from scheduler_svc.domain.task import Task

REREAD_INTERVAL = 10.0
"""Seconds after which a wait reads the task itself, in case a signal was lost."""


class Waiters:
    """The waits, by task. Lives on the event loop."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._events: dict[int, set[asyncio.Event]] = {}
        self._closed = False

    async def wait(self, task_key: int, within: float) -> Task:
        """Returns the task once it has ended, or as it is after `within` seconds. Raises NotFound, ShuttingDown."""
        event = asyncio.Event()
        self._events.setdefault(task_key, set()).add(event)
        try:
            return await self._wait(task_key, event, within)
        finally:
            waiting = self._events[task_key]
            waiting.discard(event)
            if not waiting:
                del self._events[task_key]

    async def _wait(self, task_key: int, event: asyncio.Event, within: float) -> Task:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        while True:
            event.clear()
            task = await self._calls.run(query.get_task, task_key)
            left = deadline - loop.time()
            if task.ended or left <= 0:
                return task
            if self._closed:
                raise ShuttingDown
            try:
                async with asyncio.timeout(min(left, REREAD_INTERVAL)):
                    await event.wait()
            except TimeoutError:
                pass

    def wake(self, ended: Iterable[int]) -> None:
        """Wakes the waits for these tasks, which have ended."""
        if self._events:
            for task_key in ended:
                for event in self._events.get(task_key, ()):
                    event.set()

    def close(self) -> None:
        """Ends every wait with ShuttingDown."""
        self._closed = True
        self.wake_all()

    def wake_all(self) -> None:
        """Makes every wait read its task: signals may have been missed."""
        self.wake(list(self._events))
