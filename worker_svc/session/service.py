"""A worker from its first connection to its last acknowledgement: puts the parts together, and heeds signals.

Layer: the top of session; main hands it what had to be there before gRPC.
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import structlog
from structlog.typing import FilteringBoundLogger

from worker_svc import creators
from worker_svc.config import EXIT_CONFIG, WorkerSettings
from worker_svc.creators.base import CreatorSettings
from worker_svc.folder import StartedMarks, WorkerFolder
from worker_svc.guard import Guard, GuardLostError, now
from worker_svc.runner import CliUnusableError, CreatorProgram, Runner
from worker_svc.session.channel import Dialer
from worker_svc.session.credentials import Credentials
from worker_svc.session.durable_journal import DurableJournal
from worker_svc.session.scheduler_connection import SchedulerConnection, WorkerInfo
from worker_svc.session.wire import CreatorInfo
from worker_svc.session.worker import Worker
from worker_svc.slots import Slots
from worker_svc.spool import Spool

EXIT_BROKEN = 1
MAX_NAMED_RESULTS = 100
"""Results in the spool that are named at the end."""
STOP_TIMEOUT = 6.0
"""Seconds for CLIs to end and leases to be given back, after a second signal."""
SILENCE_TIMEOUT = 12.0
"""Seconds without a word from a scheduler after which a drained worker leaves its results in the spool.

A scheduler that is there speaks at each heartbeat, 10 s apart at most.
"""
_CHECK_INTERVAL = 0.5
QUIESCE_TIMEOUT = 3.0
"""Seconds that the last states of a drained worker may take to be acknowledged."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_log: FilteringBoundLogger = structlog.get_logger()


class ProcessSignals:
    """TERM and INT: the first drains, the second does not wait. HUP is up to whoever asks for it."""

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            self._loop.add_signal_handler(number, self._received)

    def on_hangup(self, then: Callable[[], None]) -> None:
        """HUP calls `then`."""
        self._loop.add_signal_handler(signal.SIGHUP, then)

    def ignore(self) -> None:
        """Heeds none any more: the loop's end would make one of them kill a process that ends already."""
        for number in (*_SIGNALS, signal.SIGHUP):
            self._loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)

    def _received(self) -> None:
        (self.stop if self.drain.is_set() else self.drain).set()


async def serve(settings: WorkerSettings, folder: WorkerFolder, guard: Guard, version: str) -> int:
    """Runs the worker until it is told to stop; its exit status. Raises SettingsError."""
    signals = ProcessSignals()
    try:
        await guard.connect()
        credentials = Credentials(settings)
        _log.info("the guard is ready", action="guard.ready", pid=guard.pid, capabilities=guard.capabilities)
        runner = _runner(settings, guard, folder)
        creator = await _checked(settings, runner, signals)
        if creator is None:
            return 0
        with ThreadPoolExecutor(1, "disk") as disk:
            worker = _worker(settings, folder, runner, disk)
            guard.on_deadline = worker.expired
            who = folder.identity
            introduction = WorkerInfo(who.worker_id, who.folder_id, uuid4().hex, platform.node(), version, creator)
            signals.on_hangup(credentials.reload)
            link = SchedulerConnection(
                worker, introduction, Dialer(settings.scheduler, credentials), folder.next_session
            )
            return await _Service(guard, worker, link, credentials, settings.drain_timeout).run(signals)
    except CliUnusableError as error:
        _log.error(str(error), action="creator.unusable")
        return EXIT_CONFIG
    except GuardLostError as error:
        return _guard_lost(str(error))
    finally:
        with suppress(GuardLostError):
            await guard.close()
        signals.ignore()


def _runner(settings: WorkerSettings, guard: Guard, folder: WorkerFolder) -> Runner:
    limits = CreatorSettings(settings.creator_poll_interval, settings.creator_max_result)
    creator = creators.load(settings.creator_profile, limits)
    program = CreatorProgram.locate(settings.creator_cli_path, settings.creator_env, os.environ, creator.needs)
    return Runner(guard, program, creator, folder.scratch, settings.creator_options_allowed)


async def _checked(settings: WorkerSettings, runner: Runner, signals: ProcessSignals) -> CreatorInfo | None:
    """The CLI as its `--version` shows it; None where a signal came first. Raises CliUnusableError."""
    found = ""

    async def check() -> None:
        nonlocal found
        found = await runner.version()

    if await _first(check(), signals.drain.wait()) != 0:
        return None
    creator = CreatorInfo(runner.program.path, found)
    _log.info(
        "the creator CLI answers",
        action="creator.checked",
        path=creator.path,
        version=creator.version or "unknown",
        profile=settings.creator_profile,
    )
    return creator


