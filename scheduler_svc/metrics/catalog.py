"""All metrics of a scheduler: names, help, labels, buckets.

`docs/reference/metrics.md` is made from what is declared here. It is a hub by design: one place where all names
stand side by side, so that none clashes, and docs, dashboards and alerts follow one list.

Names and units follow Prometheus' conventions, and every label has a small, fixed set of values. What a replica did
itself is counted where it happens; what lives on its event loop, and what all replicas have in common, is sampled by
`system/work.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from prometheus_client import Counter, Histogram

from contentgen.service.metrics import Declared, ServiceMetrics
from scheduler_svc.domain import lifecycle
from scheduler_svc.domain.ids import SEQUENCE_BITS
from scheduler_svc.domain.lease import Grant, Release
from scheduler_svc.domain.lifecycle import MOVES, RUNNING, Reason, Status
from scheduler_svc.domain.system import DURABILITY_SETTINGS, Backlogs, Figures, LaneState, StandbyState
from scheduler_svc.metrics.distribution import Distribution

CALL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
GROUP_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000)
QUEUE_BUCKETS = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0)
TASK_BUCKETS = (1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0, 14_400.0, 86_400.0)

COMPLETED = "COMPLETED"
OTHER = "OTHER"
ATTEMPT_ENDS = frozenset(
    {
        COMPLETED,
        "CREATOR_ERROR",
        "CREATOR_TIMEOUT",
        "CREATOR_INVALID_RESPONSE",
        "CREATOR_CLI_NOT_FOUND",
        "NOT_DELIVERED",
        "NOT_HELD",
        lifecycle.DEFERRED,
        lifecycle.TASK_TIMEOUT,
        lifecycle.WORKER_LOST,
        *lifecycle.FINAL_REASONS,
        *(reason.name for reason in Release),
    }
)
"""The values of `reason`; any other, which a newer worker may report, is counted as OTHER."""
_RETRIES = {lifecycle.AUTO_RETRY: "auto", lifecycle.RETRY_TASK: "manual", lifecycle.REQUEUED: "lost"}


@dataclass(frozen=True, slots=True)
class RpcMetrics:
    """The metrics of one method. On the event loop."""

    started: Counter
    handled: Callable[[str], Counter]
    seconds: Histogram

    def begin(self) -> float:
        """Counts a call; returns what `end` takes."""
        self.started.inc()
        return time.perf_counter()

    def end(self, begun: float, code: str) -> None:
        self.handled(code).inc()
        self.seconds.observe(time.perf_counter() - begun)


@dataclass(frozen=True, slots=True)
class LaneMetrics:
    """The metrics of one lane's groups. On the lane's thread."""

    size: Histogram
    wait: Histogram
    seconds: Histogram

    def group(self, size: int, seconds: float, waited: float | None = None) -> None:
        """Counts an answered group: its items, how long it took, and how long the first of them had waited for it."""
        self.size.observe(size)
        self.seconds.observe(seconds)
        if waited is not None:
            self.wait.observe(waited)


@dataclass(frozen=True, slots=True)
class DatabaseMetrics:
    """The metrics of one pool's transactions. On any thread."""

    seconds: Histogram
    ended: Callable[[str], Counter]
    statements: Counter
    moved: Callable[[Mapping[Reason, int], Mapping[Status, Sequence[int]]], None]
    """Takes the moves that a transaction has committed."""

    def transaction(self, outcome: str, seconds: float, statements: int) -> None:
        self.ended(outcome).inc()
        self.seconds.observe(seconds)
        self.statements.inc(statements)


