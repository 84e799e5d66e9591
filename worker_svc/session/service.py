"""A worker from its first connection to its last acknowledgement: assembles the parts, and handles signals.

Main passes in what has to exist before gRPC is imported.
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import structlog

from contentgen.service.logs import LEVEL_SIGNALS, follow_level_signals
from contentgen.service.metrics import MetricsEndpoint, Sampling
from contentgen.service.settings import EXIT_STATUS
from contentgen.service.values import Address
from contentgen.v1 import worker_service_pb2 as pb
from worker_svc.asset_folder import AssetFolder
from worker_svc.asset_sources import Fetcher
from worker_svc.config import WorkerSettings
from worker_svc.creators import PROFILES
from worker_svc.folder import StartedMarks, WorkerFolder
from worker_svc.guard import now
from worker_svc.guard.child import GuardLostError
from worker_svc.guard.client import Guard
from worker_svc.metrics import WorkerMetrics
from worker_svc.outcome import clean
from worker_svc.runner import CliUnusableError, CreatorProgram, Runner
from worker_svc.session.channel import Dialer
from worker_svc.session.credentials import Credentials, TlsCredentials
from worker_svc.session.durable_journal import DurableJournal
from worker_svc.session.leases import NO_TRACER, Tracer
from worker_svc.session.loop import cancelled, first_of
from worker_svc.session.scheduler_connection import SchedulerConnection
from worker_svc.session.worker import Worker
from worker_svc.spool import Spool

EXIT_BROKEN = 1
EXIT_UNDELIVERED = os.EX_TEMPFAIL
"""Exit status of a worker that runs one task, if its result is not acknowledged."""
MAX_NAMED_RESULTS = 100  # results left in the spool that the last log event names
STOP_TIMEOUT = 6.0  # seconds for CLIs to end and leases to be released, after a second signal
SILENCE_TIMEOUT = 12.0
"""Seconds without a message from a scheduler after which a drained worker leaves its results in the spool.

A connected scheduler acknowledges each heartbeat, at most 10 s apart.
"""
_CHECK_INTERVAL = 0.5
_REAP_INTERVAL = 10.0
QUIESCE_TIMEOUT = 3.0
"""Seconds that the last heartbeats of a drained worker may take to be acknowledged."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_log = structlog.get_logger()


class ProcessSignals:
    """TERM and INT: the first sets `drain`, the second sets `stop`."""

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            self._loop.add_signal_handler(number, self._received)

    def on_hangup(self, then: Callable[[], None]) -> None:
        self._loop.add_signal_handler(signal.SIGHUP, then)

    def ignore(self) -> None:
        """Ignores all from now on: without the loop's handlers one of them would kill a process that is exiting."""
        for number in (*_SIGNALS, *LEVEL_SIGNALS, signal.SIGHUP):
            self._loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)

    def _received(self) -> None:
        (self.stop if self.drain.is_set() else self.drain).set()