def _worker(settings: WorkerSettings, folder: WorkerFolder, runner: Runner, disk: Executor) -> Worker:
    spool, marks = Spool(folder.spool, disk), StartedMarks(folder.started, disk)
    slots = Slots(settings.slots, settings.queue_size)
    return Worker(slots, runner, lambda on_health: DurableJournal(spool, marks, on_health))


class _Service:
    """Everything that runs until the end, and the end."""

    def __init__(
        self, guard: Guard, worker: Worker, link: SchedulerConnection, credentials: Credentials, drain_timeout: float
    ) -> None:
        self._guard = guard
        self._worker = worker
        self._link = link
        self._credentials = credentials
        self._drain_timeout = drain_timeout

    async def run(self, signals: ProcessSignals) -> int:
        """Serves until a signal and what it asks for, or until something breaks."""
        self._worker.restore()
        told = asyncio.create_task(self._until_told(signals))
        lost = asyncio.create_task(self._guard.lost.wait())
        loops = [
            asyncio.create_task(self._link.run()),
            asyncio.create_task(self._worker.watch_time()),
            asyncio.create_task(self._credentials.keep_fresh()),
            asyncio.create_task(self._broken()),
        ]
        try:
            await asyncio.wait([told, lost, *loops], return_when=asyncio.FIRST_COMPLETED)
            if lost.done():  # nothing is guarded any more
                return _guard_lost(f"{self._guard.why_lost}; its CLIs are gone, too")
            for broken in (loop for loop in loops if loop.done()):
                _log.critical("the worker broke", action="worker.broken", error=repr(broken.exception()))
                return EXIT_BROKEN
            told.result()
            return 0
        finally:
            await _cancelled(told, lost, *loops)
            await self._worker.close()

    async def _broken(self) -> None:
        await self._worker.broken.wait()
        raise RuntimeError("what runs is not known any more")

    async def _until_told(self, signals: ProcessSignals) -> None:
        await signals.drain.wait()
        self._worker.drain()
        deserted = False
        async with _within(self._drain_timeout):
            deserted = await _first(self._drained(), signals.stop.wait(), self._deserted()) == 2
        if not (deserted or self._worker.is_empty):
            _log.warning("stopping what runs", action="worker.stopping", held=len(self._worker.book))
            self._worker.stop_all()
            async with _within(STOP_TIMEOUT):
                await self._worker.wait_until_empty()
        self._say_what_is_left()

    def _say_what_is_left(self) -> None:
        held, kept = self._worker.book, self._worker.journal.spooled
        if kept:
            _log.warning(
                "results stay in the spool: a worker that is started on this data folder reports them",
                action="spool.left",
                results=len(kept),
                leases=kept[:MAX_NAMED_RESULTS],
                tasks=[lease.task_id for lease in map(held.get, kept[:MAX_NAMED_RESULTS]) if lease and lease.task_id],
            )
        _log.info("the worker ends", action="worker.ended", unacknowledged=len(held))

    async def _deserted(self) -> None:
        """Returns once nothing runs, every result is in the spool, and no scheduler has been heard for a while."""
        rests_since = now()
        while now() - max(rests_since, self._link.last_received_at) < SILENCE_TIMEOUT:
            await asyncio.sleep(_CHECK_INTERVAL)
            if not self._worker.is_idle:
                rests_since = now()

    async def _drained(self) -> None:
        """Returns once nothing is held, and nothing is on its way any more."""
        await self._worker.wait_until_empty()
        if self._link.connected:
            async with _within(QUIESCE_TIMEOUT):
                await self._worker.quiesced.wait()
        await self._worker.wait_until_empty()


def _guard_lost(text: str) -> int:
    _log.critical(text, action="guard.lost")
    return EXIT_BROKEN


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    """`asyncio.timeout` for what may as well not be done in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            yield


async def _first(*coroutines: Coroutine[Any, Any, object]) -> int:
    """Waits for the first of them to end, and cancels the others; which one it was."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancelled(*(task for task in tasks if not task.done()))
    first = next(index for index, task in enumerate(tasks) if task in done)
    tasks[first].result()
    return first


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