class Metrics(ServiceMetrics):
    """The metrics of one replica, in a registry of their own: a process may hold several replicas."""

    def __init__(self, version: str) -> None:
        super().__init__("scheduler")
        self.built(version)
        self._declare_health()
        self._declare_calls()
        self._declare_lanes()
        self._declare_database()
        self._declare_tasks()
        self._declare_backlogs()
        self._declare_others()

    def _declare_health(self) -> None:
        self.maintenance = self._gauge(
            "contentgen_maintenance",
            "Whether new tasks are refused for maintenance: 1, or 0. All schedulers have the same.",
        )
        self.serving = self._gauge("contentgen_serving", "Whether this scheduler serves: 1, or 0 as /readyz says why.")
        self.clock_offset = self._gauge(
            "contentgen_clock_offset_seconds",
            "By how much this machine's clock is ahead of the database's (negative: behind), at least.",
        )
        self.oldest_transaction = self._gauge(
            "contentgen_oldest_transaction_seconds",
            "How long the oldest transaction with an id has been open on the database's server, in any database."
            " Watches may wait for it, and vacuums do. Every 5 seconds; the same on all schedulers.",
        )
        self.foreign_locks = self._gauge(
            "contentgen_foreign_locks",
            "Sessions that have held an advisory lock of the schedulers for 10 seconds: dispatch, folds of counts, or"
            " deletion by age may stand still. Every 5 seconds; the same on all schedulers.",
        )
        self.loop_lag = self._histogram(
            "contentgen_event_loop_lag_seconds", "How late the event loop ran a timer, twice a second.", CALL_BUCKETS
        )

    def _declare_calls(self) -> None:
        method = ("grpc_type", "grpc_service", "grpc_method")
        self._started = self._counter("grpc_server_started_total", "Calls that were begun.", *method)
        self._handled = self._counter(
            "grpc_server_handled_total", "Calls that ended, by their status code.", *method, "grpc_code"
        )
        self._seconds = self._histogram(
            "grpc_server_handling_seconds", "How long calls took. Streams count as they end.", CALL_BUCKETS, *method
        )
        self.refused_calls = self._counter_of(
            "contentgen_refused_calls_total",
            "Calls refused because of their token, its role, or because it is tied to accounts and the RPC is for all.",
            "reason",
            ("TOKEN_INVALID", "ROLE_FORBIDDEN", "ACCOUNT_FORBIDDEN"),
        )
        self.lease_streams = self._gauge("contentgen_lease_streams", "Workers that are connected to this scheduler.")
        self.watchers = self._gauge("contentgen_watchers", "WatchTasks streams of this scheduler.")

    def _declare_lanes(self) -> None:
        self._group_size = self._histogram(
            "contentgen_lane_group_items", "Items that were committed as one transaction.", GROUP_BUCKETS, "lane"
        )
        self._group_wait = self._histogram(
            "contentgen_lane_wait_seconds", "How long a group's first item waited for it.", CALL_BUCKETS, "lane"
        )
        self._group_seconds = self._histogram(
            "contentgen_lane_group_seconds", "How long a group took.", CALL_BUCKETS, "lane"
        )
        self._lane_waiting = self._gauge(
            "contentgen_lane_waiting_items", "Items that wait for their answer, twice a second.", "lane"
        )
        self._lane_oldest = self._gauge(
            "contentgen_lane_oldest_seconds",
            "Age of the item that has waited longest (0: none waits), twice a second.",
            "lane",
        )
        self._lane_aside = self._gauge(
            "contentgen_lane_set_aside_items", "Items that wait for another session's lock, twice a second.", "lane"
        )

    def _declare_database(self) -> None:
        self._transactions = self._counter(
            "contentgen_transactions_total",
            "Transactions by how they ended: committed, refused (nothing was done), lock_timeout, statement_timeout,"
            " unavailable or failed.",
            "pool",
            "outcome",
        )
        self._transaction_seconds = self._histogram(
            "contentgen_transaction_seconds", "How long transactions took.", CALL_BUCKETS, "pool"
        )
        self._statements = self._counter("contentgen_statements_total", "Statements of committed transactions.", "pool")
        self._connections = self._gauge("contentgen_pool_connections", "Connections that a pool may have.", "pool")
        self._connections_used = self._gauge(
            "contentgen_pool_connections_in_use", "Connections with a transaction now.", "pool"
        )

        self._weakened = self._gauge(
            "contentgen_durability_weakened",
            "1 where the server, the database or the schedulers' role has this setting of durability off.",
            "setting",
        )
        self._standby_unused = self._gauge(
            "contentgen_standby_unused",
            "1 while no read goes to the standby of CONTENTGEN_READ_URL: it does not answer, lags, or is no standby.",
        )
        self._standby_lag = self._gauge(
            "contentgen_standby_lag_seconds",
            "How far that standby is behind, at most. Every second, as long as it is known.",
        )
        self.standby_fallbacks = self._counter_of(
            "contentgen_standby_fallbacks_total",
            "Reads that could have gone to the standby and went to the primary, by why: AWAY, LAGS, NOT_STANDBY,"
            " OTHER_DATABASE, CHANGED (the caller has just changed something) or MISSING (the standby lacked it).",
            "reason",
            ("AWAY", "LAGS", "NOT_STANDBY", "OTHER_DATABASE", "CHANGED", "MISSING"),
        )

    def _declare_tasks(self) -> None:
        self._moves = self._counter(
            "contentgen_task_moves_total",
            "Moves of tasks that this scheduler has committed, by state before (none: a submit) and after.",
            "source",
            "target",
        )
        for source, target in MOVES:  # a series that begins with its first event has no rate then
            self._moves.labels(source.label, target.label)
        self._attempts = self._counter_of(
            "contentgen_attempts_total",
            "Attempts that ended, by reason: COMPLETED, that of Task.error, that of a release, or OTHER.",
            "reason",
            (*ATTEMPT_ENDS, OTHER),
        )
        self._retries = self._counter_of(
            "contentgen_task_retries_total",
            "Tasks that were given another attempt: auto, manual (RetryTask and bulk calls), or lost (a lost worker).",
            "kind",
            _RETRIES.values(),
        )
        self._queue_seconds = self._distribution(
            "contentgen_task_queue_seconds",
            "How long a task was ready before it was leased to a worker: the latency of dispatch.",
            QUEUE_BUCKETS,
            "priority",
        )
        self._task_seconds = self._distribution(
            "contentgen_task_seconds",
            "How long a task took from its submit to its end, waits and all attempts included.",
            TASK_BUCKETS,
            "status",
        )
        self._tasks = self._gauge(
            "contentgen_tasks", "Tasks of the database, every 15 seconds; the same on all schedulers.", "status"
        )
        self._ready = self._gauge(
            "contentgen_ready_tasks", "Tasks that wait and are due, every 15 seconds; the same on all schedulers."
        )
        self._oldest = self._gauge(
            "contentgen_oldest_pending_seconds",
            "Age of the oldest task that is pending (0: none is), every 15 seconds; the same on all schedulers.",
        )
        self._queue = self._gauge(
            "contentgen_queue_tasks",
            "Tasks that workers would get next, counted up to 1,000 of a priority, every 15 seconds; the same on all"
            " schedulers. Tasks behind their account's window, limit or pause are not among them.",
            "priority",
        )
        self._queue_oldest = self._gauge(
            "contentgen_queue_oldest_seconds",
            "How long the oldest of these tasks has been ready (0: there is none); the same on all schedulers.",
            "priority",
        )
        self._leases = self._gauge(
            "contentgen_leases",
            "Leases by stage, every 15 seconds: queued (ahead of a slot), accepted (in a slot), processing (the CLI has"
            " started) or revoked (its CLI may still run); the same on all schedulers.",
            "stage",
        )

        self._account_tasks = self._gauge(
            "contentgen_account_tasks",
            "Tasks of an account that CONTENTGEN_METRICS_ACCOUNTS names, every 15 seconds; the same on all schedulers.",
            "account_id",
            "status",
        )
        self._account_ready = self._gauge(
            "contentgen_account_ready_tasks",
            "Tasks of such an account that wait and are due; the same on all schedulers.",
            "account_id",
        )

    def _declare_backlogs(self) -> None:
        self._deliveries = self._gauge(
            "contentgen_webhook_deliveries",
            "Deliveries to webhooks that are pending or exhausted, counted up to 10,000, every 15 seconds; the same on"
            " all schedulers.",
            "status",
        )
        self._oldest_delivery = self._gauge(
            "contentgen_oldest_pending_delivery_seconds",
            "Age of the oldest delivery that is pending (0: none is); the same on all schedulers.",
        )
        self._pool_entries = self._gauge(
            "contentgen_publish_pool_entries",
            "Entries of the publish pool, counted up to 10,000 of a state, every 15 seconds: pending (scheduled ones"
            " too), publishing (claimed), retrying (an attempt failed, another one follows) or failed (none follows);"
            " the same on all schedulers.",
            "state",
        )
        self._schedules = self._gauge(
            "contentgen_schedules",
            "Schedules with a tick to come, counted up to 10,000, every 15 seconds; the same on all schedulers.",
        )
        self._schedule_lateness = self._gauge(
            "contentgen_schedule_lateness_seconds",
            "How long the first tick is overdue (0: none is); the same on all schedulers.",
        )
        self._backup = self._gauge(
            "contentgen_backup_last_success_timestamp_seconds",
            "The moment that the newest backup of the database holds, in Unix time (0: there is none, as after a"
            " restore); the same on all schedulers.",
        )

    def _declare_others(self) -> None:
        self.certificate_expiry = self._gauge(
            "contentgen_certificate_expiry_timestamp_seconds",
            "When the first certificate of a file expires, in Unix time.",
            "setting",
        )
        self._assets_stored = self._counter("contentgen_assets_stored_total", "Assets that workers uploaded.")
        self._asset_bytes = self._counter("contentgen_asset_bytes_total", "Bytes of these assets.")
        self.assets_refused = self._counter_of(
            "contentgen_assets_refused_total",
            "Uploads of assets that were refused, by reason: ACCOUNT_ASSETS_FULL (max_asset_bytes) or"
            " ASSET_STORE_UNAVAILABLE.",
            "reason",
            ("ACCOUNT_ASSETS_FULL", "ASSET_STORE_UNAVAILABLE"),
        )
        self.assets_deleted = self._counter(
            "contentgen_assets_deleted_total", "Assets that were deleted, since no content names them."
        )
        self.webhook_tries = self._counter_of(
            "contentgen_webhook_tries_total",
            "Tries to deliver to webhooks: delivered or failed.",
            "outcome",
            ("delivered", "failed"),
        )
        self.schedule_ticks = self._counter("contentgen_schedule_ticks_total", "Schedules whose tick was run.")

    # What parts of a replica get

    def rpc(self, method: str, *, requests: bool, responses: bool) -> RpcMetrics:
        """Returns the metrics of `/package.Service/Method`; `requests`, `responses`: whether it streams them."""
        kind = {(False, False): "unary", (True, False): "client_stream", (False, True): "server_stream"}
        service, _, name = method.lstrip("/").partition("/")
        labels = (kind.get((requests, responses), "bidi_stream"), service, name)
        handled = cache(lambda code: self._handled.labels(*labels, code))
        return RpcMetrics(self._started.labels(*labels), handled, self._seconds.labels(*labels))

    def lane(self, name: str) -> LaneMetrics:
        return LaneMetrics(
            self._group_size.labels(name), self._group_wait.labels(name), self._group_seconds.labels(name)
        )

    def database(self, pool: str, connections: int, in_use: Callable[[], int]) -> DatabaseMetrics:
        """`in_use` is read at each scrape, on its thread."""
        self._connections.labels(pool).set(connections)
        self._connections_used.labels(pool).set_function(in_use)
        return DatabaseMetrics(
            self._transaction_seconds.labels(pool),
            cache(lambda outcome: self._transactions.labels(pool, outcome)),
            self._statements.labels(pool),
            self.moved,
        )

    # What is counted

    def asset_stored(self, size: int) -> None:
        self._assets_stored.inc()
        self._asset_bytes.inc(size)

    def moved(self, moves: Mapping[Reason, int], endings: Mapping[Status, Sequence[int]]) -> None:
        """Counts moves that are committed, and the times that tasks took which they ended: their keys, by state."""
        for (source, target, reason), count in moves.items():
            self._moves.labels(source.label, target.label).inc(count)
            if source in RUNNING and target not in RUNNING:
                self._attempts.labels(reason if reason in ATTEMPT_ENDS else OTHER).inc(count)
            if kind := _RETRIES.get(reason):
                self._retries.labels(kind).inc(count)
        now = time.time()
        for status, keys in endings.items():
            self._task_seconds.observe(status.label, [max(0.0, now - (key >> SEQUENCE_BITS) / 1_000) for key in keys])

    def leased(self, grants: Iterable[Grant]) -> None:
        """Counts what a claim has committed."""
        waits: dict[int, list[float]] = {}
        for grant in grants:
            waits.setdefault(grant.priority, []).append(grant.waited)
        for priority, seconds in waits.items():
            self._moves.labels(Status.PENDING.label, Status.SUBMITTED.label).inc(len(seconds))
            self._queue_seconds.observe(str(priority), seconds)

    # What is sampled

    def sample_lanes(self, states: Mapping[str, LaneState]) -> None:
        for name, state in states.items():
            self._lane_waiting.labels(name).set(state.waiting)
            self._lane_oldest.labels(name).set(state.oldest)
            self._lane_aside.labels(name).set(state.set_aside)

    def sample_durability(self, weakened: Collection[str]) -> None:
        for setting in DURABILITY_SETTINGS:
            self._weakened.labels(setting).set(setting in weakened)

    def sample_standby(self, state: StandbyState) -> None:
        self._standby_unused.set(bool(state.problem))
        if state.lag is not None:
            self._standby_lag.set(state.lag)

    def sample_figures(self, figures: Figures) -> None:
        for status, n in figures.tasks.counts.items():
            self._tasks.labels(status.label).set(n)
        self._ready.set(figures.tasks.queue_depth)
        age = figures.tasks.oldest_pending_age
        self._oldest.set(0.0 if age is None else age.total_seconds())
        for head in figures.heads:
            self._queue.labels(str(head.priority)).set(head.tasks)
            self._queue_oldest.labels(str(head.priority)).set(head.oldest)
        for stage, n in figures.leases.items():
            self._leases.labels(stage).set(n)
        self._sample_backlogs(figures.backlogs)
        for account_id, stats in figures.accounts.items():
            for status, n in stats.counts.items():
                self._account_tasks.labels(str(account_id), status.label).set(n)
            self._account_ready.labels(str(account_id)).set(stats.queue_depth)

    def _sample_backlogs(self, backlogs: Backlogs) -> None:
        self._deliveries.labels("pending").set(backlogs.pending_deliveries)
        self._deliveries.labels("exhausted").set(backlogs.exhausted_deliveries)
        self._oldest_delivery.set(max(0.0, backlogs.oldest_delivery))
        self._pool_entries.labels("pending").set(backlogs.pool_pending)
        self._pool_entries.labels("publishing").set(backlogs.pool_publishing)
        self._pool_entries.labels("retrying").set(backlogs.pool_retrying)
        self._pool_entries.labels("failed").set(backlogs.pool_failed)
        self._schedules.set(backlogs.active_schedules)
        self._schedule_lateness.set(max(0.0, backlogs.schedule_lateness))
        self._backup.set(backlogs.backup_time)

    def _counter_of(self, name: str, documentation: str, label: str, values: Iterable[str]) -> Counter:
        """Makes a counter by one label, with its values: a series that begins with its first event has no rate then."""
        counter = self._counter(name, documentation, label)
        for value in values:
            counter.labels(value)
        return counter

    def _distribution(self, name: str, documentation: str, bounds: Sequence[float], label: str) -> Distribution:
        self.declared.append(Declared(name, "histogram", documentation, (label,)))
        distribution = Distribution(name, documentation, label, bounds)
        self.registry.register(distribution)
        return distribution
