"""One replica: its lanes, loops, streams and server, put together and taken down in order. Used by `main` and tests."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa
import structlog

from scheduler_svc.api import server as grpc_server
from scheduler_svc.api.account_service import AccountService
from scheduler_svc.api.auth import Doors, Keys
from scheduler_svc.api.certificates import Certificates
from scheduler_svc.api.content_service import ContentService
from scheduler_svc.api.in_flight import InFlight
from scheduler_svc.api.limits import Limits
from scheduler_svc.api.task_service import TaskService
from scheduler_svc.api.worker_pool_service import WorkerPoolService
from scheduler_svc.api.worker_service import WorkerService
from scheduler_svc.application.audience import Audience
from scheduler_svc.application.bulk import Bulk
from scheduler_svc.application.calls import Calls
from scheduler_svc.application.health import Health
from scheduler_svc.application.polling import Polls
from scheduler_svc.application.recover import ReaperSettings
from scheduler_svc.application.report import Answer, Item, Reported, Reports, TakenBack
from scheduler_svc.application.sessions import SessionSettings
from scheduler_svc.application.signals import Signals, StoppedAttempt
from scheduler_svc.application.streams import CancelLease, DrainOrder, PollOrder, ResizeOrder, Streams
from scheduler_svc.application.submit import Submit, Submits
from scheduler_svc.application.tail import Tail
from scheduler_svc.application.waiting import Waiters
from scheduler_svc.application.watching import Watches
from scheduler_svc.config import Settings
from scheduler_svc.config.tokens import read_tokens
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.domain.lease import Completed
from scheduler_svc.domain.task import Task
from scheduler_svc.loops import recovery
from scheduler_svc.loops.admission import Admission
from scheduler_svc.loops.dispatcher import Dispatcher
from scheduler_svc.loops.lane import Lane
from scheduler_svc.loops.listener import Listener
from scheduler_svc.loops.periodic import Periodic
from scheduler_svc.loops.rereading import Rereading
from scheduler_svc.store.maintenance import PgMaintenance
from scheduler_svc.store.notifications import PgNotifications
from scheduler_svc.store.transactions import PgDatabase, make_engine

CALL_THREADS = 6
LOOP_THREADS = 2
WATCH_THREADS = 2
GROUP_TASKS = 2_000
"""Tasks or updates that one group holds, at most and a little more."""
LARGE_RESULT = 16 * 1024
"""Characters of a result that weigh as much as an update: a group holds 32 million at most and a little more."""
MAX_WAITING_SUBMITS = 100_000
"""Tasks that wait for their group's turn; beyond it submits are refused, to be tried again."""
DRAIN_WITHIN = 7.0
"""Seconds that the claim and the calls in flight get once this replica goes away."""
SETTLE = 0.1
"""Seconds in which calls are still taken: who watches its health goes elsewhere meanwhile."""

_log = structlog.get_logger(__name__)


