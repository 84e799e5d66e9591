"""One replica: its lanes, loops, streams and server, put together and taken down in order. Used by `main` and tests."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import sqlalchemy as sa
import structlog

from scheduler_svc.api.access.auth import AuthInterceptor, KnownTokens
from scheduler_svc.api.account_service import AccountService
from scheduler_svc.api.content_service import ContentService
from scheduler_svc.api.leases.worker_pool_service import WorkerPoolService
from scheduler_svc.api.leases.worker_service import WorkerService
from scheduler_svc.api.server import server as grpc_server
from scheduler_svc.api.server.certificates import Certificates
from scheduler_svc.api.server.in_flight import InFlight
from scheduler_svc.api.server.limits import Limits
from scheduler_svc.api.system_service import SystemService
from scheduler_svc.api.tasks.task_service import TaskService
from scheduler_svc.application.calls import CALLER
from scheduler_svc.application.health import Health
from scheduler_svc.application.leases.recover import ReaperSettings
from scheduler_svc.application.leases.report import Answer, Item, ReportItem, Reports, UnsentLeases, report_keys
from scheduler_svc.application.leases.sessions import SessionSettings
from scheduler_svc.application.leases.streams import CancelLease, DrainOrder, PollOrder, ResizeOrder, Streams
from scheduler_svc.application.signals import Signals, StoppedAttempt
from scheduler_svc.application.system import Systems
from scheduler_svc.application.tasks.bulk import Bulk
from scheduler_svc.application.tasks.polling import Polls
from scheduler_svc.application.tasks.submit import Submit, Submits
from scheduler_svc.application.tasks.waiting import Waiters
from scheduler_svc.application.watch.change_feed import ChangeFeed
from scheduler_svc.application.watch.interest import WatchInterest
from scheduler_svc.application.watch.watches import Watches
from scheduler_svc.config import Settings
from scheduler_svc.config.tokens import read_tokens
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.domain.lease import Completed
from scheduler_svc.domain.system import ReplicaState
from scheduler_svc.domain.task import Task
from scheduler_svc.loops import recovery
from scheduler_svc.loops.admission import Admission
from scheduler_svc.loops.dispatcher import Dispatcher
from scheduler_svc.loops.group_committer import GroupCommitter
from scheduler_svc.loops.listener import Listener
from scheduler_svc.loops.notifier import Notifier
from scheduler_svc.loops.periodic import Periodic
from scheduler_svc.loops.rereading import Rereading
from scheduler_svc.loops.retention import Retention
from scheduler_svc.loops.stalls import Stalls
from scheduler_svc.loops.supervision import GIVE_UP_AFTER, Supervision
from scheduler_svc.pools import Pools
from scheduler_svc.store.engine.lineage import Lineage
from scheduler_svc.store.engine.maintenance import PgMaintenance
from scheduler_svc.store.engine.notifications import PgNotifications, PgNotifier
from scheduler_svc.store.engine.transactions import PgDatabase

GROUP_TASKS = 2_000
"""Tasks or updates that one group holds, at most and a little more."""
LARGE_RESULT = 16 * 1024
"""Characters of a result that weigh as much as an update: a group holds 32 million at most and a little more."""
LARGE_TASK = 1024
"""Bytes of a submit that weigh as much as a task: a group holds 2 MiB and one call more at most."""
MAX_WAITING_SUBMITS = 100_000
"""Tasks that wait for their group's turn, or a hundred MiB; then submits of who has a share of it are refused."""
SUBMIT_PATIENCE = 8.0
"""Seconds that a submit waits for a lock that somebody else holds: callers wait 10 s by default."""
DRAIN_TIMEOUT = 7.0
"""Seconds that the claim and the calls in flight get once this replica goes away."""
SERVERS_INTERVAL = 10.0
"""Seconds between two looks at all servers that DATABASE_URL names."""
SETTLE = 0.1
"""Seconds in which calls are still taken: who watches its health goes elsewhere meanwhile."""

_log = structlog.get_logger(__name__)


