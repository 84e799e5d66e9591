"""One replica: builds its loops, streams and server, and starts and stops them in order. For `main` and tests."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from grpc import aio

from contentgen.service.metrics import MetricsEndpoint, Sampling
from contentgen.service.settings import SettingsError
from contentgen.version import own_version
from scheduler_svc.accounts.loop import BudgetWatch
from scheduler_svc.accounts.service import AccountService
from scheduler_svc.assets.loop import AssetCollection
from scheduler_svc.assets.media_types import Looks
from scheduler_svc.assets.objects import Objects, StoreIdentity
from scheduler_svc.assets.service import AssetService
from scheduler_svc.assets.stores import open_store
from scheduler_svc.audit.loop import AuditLog
from scheduler_svc.audit.service import AuditService
from scheduler_svc.config import Settings
from scheduler_svc.config.tokens import TokenLine, read_tokens
from scheduler_svc.contents.loop import SearchIndexer
from scheduler_svc.contents.service import ContentService
from scheduler_svc.contents.uploads import ContentUploads
from scheduler_svc.database.lineage import Lineage
from scheduler_svc.database.notifications import PgNotifications, PgNotifier
from scheduler_svc.dispatch.loop import Admission, Dispatcher
from scheduler_svc.dispatch.service import ScalerService
from scheduler_svc.dispatch.streams import Streams
from scheduler_svc.dispatch.work import Demands
from scheduler_svc.domain.account import CallerIdentity
from scheduler_svc.domain.errors import DomainError, StoreUnavailable
from scheduler_svc.domain.lease import AttemptCompleted
from scheduler_svc.domain.system import LaneState, ReplicaState
from scheduler_svc.domain.task import Task
from scheduler_svc.domain.webhook import AddressPolicy
from scheduler_svc.holdings.erasure import Erasure
from scheduler_svc.holdings.transfer import Transfer
from scheduler_svc.leases.pool_service import WorkerPoolService
from scheduler_svc.leases.report import Answer, Item, ReportItem, ReportWork, UnsentLeases, report_keys
from scheduler_svc.leases.service import WorkerService
from scheduler_svc.leases.uploads import AssetUploads
from scheduler_svc.metrics import Metrics
from scheduler_svc.notifications.loop import MessageLoop
from scheduler_svc.notifications.sender import ChannelSender
from scheduler_svc.notifications.service import NotificationService
from scheduler_svc.replica import timed_loops
from scheduler_svc.replica.pools import Pools
from scheduler_svc.replica.signal_router import SignalRouter
from scheduler_svc.retention.loop import Retention
from scheduler_svc.retention.sql import vacuum
from scheduler_svc.runtime import server as grpc_server
from scheduler_svc.runtime.access import AuthInterceptor, KnownTokens, Limits
from scheduler_svc.runtime.auditing import Auditor
from scheduler_svc.runtime.calls import CALLER, SkipLocked
from scheduler_svc.runtime.database_watch import DatabaseClock, DatabaseWatch, DurabilityCheck
from scheduler_svc.runtime.file_reload import FileReload
from scheduler_svc.runtime.group_committer import GroupCommitter, Lanes
from scheduler_svc.runtime.health import Health, Reason, StallCheck, StoreWatch
from scheduler_svc.runtime.interceptor import InFlight
from scheduler_svc.runtime.loops import GIVE_UP_TIMEOUT, Periodic, Service, Supervision
from scheduler_svc.runtime.signals import CommitSignals, Listener, Notifier
from scheduler_svc.runtime.standby import Standby
from scheduler_svc.runtime.tls import Certificates
from scheduler_svc.runtime.tracing import NO_TRACER, Tracer
from scheduler_svc.schedules import loop
from scheduler_svc.schedules.service import ScheduleService, read_template
from scheduler_svc.schedules.work import Ticks
from scheduler_svc.system.loop import sample_figures
from scheduler_svc.system.maintenance import MaintenanceMode
from scheduler_svc.system.service import SystemService
from scheduler_svc.system.tokens import TokenRegister
from scheduler_svc.system.work import SystemStatus
from scheduler_svc.tasks.bulk import Bulk
from scheduler_svc.tasks.service import TaskService
from scheduler_svc.tasks.submit import SubmitItem, SubmitWork
from scheduler_svc.tasks.tails import Tails
from scheduler_svc.tasks.waits import PollWaiters, Waiters
from scheduler_svc.transactions import Database, StatementFailed
from scheduler_svc.watch.feed import ChangeFeed, WatchInterest
from scheduler_svc.watch.watches import Watches
from scheduler_svc.webhooks.loop import DeliveryLoop, check_backlogs
from scheduler_svc.webhooks.sender import Names, WebhookSender, address_problem
from scheduler_svc.webhooks.service import WebhookService
from scheduler_svc.webhooks.work import WebhookInterest

REPORT_LANES = 2
"""Committers of workers' messages: one is busy all the time before two cores are."""
MAX_GROUP_WEIGHT = 2_000
"""Tasks or updates of one group, or a little more."""
RESULT_CHARACTERS_PER_WEIGHT = 16 * 1024
"""Characters of results that weigh as much as an update: a group holds up to 32 million, or a little more."""
SUBMIT_BYTES_PER_WEIGHT = 1024
"""Bytes of a submit that weigh as much as a task: a group holds up to 2 MiB, and one call more."""
MAX_WAITING_SUBMITS = 100_000
"""Tasks that wait for their group, or a hundred MiB; beyond it, submits of callers with a share of it are refused."""
MAX_SUBMIT_LOCK_WAIT = 8.0
"""Seconds that a submit waits for a lock of another session: clients wait 10 s by default."""
SUBMIT_LINGER = 0.002
"""Seconds in which single submits gather while many come."""
DRAIN_TIMEOUT = 7.0
"""Seconds for the claim and the calls in flight to end when this replica drains."""
SERVERS_INTERVAL = 10.0
"""Seconds between two checks of all servers that DATABASE_URL names."""
SERVERS_INTERVAL_AWAY = 2.0
"""The same while the database is away, which may be since one of them was promoted."""
STORE_TIMEOUT = 5.0
"""Seconds in which the store of assets says which one it is, before the start goes on."""
SETTLE_TIMEOUT = 0.1
"""Seconds in which a draining replica still takes calls, while clients that watch its health leave."""