class Replica:
    """A scheduler on one database. `start` and `stop` on the event loop, once each."""

    def __init__(self, settings: Settings, database_url: str, limits: Limits | None = None) -> None:
        self.scheduler_id = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self._settings = settings
        self._url = database_url
        self._limits = limits or Limits()
        self.health = Health()
        self._in_flight = InFlight()
        self._streams = Streams()
        self._audience = Audience()
        self._engines: list[sa.Engine] = []
        self._doors: Doors | None = None
        self._certificates: Certificates | None = None
        self._rereading: list[tuple[Rereading, Periodic]] = []
        self.port = 0

    def _database(self, connections: int, *, hot: bool = False) -> PgDatabase:
        engine = make_engine(self._url, connections, hot=hot)
        self._engines.append(engine)
        return PgDatabase(engine, self.scheduler_id, self._told_by_thread, self._away_by_thread, self._audience)

    async def start(self) -> int:
        """Serves from the return on; returns the port.

        Raises SettingsError where it can't listen, or its tokens or certificates can't be used.
        """
        self._loop = asyncio.get_running_loop()
        self._read_files()
        self._build()
        self._server = grpc_server.build(
            self._services(), self.health, self._doors, in_flight=self._in_flight, limits=self._limits
        )
        self.port = grpc_server.bind(self._server, self._settings, self._certificates)
        self._submits.start()
        self._reports.start()
        self._dispatcher.start()
        self._admission.start()
        self._listener.start()
        for loop in self._periodics:
            loop.start()
        await self._server.start()
        self.health.store(True)  # its migrations have just run
        return self.port

    def _read_files(self) -> None:
        """The tokens and certificates, now and whenever they change."""
        settings = self._settings
        if path := settings.tokens_file:
            self._watch_files("tokens", [path], lambda: self._use_tokens(path))
            self._doors = Doors(Keys(read_tokens(path)))
        if settings.tls:
            self._watch_files("certificates", Certificates.files(settings), self._use_certificates)
            self._certificates = Certificates(settings)

    def _use_tokens(self, path: Path) -> None:
        assert self._doors
        self._loop.call_soon_threadsafe(self._doors.use, Keys(read_tokens(path)))

    def _use_certificates(self) -> None:
        assert self._certificates
        self._certificates.reread()

    def _watch_files(self, what: str, files: Sequence[Path], reread: Callable[[], None]) -> None:
        rereading = Rereading(what, files, reread)
        self._rereading.append((rereading, Periodic(f"reread-{what}", rereading.run_once)))

    def reread_files(self) -> None:
        """Reads tokens and certificates again, changed or not; where they can't be used, the former stay."""
        for rereading, loop in self._rereading:
            rereading.order()
            loop.wake()

    def _build(self) -> None:
        settings = self._settings
        self._calls = Calls(self._database(CALL_THREADS), CALL_THREADS)
        # Of their own: the reaper must not wait for clients, else it would take that for an outage.
        self._loop_calls = Calls(self._database(LOOP_THREADS, hot=True), LOOP_THREADS)
        # So must what decides who may run: the dispatcher waits for it.
        self._dispatch_calls = Calls(self._database(1, hot=True), 1)
        self._admission = Admission(self._dispatch_calls)
        reports = Reports(settings.lease_ttl, settings.max_worker_losses)
        self._reports: Lane[Item, Answer] = Lane(
            "report",
            self._database(1, hot=True),
            reports.run_group,
            weight=_updates,
            max_weight=GROUP_TASKS,
            max_waiting=None,  # each stream bounds what it has under way
        )
        self._dispatcher = Dispatcher(
            self._database(1, hot=True),
            self._streams,
            settings.lease_ttl,
            lambda refs: self._reports.tell(TakenBack(tuple(refs))),
            self._admission,
        )
        submits = Submits(settings.max_queue_size)
        self._submits: Lane[Submit, tuple[Task, ...]] = Lane(
            "submit",
            self._database(1, hot=True),
            submits.run_group,
            weight=lambda item: len(item.tasks),
            max_weight=GROUP_TASKS,
            max_waiting=MAX_WAITING_SUBMITS,
            errand=self._dispatcher.turn,
        )
        self._waiters = Waiters(self._calls)
        self._polls = Polls(self._calls)
        # Of their own: however many watchers come back at once, other calls have their threads.
        self._watch_calls = Calls(self._database(WATCH_THREADS, hot=True), WATCH_THREADS)
        self._tail = Tail(self._watch_calls, self._audience)
        tail_loop = Periodic("watch", self._tail.run_once)
        self._tail.driven_by(tail_loop.wake)
        engine = make_engine(self._url, 1)
        self._engines.append(engine)
        self._notifications = PgNotifications(engine)
        self._listener = Listener(
            self._notifications, self.scheduler_id, told=self._told_elsewhere, back=self._look_anew
        )
        self._housekeeping = recovery.Housekeeping(self._loop_calls, PgMaintenance(engine).vacuum)
        self._reaper = Periodic("reap", recovery.reaper(self._loop_calls, self._reaper_settings(), self._store_there))
        self._due = Periodic("due", recovery.due(self._loop_calls))
        housekeeping = Periodic("housekeeping", self._housekeeping.run_once)
        self._floors = recovery.Floors(self._loop_calls)
        floors = Periodic("floors", self._floors.run_once)
        self._periodics = [self._reaper, self._due, housekeeping, floors, tail_loop]
        self._periodics += [loop for _, loop in self._rereading]
        if settings.retention is not None:
            retention = recovery.Retention(self._calls, timedelta(seconds=settings.retention))
            self._periodics.append(Periodic("retention", retention.run_once))

    def _reaper_settings(self) -> ReaperSettings:
        settings = self._settings
        return ReaperSettings(settings.lease_ttl, settings.heartbeat_interval, settings.max_worker_losses)

    def _services(self) -> grpc_server.Services:
        settings = self._settings
        bulk = Bulk(self._calls, self._reaper_settings())
        return grpc_server.Services(
            task=TaskService(
                self._calls,
                self._submits,
                waiters=self._waiters,
                watches=Watches(self._watch_calls, self._tail),
                polls=self._polls,
                bulk=bulk,
                lease_ttl=settings.lease_ttl,
            ),
            worker=WorkerService(
                self._calls,
                self._reports,
                self._streams,
                settings=SessionSettings(settings.lease_ttl, settings.max_worker_losses, self.scheduler_id),
                heartbeat_interval=settings.heartbeat_interval,
                room=self._dispatcher.room,
            ),
            worker_pool=WorkerPoolService(self._calls, self._dispatch_calls, settings.lease_ttl),
            content=ContentService(self._calls),
            account=AccountService(self._calls, self._dispatch_calls),
        )

    def _told_by_thread(self, signals: Signals) -> None:
        if signals.ready:
            self._dispatcher.note_hint()
        self._loop.call_soon_threadsafe(self._told_here, signals)

    def _away_by_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._store_there, False)

    def _told_here(self, signals: Signals) -> None:
        """A transaction of this replica is committed."""
        if signals.watching:
            return
        self._housekeeping.moved(len(signals.ended) + 1)
        self._floors.moved(len(signals.ended) + 1)
        for attempt in signals.stopped:
            _log_stopped(attempt)
        if signals.ready:
            self._dispatcher.wake()
        self._tell(signals)

    def _told_elsewhere(self, signals: Signals) -> None:
        """A transaction of another replica is committed."""
        if signals.watching:
            self._audience.heard()
        if signals.ready:
            self._dispatcher.hint()
        self._tell(signals)

    def _tell(self, signals: Signals) -> None:
        if signals.moved:
            self._tail.hint()
        if signals.due:
            self._due.wake()
        self._admission.told(signals)
        self._waiters.wake(signals.ended)
        for worker_id, lease_id, reason in signals.cancelled:
            self._streams.tell(worker_id, CancelLease(lease_id, reason))
        for worker_id in signals.drained:
            self._streams.tell(worker_id, DrainOrder())
        for worker_id, slots in signals.resized:
            self._streams.tell(worker_id, ResizeOrder(slots))
        for worker_id, poll in signals.polled:
            self._streams.tell(worker_id, PollOrder(poll))
        self._polls.answered(signals.answered)

    def _look_anew(self) -> None:
        """The listener was away: whatever it may have missed is in the rows."""
        self._dispatcher.hint()
        self._due.wake()
        self._admission.look()
        self._waiters.wake_all()
        self._tail.hint()

    def _store_there(self, there: bool) -> None:
        before = self.health.store_there
        self.health.store(there)
        if there and not before:
            _log.info("the database is there", action="store")
            self._look_anew()
        elif before and not there:
            _log.warning("the database is away", action="store")
            self._reaper.wake()

    async def stop(self, *, within: float = DRAIN_WITHIN) -> None:
        """Drains, and ends the server. Calls that come in that moment are CANCELLED, unless the process just ends."""
        await self.drain(within=within)
        await self._server.stop(None)

    async def drain(self, *, within: float = DRAIN_WITHIN) -> None:
        """Readiness off, workers sent elsewhere, calls in flight finished, groups flushed, connections closed.

        Whoever calls after that is told to call another replica, until the server or the process ends.
        """
        if self.health.draining:
            return
        self.health.drain()
        deadline = self._loop.time() + within
        await self._dispatcher.rest(within)  # else workers would leave before they have read what they are given
        await asyncio.sleep(SETTLE)
        self._streams.send_away()
        self._waiters.close()
        self._polls.close()
        self._tail.close()
        await self._in_flight.end(max(0.0, deadline - self._loop.time()))
        await self._dispatcher.stop()
        await self._admission.stop()
        for loop in self._periodics:
            await loop.stop()
        await self._submits.stop()
        await self._reports.stop()
        await self._listener.stop()
        for calls in (self._calls, self._loop_calls, self._watch_calls, self._dispatch_calls):
            await asyncio.to_thread(calls.close)
        self._notifications.dispose()
        for engine in self._engines:
            engine.dispose()


def _log_stopped(attempt: StoppedAttempt) -> None:
    _log.info(
        "an attempt ended without a result",
        action="attempt.stopped",
        task_id=format_task_id(attempt.ref.task_key),
        lease_id=attempt.ref.lease_id,
        attempt=attempt.ref.attempt,
        worker_id=attempt.worker_id,
        reason=attempt.reason,
        status=attempt.status.name.lower(),
    )


def _updates(item: Item) -> int:
    """The weight of a message in a group: its updates, or more where their results are large."""
    if not isinstance(item, Reported):
        return 1
    results = [update.change.result for update in item.updates if isinstance(update.change, Completed)]
    characters = sum(len(result.body) + len(result.html_body) for result in results)
    return max(1, len(item.updates), characters // LARGE_RESULT)