class Replica:
    """A scheduler on one database. `start` and `stop` on the event loop, once each."""

    def __init__(
        self, settings: Settings, database_url: str, limits: Limits | None = None, lineage: Lineage | None = None
    ) -> None:
        self.scheduler_id = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self._start_time = datetime.now(UTC)
        self._settings = settings
        self._url = database_url
        self._limits = limits or Limits()
        self._lineage = lineage or Lineage()
        self.health = Health()
        self._in_flight = InFlight()
        self._streams = Streams()
        self._audience = WatchInterest()
        self._auth: AuthInterceptor | None = None
        self._certificates: Certificates | None = None
        self._rereading: list[tuple[Rereading, Periodic]] = []
        self._told_away: set[str] = set()
        self.port = 0
        self.failed: asyncio.Future[str] | None = None
        """Done, with its name, once a part that the replica needs is given up: it serves no more."""

    def _database(self, engine: sa.Engine) -> PgDatabase:
        aging = self._settings.priority_aging
        return PgDatabase(engine, self._told_by_thread, self._away_by_thread, self._audience, aging=aging)

    async def start(self) -> int:
        """Serves from the return on; returns the port.

        Raises SettingsError where it can't listen, or its tokens or certificates can't be used.
        """
        self._loop = asyncio.get_running_loop()
        self.failed = self._loop.create_future()
        self._read_files()
        self._build()
        self._server = grpc_server.build(
            self._services(), self.health, self._auth, in_flight=self._in_flight, limits=self._limits
        )
        self.port = grpc_server.bind(self._server, self._settings, self._certificates)
        self._notifier.start()
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
            self._auth = AuthInterceptor(KnownTokens(read_tokens(path)))
        if settings.tls:
            self._watch_files("certificates", Certificates.files(settings), self._use_certificates)
            self._certificates = Certificates(settings)
            self._expiry = Periodic("certificate", self._certificates.warn_of_expiry)

    def _use_tokens(self, path: Path) -> None:
        assert self._auth
        self._loop.call_soon_threadsafe(self._auth.use, KnownTokens(read_tokens(path)))

    def _use_certificates(self) -> None:
        assert self._certificates
        self._certificates.reread()
        self._loop.call_soon_threadsafe(self._expiry.wake)

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
        needed = Supervision(self._gave_up_by_thread, give_up_after=GIVE_UP_AFTER)
        self._pools = pools = Pools(
            self._url,
            self._database,
            lock_timeout=settings.lock_wait,
            statement_timeout=settings.statement_timeout,
            lineage=self._lineage,
        )
        self._admission = Admission(pools.dispatch, needed)
        reports = Reports(settings.lease_ttl, settings.max_worker_losses, settings.max_deferrals)
        self._reports: GroupCommitter[Item, Answer] = GroupCommitter(
            "report",
            pools.lane(),
            reports.run_group,
            weight=_updates,
            max_weight=GROUP_TASKS,
            max_waiting=None,  # each stream bounds what it has under way
            lock_patience=settings.lease_ttl,  # then the leases in question have run out
            keys=report_keys,
            supervision=needed,
        )
        self._dispatcher = Dispatcher(
            pools.lane(),
            self._streams,
            settings.lease_ttl,
            lambda refs: self._reports.tell(UnsentLeases(tuple(refs))),
            self._admission,
            supervision=needed,
        )
        submits = Submits(settings.max_queue_size)
        self._submits: GroupCommitter[Submit, tuple[Task, ...]] = GroupCommitter(
            "submit",
            pools.lane(),
            submits.run_group,
            weight=_tasks,
            max_weight=GROUP_TASKS,
            max_waiting=MAX_WAITING_SUBMITS,
            lock_patience=SUBMIT_PATIENCE,
            keys=lambda item: {task.account_id for task in item.tasks},
            caller=CALLER.get,
            supervision=needed,
            errand=self._dispatcher.inline_claim,
        )
        self._waiters = Waiters(pools.reads)
        self._polls = Polls(pools.operators)
        self._tail = ChangeFeed(pools.watches, self._audience)
        tail_loop = Periodic("watch", self._tail.run_once, needed)
        self._tail.driven_by(tail_loop.wake)
        engine = pools.alone()
        self._notifier = Notifier(PgNotifier(engine, self._lineage), self.scheduler_id, needed)
        self._notifications = PgNotifications(engine, self._lineage)
        self._listener = Listener(
            self._notifications,
            self.scheduler_id,
            told=self._told_elsewhere,
            back=self._look_anew,
            supervision=needed,
        )
        self._housekeeping = recovery.Housekeeping(pools.loops, PgMaintenance(engine).vacuum)
        reaper = recovery.reaper(pools.loops, self._reaper_settings(), self._store_there)
        self._reaper = Periodic("reap", reaper, needed)
        self._due = Periodic("due", recovery.due(pools.loops), needed)
        self._lanes = {
            "submits": self._submits.state,
            "reports": self._reports.state,
            "claims": self._dispatcher.state,
            "hellos": pools.sessions.state,
        }
        self._systems = Systems(pools.diagnosis, self._state, settings.heartbeat_interval)
        stalls = Stalls(self._lanes, self.health, settings.heartbeat_interval, self._systems.lock_holders)
        housekeeping = Periodic("housekeeping", self._housekeeping.run_once)
        self._floors = recovery.Floors(pools.loops)
        self._periodics = [
            self._reaper,
            self._due,
            housekeeping,
            tail_loop,
            Periodic("floors", self._floors.run_once),
            Periodic("stalls", stalls.run_once, needed),
            Periodic("presence", self._systems.run_once),
            Periodic("servers", self._look_at_servers),
        ]
        self._periodics += [loop for _, loop in self._rereading]
        if self._certificates:
            self._periodics.append(self._expiry)
        ages = _age(settings.retention), _age(settings.content_retention)
        retention = Retention(pools.operators, tasks=ages[0], contents=ages[1])
        self._periodics.append(Periodic("retention", retention.run_once))

    def _state(self) -> ReplicaState:
        lanes = {name: state() for name, state in self._lanes.items()}
        return ReplicaState(
            self.scheduler_id, version("contentgen-grpc"), self._start_time, None, self.health.serving, lanes
        )

    async def _look_at_servers(self) -> float:
        """A standby that was promoted while this replica's connections to its old primary lived on."""
        await asyncio.to_thread(self._lineage.look, self._url)
        return SERVERS_INTERVAL

    def _reaper_settings(self) -> ReaperSettings:
        settings = self._settings
        return ReaperSettings(settings.lease_ttl, settings.heartbeat_interval, settings.max_worker_losses)

    def _services(self) -> grpc_server.Services:
        settings = self._settings
        pools = self._pools
        bulk = Bulk(pools.operators, self._reaper_settings())
        return grpc_server.Services(
            task=TaskService(
                pools.reads,
                pools.writes,
                self._submits,
                waiters=self._waiters,
                watches=Watches(pools.watches, self._tail),
                polls=self._polls,
                bulk=bulk,
                lease_ttl=settings.lease_ttl,
            ),
            worker=WorkerService(
                pools.sessions,
                self._reports,
                self._streams,
                settings=SessionSettings(settings.lease_ttl, settings.max_worker_losses, self.scheduler_id),
                heartbeat_interval=settings.heartbeat_interval,
                capacity_changed=self._dispatcher.capacity_added,
            ),
            worker_pool=WorkerPoolService(pools.operators, pools.dispatch, settings.lease_ttl),
            content=ContentService(pools.reads, pools.writes),
            account=AccountService(pools.reads, pools.operators, pools.dispatch),
            system=SystemService(self._systems, settings, self._limits),
        )

    def _told_by_thread(self, signals: Signals) -> None:
        if signals.ready:
            self._dispatcher.note_hint()
        if signals.for_others or (signals.moved and self._audience.elsewhere):
            self._notifier.tell(signals)
        self._loop.call_soon_threadsafe(self._told_here, signals)

    def _away_by_thread(self, why: str) -> None:
        self._notifier.missed()  # of a commit whose outcome is unknown
        self._loop.call_soon_threadsafe(self._store_there, False, why)

    def _gave_up_by_thread(self, part: str) -> None:
        self._loop.call_soon_threadsafe(self._gave_up, part)

    def _gave_up(self, part: str) -> None:
        """Whoever runs this replica ends it: nothing else brings that part back."""
        assert self.failed is not None
        self.health.stall(True)
        if not self.failed.done():
            self.failed.set_result(part)

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
        if signals.missed:
            self._look_anew()
        elif signals.ready:
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
        """Signals may have been missed: what they were about is in the rows."""
        self._dispatcher.hint()
        self._due.wake()
        self._admission.look()
        self._waiters.wake_all()
        self._tail.hint()

    def _store_there(self, there: bool, why: str = "it does not answer in time") -> None:
        before = self.health.store_there
        self.health.store(there)
        if there and not before:
            self._told_away.clear()
            _log.info("the database is there", action="store")
            self._look_anew()
        elif not there:
            self._tell_away(why)
            if before:
                self._reaper.wake()

    def _tell_away(self, why: str) -> None:
        """Each reason once while the database is away: the first one may be that the connection broke."""
        if why not in self._told_away:
            self._told_away.add(why)
            _log.warning("the database is away", action="store", reason=why)

    async def stop(self, *, within: float = DRAIN_TIMEOUT) -> None:
        """Drains, and ends the server. Calls that come in that moment are CANCELLED, unless the process just ends."""
        await self.drain(within=within)
        await self._server.stop(None)

    async def drain(self, *, within: float = DRAIN_TIMEOUT) -> None:
        """Readiness off, workers sent elsewhere, calls in flight finished, groups flushed, connections closed.

        Whoever calls after that is told to call another replica, until the server or the process ends.
        """
        if self.health.draining:
            return
        self.health.drain()
        deadline = self._loop.time() + within
        await self._dispatcher.quiesce(within)  # else workers would leave before they have read what they are given
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
        if self.health.store_there:
            await self._systems.withdraw()
        await self._notifier.stop()
        await self._pools.close()
        self._notifications.dispose()


def _age(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


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


def _tasks(item: Submit) -> int:
    """The weight of a call in a group: its tasks, or more where they are large."""
    return max(len(item.tasks), item.size // LARGE_TASK)


def _updates(item: Item) -> int:
    """The weight of a message in a group: its updates, or more where their results are large."""
    if not isinstance(item, ReportItem):
        return 1
    results = [update.change.result for update in item.updates if isinstance(update.change, Completed)]
    characters = sum(len(result.body) + len(result.html_body) for result in results)
    return max(1, len(item.updates), characters // LARGE_RESULT)