def _reap_strays(loop: asyncio.AbstractEventLoop, guard: int) -> None:
    """As process 1 of a container the worker inherits orphans, such as those of an `exec`; the guard has the CLIs'.

    Reaps those that have ended, but not the guard, whose end its client waits for. (uvloop leaves no one its SIGCHLD.)
    """
    loop.call_later(_REAP_INTERVAL, _reap_strays, loop, guard)
    with suppress(ChildProcessError):
        while (child := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and child.si_pid != guard:
            os.waitpid(child.si_pid, 0)


async def serve(
    settings: WorkerSettings, folder: WorkerFolder, guard: Guard, version: str, tracer: Tracer = NO_TRACER
) -> int:
    """Runs the worker until a signal stops it, and returns its exit status. Raises SettingsError."""
    signals = ProcessSignals()
    if os.getpid() == 1:
        _reap_strays(asyncio.get_running_loop(), guard.pid)
    follow_level_signals(asyncio.get_running_loop(), settings.log_level)
    try:
        await guard.connect()
        credentials = Credentials(settings)
        _log.info("the guard is ready", action="guard.ready", pid=guard.pid, capabilities=guard.capabilities)
        metrics = WorkerMetrics()
        metrics.built(version)
        runner = make_runner(settings, guard, folder, metrics)
        creator_version = await _checked(settings, runner, signals)
        if creator_version is None:
            return 0
        with ThreadPoolExecutor(1, "disk") as disk:
            wake = asyncio.Event()
            worker = make_worker(settings, folder, runner, disk, wake, metrics=metrics, tracer=tracer)
            guard.on_deadline = worker.reporters.end_pauses
            identity = pb.Hello(
                worker_id=folder.identity.worker_id,
                folder_id=folder.identity.folder_id,
                process_id=uuid4().hex,
                hostname=platform.node(),
                version=version,
                creator_path=clean(runner.program.path, 1_000),
                creator_version=creator_version,
                accepts_skipped_leases=True,
                labels=dict(label.split("=", 1) for label in settings.labels),
            )
            signals.on_hangup(credentials.files.expect_change)
            dialer = Dialer(settings.scheduler, credentials)
            connection = SchedulerConnection(worker, identity, dialer, folder.next_session, wake, metrics=metrics)
            sampling = WorkerSampling(metrics, worker, connection, credentials)
            async with _scraped(settings.metrics_listen, metrics, sampling):
                return await _Service(guard, worker, connection, credentials, settings).run(signals)
    except CliUnusableError as error:
        _log.error(str(error), action="creator.unusable")
        return EXIT_STATUS
    except GuardLostError as error:
        return _guard_lost(str(error))
    finally:
        with suppress(GuardLostError):
            await guard.close()
        signals.ignore()


class WorkerSampling(Sampling):
    def __init__(
        self, metrics: WorkerMetrics, worker: Worker, connection: SchedulerConnection, credentials: Credentials
    ) -> None:
        super().__init__(metrics.loop_lag, self._sample_worker)
        self._metrics = metrics
        self._credentials = credentials
        self._told: TlsCredentials | None = None
        self._worker = worker
        self._connection = connection

    async def run(self) -> None:
        """Runs until it is cancelled."""
        while True:
            seconds = await self.run_once()
            await asyncio.sleep(seconds)

    async def _sample_worker(self) -> None:
        self._metrics.connected.set(self._connection.connected)
        self._worker.sample()
        tls = self._credentials.current.tls
        if tls is not None and tls is not self._told:
            self._told = tls
            for setting, end in (await asyncio.to_thread(tls.expiries)).items():
                self._metrics.certificate_expiry.labels(setting).set(end.timestamp())

    def not_ready(self) -> list[str]:
        """Returns why no task can reach this worker; empty if one can. Any thread may call it."""
        if self._connection.connected:
            return self.frozen_reasons()
        return ["no session with a scheduler is open", *self.frozen_reasons()]


@asynccontextmanager
async def _scraped(address: Address | None, metrics: WorkerMetrics, sampling: WorkerSampling) -> AsyncIterator[None]:
    """Samples and serves the metrics on `address`; None: does neither. Raises SettingsError."""
    if address is None:
        yield
        return
    endpoint = MetricsEndpoint(address, metrics.registry, live=sampling.frozen_reasons, ready=sampling.not_ready)
    samples = asyncio.create_task(sampling.run())
    try:
        listening = str(Address(address.host, endpoint.port))
        _log.info("metrics are served", action="metrics.ready", metrics_listen=listening)
        yield
    finally:
        endpoint.stop()
        await cancelled(samples)


def make_runner(settings: WorkerSettings, guard: Guard, folder: WorkerFolder, metrics: WorkerMetrics) -> Runner:
    creator = PROFILES[settings.creator_profile](settings)
    program = CreatorProgram.locate(settings.creator_cli_path, settings.creator_env, os.environ, creator.needs)
    return Runner(
        guard,
        program,
        creator,
        folder.scratch,
        settings,
        on_exit=lambda child_exit, seconds: metrics.cli_ended(child_exit.code, seconds),
    )


async def _checked(settings: WorkerSettings, runner: Runner, signals: ProcessSignals) -> str | None:
    """Returns what `--version` prints; None if a signal came first. Raises CliUnusableError."""
    first, answer = await first_of(runner.version(), signals.drain.wait())
    if first != 0:
        return None
    _log.info(
        "the creator CLI answers",
        action="creator.checked",
        path=runner.program.path,
        version=answer or "unknown",
        profile=settings.creator_profile,
    )
    return str(answer)


def make_worker(
    settings: WorkerSettings,
    folder: WorkerFolder,
    runner: Runner,
    disk: Executor,
    wake: asyncio.Event,
    *,
    metrics: WorkerMetrics,
    tracer: Tracer = NO_TRACER,
) -> Worker:
    """Returns a worker that sets `wake` when it may have something to send."""
    spool, marks = Spool(folder.spool, disk), StartedMarks(folder.started, disk)
    fetcher = Fetcher(settings.creator_asset_hosts) if settings.creator_asset_hosts else None
    assets = AssetFolder(folder.assets, disk, settings.creator_max_result, fetcher)
    journal = DurableJournal(spool, marks, assets, wake.set)
    return Worker(settings, runner, journal, wake.set, metrics=metrics, tracer=tracer)


@dataclass(frozen=True, slots=True)
class _Service:
    """The loops of a running worker, and its shutdown."""

    guard: Guard
    worker: Worker
    connection: SchedulerConnection
    credentials: Credentials
    settings: WorkerSettings

    async def run(self, signals: ProcessSignals) -> int:
        """Runs until a signal has drained or stopped the worker, its one task is done, or something breaks."""
        self.worker.restore()
        drained = asyncio.create_task(self._run_and_drain(signals))
        guard_loss = asyncio.create_task(self.guard.lost.wait())
        bodies = (self.connection.run, self.worker.watch_time, self.credentials.keep_fresh, self._broken)
        loops = [asyncio.create_task(body()) for body in bodies]
        try:
            await asyncio.wait([drained, guard_loss, *loops], return_when=asyncio.FIRST_COMPLETED)
            if guard_loss.done():  # nothing is guarded any more
                return _guard_lost(f"{self.guard.why_lost}; its CLIs are gone, too")
            for ended_loop in (loop for loop in loops if loop.done()):
                _log.critical("the worker broke", action="worker.broken", error=repr(ended_loop.exception()))
                return EXIT_BROKEN
            return drained.result()
        finally:
            await cancelled(drained, guard_loss, *loops)
            await self.worker.close()

    async def _broken(self) -> None:
        await self.worker.broken.wait()
        raise RuntimeError("the worker lost track of what runs")

    async def _run_and_drain(self, signals: ProcessSignals) -> int:
        """Drains when a signal comes, or the one task is done or has not come. Returns the exit status."""
        ends: list[Coroutine[Any, Any, object]] = [signals.drain.wait(), self.worker.has_run_one.wait()]
        if self.settings.run_one:
            ends.append(self._no_task_comes())
        first, _ = await first_of(*ends)
        no_task = first == 2
        await self._drain(signals)
        if not self.settings.run_one:
            return 0
        if not self.worker.empty.is_set():
            return EXIT_UNDELIVERED
        if no_task and not self.connection.last_received_at:
            _log.error("no scheduler was reached", action="worker.no_scheduler", waited=self.settings.run_one_wait)
            return EXIT_BROKEN
        return 0

    async def _no_task_comes(self) -> None:
        """Drains and returns once the wait for a task is over, and none is held."""
        deadline = now() + self.settings.run_one_wait
        while now() < deadline or not self.worker.empty.is_set():  # noqa: ASYNC110 - no event says that time has passed
            await asyncio.sleep(_CHECK_INTERVAL)
        _log.info("no task came", action="worker.no_task", waited=self.settings.run_one_wait)
        self.worker.drain()  # in the same step: no lease may come in between

    async def _drain(self, signals: ProcessSignals) -> None:
        self.worker.drain()
        scheduler_gone = False
        async with _within(self.settings.drain_timeout):
            first, _ = await first_of(self._drained(), signals.stop.wait(), self._scheduler_gone())
            scheduler_gone = first == 2
        if not scheduler_gone and not self.worker.empty.is_set():
            _log.warning("stopping what runs", action="worker.stopping", held=len(self.worker.book))
            self.worker.stop_all()
            async with _within(STOP_TIMEOUT):
                await self.worker.empty.wait()
        self._log_what_is_left()

    def _log_what_is_left(self) -> None:
        book, spooled = self.worker.book, self.worker.journal.spool.lease_ids
        if spooled:
            leases = spooled[:MAX_NAMED_RESULTS]
            _log.warning(
                "results stay in the spool: a worker that is started on this data folder reports them",
                action="spool.left",
                results=len(spooled),
                leases=leases,
                tasks=[lease.task_id for lease in map(book.get, leases) if lease and lease.task_id],
            )
        _log.info("the worker ends", action="worker.ended", unacknowledged=len(book))

    async def _scheduler_gone(self) -> None:
        """Returns once nothing runs, every result is in the spool, and no scheduler has sent anything for a while."""
        idle_since = now()
        while now() - max(idle_since, self.connection.last_received_at) < SILENCE_TIMEOUT:
            await asyncio.sleep(_CHECK_INTERVAL)
            if not self.worker.is_idle:
                idle_since = now()

    async def _drained(self) -> None:
        """Returns once no lease is held, and the scheduler can send no further one."""
        await self.worker.empty.wait()
        if self.connection.connected:
            async with _within(QUIESCE_TIMEOUT):
                await self.connection.quiesced.wait()
        await self.worker.empty.wait()


def _guard_lost(text: str) -> int:
    _log.critical(text, action="guard.lost")
    return EXIT_BROKEN


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    """Ends the block silently after so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            yield
