"""What all loops of a replica have in common: how they start, stop and run. `Replica` starts and stops a list of them.

A loop runs on a thread of its own (`ThreadService`) or as a task of the event loop (`TaskService`).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from scheduler_svc.loops.supervision import Supervision


class Service(Protocol):
    """A loop. It runs once: `start` after `stop` does nothing."""

    @property
    def name(self) -> str: ...

    @property
    def started(self) -> asyncio.Event:
        """Set once the thread or task runs."""
        ...

    def start(self) -> None:
        """Starts the loop; further calls do nothing. Call it on the event loop."""
        ...

    async def stop(self) -> None:
        """Returns once the work under way has ended; further calls do nothing."""
        ...

    def run_once(self) -> object:
        """Does one round of the work: blocks on a `ThreadService`, returns an awaitable on a `TaskService`."""
        ...


class ThreadService(ABC):
    """Repeats `run_once` on a thread of its own."""

    def __init__(self, name: str, supervision: Supervision | None = None) -> None:
        self.name = name
        self.started = asyncio.Event()
        self._supervision = supervision or Supervision()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        if self._loop is None and not self._stopping.is_set():
            self._loop = asyncio.get_running_loop()
            self._thread.start()

    async def stop(self) -> None:
        self._stopping.set()
        if self._loop is not None:
            self._interrupt()
            await asyncio.to_thread(self._thread.join)

    @abstractmethod
    def run_once(self) -> object:
        """Does one round of the work. Blocks until there is some, or until `stop`."""

    @abstractmethod
    def _interrupt(self) -> None:
        """Ends the wait of a round, now or the next one. Called by `stop`."""

    def _serve(self) -> None:
        while not self._stopping.is_set():
            self.run_once()

    def _run(self) -> None:
        self._call_soon(self.started.set)
        self._supervision.run(self.name, self._serve, self._stopping)
        self._stopping.set()  # also if the supervision gave it up

    def _call_soon(self, callback: Callable[..., object], *args: object) -> None:
        assert self._loop is not None, "start it first"
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            self._loop.call_soon_threadsafe(callback, *args)


class TaskService(ABC):
    """Repeats `run_once` as a task of the event loop, when it is woken or after a while."""

    def __init__(self, name: str, supervision: Supervision | None = None) -> None:
        self.name = name
        self.started = asyncio.Event()
        self._supervision = supervision or Supervision()
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None and not self._stopping.is_set():
            self._task = asyncio.create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        self._stopping.set()
        if self._task is not None:
            self._wake.set()
            await self._task

    @abstractmethod
    async def run_once(self) -> object:
        """Does one round of the work."""

    @abstractmethod
    async def _serve(self) -> None:
        """Repeats `run_once` until `_stopping` is set."""

    async def _run(self) -> None:
        self.started.set()
        await self._supervision.run_async(self.name, self._serve, self._stopping)
