"""What all loops of a replica have in common: how they start, run, repeat, stop and are started again.

A loop runs on a thread of its own (`ThreadService`) or as a task of the event loop (`TaskService`), once: further calls
of `start` and `stop` do nothing, nor does `start` after `stop`. `started` is set when the thread or task runs.
`Periodic` does one thing, again after a while or when it is woken.

An unexpected exception is logged, and the loop starts again after a pause that doubles. A loop that keeps failing is
given up: the replica then stops serving and ends, and its own supervisor may start it again.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from scheduler_svc.domain.errors import StoreUnavailable

Run = Callable[[], Awaitable[float | None]]


class ThreadService(ABC):
    """Repeats `run_once` on a thread of its own. Call `start` and `stop` on the event loop."""

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
        """Returns once the work under way has ended."""
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
        with suppress(RuntimeError):  # the event loop is closed
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
        """Returns once the work under way has ended."""
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


Service = ThreadService | TaskService


MIN_DUE_INTERVAL = 0.1
"""Seconds until a loop looks again at what another replica is taking now."""


@dataclass(frozen=True, slots=True)
class DueRound:
    """How much a round took of what was due, and the seconds until more is (None: nothing waits)."""

    count: int
    next_due: float | None

    def wait(self, longest: float) -> float:
        """Returns the seconds until the next round: `longest` at most, since a signal may be lost."""
        if self.next_due is None:
            return longest
        return min(max(0.0 if self.count else MIN_DUE_INTERVAL, self.next_due), longest)


RETRY_INTERVAL = 0.5
"""Seconds until the next try while the database is away."""


class Periodic(TaskService):
    """Runs `work` at once, then whenever the seconds that it returned are over (None: when it is woken)."""

    def __init__(self, name: str, work: Run, supervision: Supervision | None = None) -> None:
        """Without `supervision` it starts again however often it fails."""
        super().__init__(name, supervision)
        self._work = work

    def wake(self) -> None:
        """Runs now, or once more after the round under way."""
        self._wake.set()

    async def run_once(self) -> float | None:
        try:
            return await self._work()
        except StoreUnavailable:
            return RETRY_INTERVAL

    async def _serve(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            seconds = await self.run_once()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()


MIN_PAUSE = 0.1
MAX_PAUSE = 5.0
GIVE_UP_TIMEOUT = 60.0
"""Seconds of repeated failures after which a part that the replica needs is given up."""
STEADY_INTERVAL = 30.0
"""Seconds without a failure after which the earlier ones don't count."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Failures:
    first: float = 0.0
    last: float = -math.inf
    pause: float = MIN_PAUSE

    def add(self, now: float) -> tuple[float, float]:
        """Adds one; returns how long the part has been failing, and the pause before the next start, in seconds."""
        if now - self.last > STEADY_INTERVAL + self.pause:
            self.first, self.pause = now, MIN_PAUSE
        self.last = now
        pause, self.pause = self.pause, min(2 * self.pause, MAX_PAUSE)
        return now - self.first, pause


@dataclass(frozen=True)
class Supervision:
    """Restarts parts; several may share one."""

    on_give_up: Callable[[str], object] = lambda _: None
    """Gets the name of a part that failed for `give_up_after` seconds, on the part's own thread."""
    give_up_after: float = math.inf
    clock: Callable[[], float] = time.monotonic

    def run(self, name: str, part: Callable[[], None], stopping: threading.Event) -> None:
        """Runs `part` on this thread until it returns, is given up, or fails after `stopping` is set."""
        failures = _Failures()
        while True:
            try:
                return part()
            except Exception as error:  # noqa: BLE001 - whatever it is, the part is needed
                pause = self._failed(name, failures, error)
            if pause is None or stopping.is_set():
                return None
            stopping.wait(pause)

    async def run_async(self, name: str, part: Callable[[], Awaitable[None]], stopping: asyncio.Event) -> None:
        failures = _Failures()
        while True:
            try:
                return await part()
            except Exception as error:  # noqa: BLE001 - whatever it is, the part is needed
                pause = self._failed(name, failures, error)
            if pause is None or stopping.is_set():
                return None
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stopping.wait()

    def _failed(self, name: str, failures: _Failures, error: Exception) -> float | None:
        """Returns the pause before the next start, or None if the part is given up."""
        failing_for, pause = failures.add(self.clock())
        if failing_for < self.give_up_after:
            _log.error("a part failed; it starts again", action="supervise", part=name, pause=pause, exc_info=error)
            return pause
        _log.critical("a part fails again and again; it is given up", action="supervise", part=name, exc_info=error)
        self.on_give_up(name)
        return None