class Replica:
    """A scheduler on one database. Call `start` and `stop` once each, on the event loop."""

    def __init__(
        self,
        settings: Settings,
        database_url: str,
        limits: Limits | None = None,
        lineage: Lineage | None = None,
        *,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self.scheduler_id = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self._start_time = datetime.now(UTC)
        self._settings = settings
        self._url = database_url
        self._limits = limits or Limits()
        self._tracer = tracer
        self._lineage = lineage or Lineage()
        self.health = Health()
        self._clock = DatabaseClock()
        self._in_flight = InFlight()
        self._streams = Streams()
        self._interest = WatchInterest()
        self._webhook_interest = WebhookInterest()
        self._addresses = AddressPolicy(settings.webhook_allow)
        self._names = Names()
        self._auth: AuthInterceptor | None = None
        self._token_lines: Sequence[TokenLine] = ()
        self._certificates: Certificates | None = None
        self._file_reloads: list[FileReload] = []
        self._metrics = Metrics(own_version()) if settings.metrics_listen else None
        self._endpoint: MetricsEndpoint | None = None
        self._scaler: aio.Server | None = None
        self.port = 0
        self.metrics_port = 0
        """The port of /metrics; 0: it is not served."""
        self.scaler_port = 0
        """Of ExternalScaler; 0 if it is not served."""
        self.failed: asyncio.Future[str] | None = None
        """Done, with the part's name, once a part that the replica needs is given up: it serves no more."""

    async def start(self) -> int:
        """Serves, and returns the port.

        Raises SettingsError if it can't listen, its tokens or certificates can't be used, or its store of assets is not
        the one that the assets are in.
        """
        self._loop = asyncio.get_running_loop()
        self.failed = self._loop.create_future()
        self._load_files()
        self._build()
        try:
            await self._check_store()
            self._bind()
        except SettingsError:
            await self._pools.close()
            await asyncio.to_thread(self._objects.close)
            raise
        with suppress(StoreUnavailable):  # then every event is taken for wanted until the loop has read it
            await self._deliveries.read()
        with suppress(StoreUnavailable):  # then it keeps our own time until the loop has read the database's
            await self._database_watch.run_once()
            await self._maintenance.run_once()
        if self._auth:
            with suppress(StoreUnavailable):  # then no call that needs the database is answered before it is read
                await self._tokens.run_once()
        for service in self._services:
            service.start()
        for service in self._services:
            await service.started.wait()
        await self._server.start()
        if self._scaler:
            await self._scaler.start()
        self.health.set(Reason.STORE_AWAY, False)  # its migrations have just run
        return self.port

    def _bind(self) -> None:
        """Builds the servers and binds their ports. Raises SettingsError if it can't listen."""
        calls, limits = self._in_flight, self._limits
        self._server = grpc_server.build(
            self._grpc_services(),
            self.health,
            self._auth,
            in_flight=calls,
            limits=limits,
            auditor=self._auditor,
            metrics=self._metrics,
            may_submit=self._maintenance.check,
        )
        if address := self._settings.scaler_listen:
            service = ScalerService(Demands(self._pools.reads), self.health)
            self._scaler = grpc_server.build_scaler(service, self.health, in_flight=calls, limits=limits)
            self.scaler_port = grpc_server.bind(self._scaler, address, self._certificates, "CONTENTGEN_SCALER_LISTEN")
        self.port = grpc_server.bind(self._server, self._settings.listen, self._certificates)
        if (scraped := self._settings.metrics_listen) and self._metrics:
            frozen = self._sampling.frozen_reasons
            self._endpoint = MetricsEndpoint(
                scraped, self._metrics.registry, live=frozen, ready=lambda: self.health.reasons + frozen()
            )
            self.metrics_port = self._endpoint.port

    async def _check_store(self) -> None:
        """Checks the store of the assets. Raises SettingsError. One that does not answer soon is left to the loop."""
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(STORE_TIMEOUT):
                await self._store_identity.run_once()
        if self._store_identity.problem:
            raise SettingsError([self._store_identity.problem])

    def _wrong_assets(self, problem: str) -> None:
        self.health.set(Reason.WRONG_ASSETS, bool(problem))
        if problem:
            self._streams.send_reconnects()  # else workers would upload here what others can't read

    def _load_files(self) -> None:
        """Loads the tokens and certificates, now and whenever they change."""
        settings = self._settings
        if path := settings.tokens_file:
            self._file_reloads.append(FileReload("tokens", [path], lambda: self._use_tokens(path)))
            self._auth = AuthInterceptor(KnownTokens(()), self._refused)
            self._token_lines = read_tokens(path)
        if settings.tls:
            files = Certificates.files(settings)
            self._file_reloads.append(FileReload("certificates", files, self._use_certificates))
            self._certificates = Certificates(settings, self._metrics)
            self._expiry = Periodic("certificate", self._certificates.warn_of_expiry)

    def _use_tokens(self, path: Path) -> None:
        self._loop.call_soon_threadsafe(self._tokens.load, read_tokens(path))

    def _accept(self, lines: Sequence[TokenLine]) -> None:
        if self._auth:
            self._auth.use(KnownTokens(lines))

    def _refused(self, method: str, identity: CallerIdentity | None, error: DomainError) -> None:
        self._auditor.unauthorized(method, identity, error)
        if self._metrics:
            self._metrics.refused_calls.labels(error.reason).inc()

    def _use_certificates(self) -> None:
        assert self._certificates
        self._certificates.reread()
        self._loop.call_soon_threadsafe(self._expiry.wake)

    def reload_files(self) -> None:
        """Loads tokens and certificates again, changed or not. Files that can't be used change nothing."""
        for file_reload in self._file_reloads:
            file_reload.reload()

    def _build(self) -> None:
        """Builds the pools, then what runs on them, then the router that connects them."""
        settings = self._settings
        self._pools = Pools(self._url, self._database, settings, self._lineage)
        self._standby = self._build_standby()
        self._objects = Objects(open_store(settings.asset_location), Looks())
        location = str(settings.asset_location)
        self._store_identity = StoreIdentity(self._pools.assets, self._objects, location, self._wrong_assets)
        self._needed = Supervision(
            lambda part: self._loop.call_soon_threadsafe(self._gave_up, part), give_up_after=GIVE_UP_TIMEOUT
        )
        self._audit_log = AuditLog(self._pools.audit, now=self._clock.now)
        self._auditor = Auditor(self._audit_log.add, anonymous=settings.tokens_file is None)
        self._tokens = TokenRegister(self._pools.loops, self._accept)
        self._tokens.load(self._token_lines)
        self._maintenance = MaintenanceMode(self._pools.loops, self._clock.now)
        self._build_committers()
        self._build_waiters()
        engine = self._pools.background()
        self._notifier = Notifier(PgNotifier(engine, self._lineage), self.scheduler_id, self._needed)
        self._tails = Tails(self._pools.reads, self._streams, self._notifier)
        self._notifications = PgNotifications(engine, self._lineage)
        periodics = self._build_periodics(engine)
        listener = Listener(
            self._notifications,
            self.scheduler_id,
            on_signals=self._router.notified,
            on_connected=self._router.reread_all,
            supervision=self._needed,
        )
        self._services: list[Service] = [  # a service that another one uses comes before it: they stop in reverse
            self._notifier,
            listener,
            *self._reports,
            self._submits,
            *periodics,
            self._admission,
            self._dispatcher,
        ]

    def _build_standby(self) -> Standby | None:
        """Sends reads to the standby if there is one; those after a caller's own changes to the primary meanwhile."""
        settings, pools = self._settings, self._pools
        if settings.read_url is None:
            return None

        def away(_reason: str) -> None:
            self._loop.call_soon_threadsafe(standby.away)

        calls = pools.open_standby(settings.read_url, away)
        standby = Standby(pools.diagnosis, calls, settings.read_max_lag, self._metrics)
        pools.reads.standby = standby
        for changing in (pools.writes, pools.operators, pools.dispatch, pools.assets):
            changing.after = standby.changed
        return standby

    def _database(self, pool: str, engine: sa.Engine, away: Callable[[str], None] | None = None) -> Database:
        """`away` None: when it is away, the store is."""
        engine_pool = engine.pool
        assert isinstance(engine_pool, sa.QueuePool)
        metrics = self._metrics.database(pool, engine_pool.size(), engine_pool.checkedout) if self._metrics else None
        return Database(
            engine,
            self._committed,
            away or self._store_away_by_thread,
            self._interest,
            self._webhook_interest,
            aging=self._settings.priority_aging,
            metrics=metrics,
        )

    def _build_committers(self) -> None:
        settings, pools = self._settings, self._pools
        self._admission = Admission(pools.dispatch, self._needed)
        reports = pools.committers("reports", REPORT_LANES)
        self._reports = [self._report_lane(number, reports) for number in range(1, REPORT_LANES + 1)]
        self._report_lanes = Lanes(self._reports)
        self._dispatcher = Dispatcher(
            pools.committers("claims"),
            self._streams,
            settings,
            lambda refs: self._reports[0].post(UnsentLeases(tuple(refs))),
            self._admission,
            supervision=self._needed,
            metrics=self._metrics,
            tracer=self._tracer,
        )
        self._submits: GroupCommitter[SubmitItem, tuple[Task, ...]] = GroupCommitter(
            "submit",
            pools.committers("submits"),
            SubmitWork(settings, commits=True).run_group,
            weight=_submit_weight,
            max_weight=MAX_GROUP_WEIGHT,
            max_waiting=MAX_WAITING_SUBMITS,
            max_lock_wait=MAX_SUBMIT_LOCK_WAIT,
            keys=lambda item: {task.account_id for task in item.tasks},
            caller=CALLER.get,
            supervision=self._needed,
            after_commit=self._dispatcher.inline_claim,
            linger=SUBMIT_LINGER,
            metrics=self._metrics.lane("submits") if self._metrics else None,
        )
        self._lanes = {
            "submits": self._submits.state,
            "reports": self._report_lanes.state,
            "claims": self._dispatcher.state,
            "hellos": pools.sessions.state,
        }

    def _report_lane(self, number: int, database: Database) -> GroupCommitter[Item, Answer]:
        return GroupCommitter(
            f"report-{number}",
            database,
            ReportWork(self._settings).run_group,
            weight=_report_weight,
            max_weight=MAX_GROUP_WEIGHT,
            max_waiting=None,  # each stream bounds its backlog
            max_lock_wait=self._settings.lease_ttl,  # by then the leases in question have expired
            keys=report_keys,
            supervision=self._needed,
            metrics=self._metrics.lane("reports") if self._metrics else None,
        )

    def _build_waiters(self) -> None:
        """Builds what serves callers that wait: for tasks, for polls, for changes."""
        self._waiters = Waiters(self._pools.reads)
        self._polls = PollWaiters(self._pools.operators)
        self._feed = ChangeFeed(self._pools.watches, self._interest)
        self._sender = WebhookSender(self._addresses, self._names)
        self._channels = ChannelSender(self._sender, self._addresses, self._settings.console_url or "")
        self._deliveries = DeliveryLoop(self._pools.webhooks, self._webhook_interest, self._channels, self._metrics)
        self._database_watch = DatabaseWatch(self._pools.diagnosis, self._clock, self.health)
        seen_for = self._database_watch.seen_for
        self._system_status = SystemStatus(self._pools.diagnosis, self._state, self._settings, seen_for)

    def _build_periodics(self, engine: sa.Engine) -> list[Periodic]:
        """Builds the router too, which wakes several of them."""
        settings, pools, needed = self._settings, self._pools, self._needed
        due = Periodic("due", timed_loops.due(pools.loops), needed)
        expiry = Periodic("expiry", timed_loops.expiry(pools.loops), needed)
        ticks = Ticks(settings, read_template, tracer=self._tracer)
        ticking = self._maintenance.suspends(loop.ticking(pools.loops, ticks, self._metrics))
        schedules = Periodic("schedules", ticking, needed)
        watch_budgets = BudgetWatch(pools.dispatch)
        budgets = Periodic("budgets", watch_budgets.run_once)
        watch_budgets.wake = budgets.wake
        maintenance = Periodic("maintenance", self._maintenance.run_once, needed)
        housekeeping = timed_loops.Housekeeping(pools.loops, partial(vacuum, engine))
        floors = timed_loops.FloorLoop(pools.loops)
        watch = Periodic("watch", self._feed.run_once, needed)
        self._feed.wake = watch.wake
        webhooks = Periodic("webhooks", self._deliveries.run_once)
        self._deliveries.wake = webhooks.wake
        messages = Periodic("messages", MessageLoop(pools.loops, self._webhook_interest).run_once)
        self._deliveries.held = messages.wake
        audit = Periodic("audit", self._audit_log.run_once)
        self._audit_log.wake = audit.wake
        self._router = SignalRouter(
            self._loop,
            self._interest,
            self._notifier,
            self._dispatcher,
            self._admission,
            due,
            expiry,
            schedules,
            maintenance,
            watch_budgets,
            (housekeeping, floors),
            self._feed,
            self._waiters,
            self._polls,
            self._tails,
            self._streams,
            self._deliveries,
        )
        self._store_watch = StoreWatch(self.health, on_back=self._router.reread_all, on_away=self._wake_reaper)
        reap = timed_loops.reaper(pools.loops, settings, self._store_watch.note)
        self._reaper = Periodic("reap", reap, needed)
        stalls = StallCheck(self._lanes, self.health, settings, self._system_status.lock_holders)
        retention = Retention(pools.operators, settings)
        return [
            self._reaper,
            due,
            expiry,
            schedules,
            maintenance,
            Periodic("housekeeping", housekeeping.run_once),
            watch,
            webhooks,
            messages,
            audit,
            Periodic("webhook backlogs", partial(check_backlogs, pools.loops)),
            Periodic("floors", floors.run_once),
            budgets,
            Periodic("stalls", stalls.run_once, needed),
            Periodic("presence", self._system_status.run_once),
            Periodic("database watch", self._database_watch.run_once),
            Periodic("servers", self._check_servers),
            Periodic("durability", DurabilityCheck(pools.loops, self._metrics).run_once),
            Periodic("retention", retention.run_once),
            Periodic("search index", SearchIndexer(pools.loops).run_once),
            Periodic("assets", AssetCollection(pools.assets, self._objects, self._metrics).run_once),
            Periodic("store of assets", self._store_identity.run_once),
            *([Periodic("revoked tokens", self._tokens.run_once)] if self._auth else []),
            *self._file_reloads,
            *([self._expiry] if self._certificates else []),
            *([Periodic("standby", self._standby.run_once)] if self._standby else []),
            *self._build_sampling(),
        ]

    def _build_sampling(self) -> list[Periodic]:
        if not self._metrics:
            return []
        self._sampling = Sampling(self._metrics.loop_lag, partial(self._sample, self._metrics))
        return [
            Periodic("metrics", self._sampling.run_once),
            Periodic("figures", partial(sample_figures, self._pools.loops, self._metrics, self._settings)),
        ]

    async def _sample(self, metrics: Metrics) -> None:
        metrics.serving.set(self.health.serving)
        metrics.lease_streams.set(len(self._streams))
        metrics.watchers.set(self._feed.watcher_count)
        metrics.sample_lanes(self._lane_states())
        metrics.maintenance.set(self._maintenance.current is not None)
        metrics.clock_offset.set(self._clock.offset or 0.0)
        metrics.oldest_transaction.set(self._database_watch.oldest_age)
        metrics.foreign_locks.set(len(self._database_watch.lock_holders))

    def _state(self) -> ReplicaState:
        return ReplicaState(
            self.scheduler_id,
            own_version(),
            self._start_time,
            None,
            self.health.serving,
            self._lane_states(),
            self._clock.offset,
            self._settings.shared,
            self._standby.state.problem if self._standby else "",
        )

    def _lane_states(self) -> dict[str, LaneState]:
        return {name: state() for name, state in self._lanes.items()} | {"audit": self._audit_log.state()}

    async def _check_servers(self) -> float:
        """Notices a standby that was promoted while this replica's connections to the old primary live on."""
        await asyncio.to_thread(self._lineage.probe, self._url)
        return SERVERS_INTERVAL if self.health.store_available else SERVERS_INTERVAL_AWAY

    def _grpc_services(self) -> dict[str, object]:
        settings, pools = self._settings, self._pools
        return {
            "TaskService": TaskService(
                pools.reads,
                pools.writes,
                self._submits,
                settings,
                waiters=self._waiters,
                watches=Watches(pools.watches, self._feed),
                polls=self._polls,
                tails=self._tails,
                bulk=Bulk(pools.operators, settings),
                tracer=self._tracer,
            ),
            "WorkerService": WorkerService(
                SkipLocked(pools.sessions),
                self._report_lanes.least_used,
                self._streams,
                AssetUploads(pools.assets, self._objects, self._store_identity, settings, self._metrics),
                settings=settings,
                scheduler_id=self.scheduler_id,
                capacity_changed=self._dispatcher.capacity_added,
                worker_matched=self._dispatcher.worker_matched,
                printed=self._tails.received,
            ),
            "WorkerPoolService": WorkerPoolService(
                pools.operators, pools.dispatch, self._maintenance.message, settings
            ),
            "ContentService": ContentService(
                pools.reads,
                pools.writes,
                settings,
                self._submits,
                uploads=ContentUploads(pools.assets, self._objects, self._store_identity, settings, self._metrics),
                tracer=self._tracer,
            ),
            "AssetService": AssetService(pools.reads, self._objects),
            "AccountService": AccountService(
                pools.reads,
                pools.operators,
                pools.dispatch,
                Erasure(pools.operators, pools.assets, Bulk(pools.operators, settings), self._objects),
                Transfer(pools.moves, self._objects, self._store_identity, settings.cell, failed=StatementFailed),
            ),
            "ScheduleService": ScheduleService(pools.reads, pools.writes, settings, self._tracer),
            "SystemService": SystemService(
                self._system_status, self._tokens, self._maintenance, settings, self._limits
            ),
            "WebhookService": WebhookService(
                pools.reads,
                pools.operators,
                url_problem=partial(address_problem, self._addresses, self._names),
                send=self._sender.send,
                changed=self._deliveries.read,
            ),
            "NotificationService": NotificationService(
                pools.reads,
                pools.operators,
                url_problem=self._channels.url_problem,
                send=self._channels.send,
                changed=self._deliveries.read,
            ),
            "AuditService": AuditService(pools.reads),
        }

    def _committed(self, signals: CommitSignals) -> None:
        self._router.committed(signals)

    def _wake_reaper(self) -> None:
        self._reaper.wake()

    def _store_away_by_thread(self, reason: str) -> None:
        self._notifier.notify_missed()  # the outcome of a commit may be unknown
        self._loop.call_soon_threadsafe(self._store_watch.away, reason)

    def _gave_up(self, part: str) -> None:
        """The caller of `start` ends the replica: nothing else brings that part back."""
        assert self.failed is not None
        self.health.set(Reason.PART_FAILED)
        if not self.failed.done():
            self.failed.set_result(part)

    async def stop(self, *, within: float = DRAIN_TIMEOUT) -> None:
        """Drains and ends the server. Calls that come at that moment fail with CANCELLED."""
        await self.drain(within=within)
        await self._server.stop(None)
        if self._scaler:
            await self._scaler.stop(None)

    async def drain(self, *, within: float = DRAIN_TIMEOUT) -> None:
        """Sends workers and clients to other replicas, ends the calls in flight, stops all loops.

        Later calls fail with UNAVAILABLE until the server or the process ends.
        """
        if self.health.draining:
            return
        self.health.set(Reason.DRAINING)
        deadline = self._loop.time() + within
        await self._dispatcher.quiesce(within)  # else workers would leave before they have read their last leases
        await asyncio.sleep(SETTLE_TIMEOUT)
        self._streams.send_reconnects()
        self._waiters.close()
        self._polls.close()
        self._tails.close()
        self._feed.close()
        await self._in_flight.end(max(0.0, deadline - self._loop.time()))
        for service in reversed(self._services):
            await service.stop()
        await self._deliveries.close()
        await self._audit_log.close()
        await self._names.close()
        if self.health.store_available:
            await self._system_status.withdraw()
        await self._pools.close()
        await asyncio.to_thread(self._objects.close)
        self._notifications.dispose()
        if self._endpoint:
            await asyncio.to_thread(self._endpoint.stop)


def _submit_weight(item: SubmitItem) -> int:
    """Returns the number of tasks, or more if they are large."""
    return max(len(item.tasks), item.size // SUBMIT_BYTES_PER_WEIGHT)


def _report_weight(item: Item) -> int:
    """Returns the number of updates, or more if their results are large."""
    if not isinstance(item, ReportItem):
        return 1
    results = [update.change.result for update in item.updates if isinstance(update.change, AttemptCompleted)]
    characters = sum(len(result.body) + len(result.html_body) for result in results)
    return max(1, len(item.updates), characters // RESULT_CHARACTERS_PER_WEIGHT)
