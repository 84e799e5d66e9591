"""Connections and transactions: one `Database` a use (a lane, the calls), each with a pool of its own.

The driver's errors become domain errors here and nowhere else. This is a hub by design: one transaction spans subjects,
so this is the one place where the statements of all of them meet on a connection, and work names them by their table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

import psycopg2
import sqlalchemy as sa
from psycopg2 import errors as pg_errors
from psycopg2 import extensions

from scheduler_svc.accounts.sql import Accounts
from scheduler_svc.assets.sql import Assets
from scheduler_svc.audit.sql import Audit
from scheduler_svc.contents.sql.contents import Comments, Contents, Revisions
from scheduler_svc.contents.sql.reviews import Reviews
from scheduler_svc.contents.sql.search import Search
from scheduler_svc.database import statements
from scheduler_svc.database.connections import CALL_TIMEOUT, HOT_TIMEOUT, LOCK_TIMEOUT, SET_DURABLE, Timeouts, defaults
from scheduler_svc.database.lineage import Lineage, WrongServer
from scheduler_svc.database.statements import Pipeline
from scheduler_svc.dispatch.sql.claim import Pauses
from scheduler_svc.dispatch.sql.selectors import Selectors
from scheduler_svc.dispatch.sql.tags import Floors, StartQuotas
from scheduler_svc.dispatch.sql.waiting import Expiry, WaitingTasks
from scheduler_svc.dispatch.sql.window import Loads, Window
from scheduler_svc.domain.errors import DomainError, LockTimeout, StatementTimeout, StoreUnavailable
from scheduler_svc.history.sql import Counts, History, Rollups
from scheduler_svc.holdings.sql import Holdings
from scheduler_svc.leases.sql.leases import Leases, Reaper
from scheduler_svc.leases.sql.workers import Workers
from scheduler_svc.metrics import DatabaseMetrics
from scheduler_svc.notifications.sql import Channels
from scheduler_svc.publishing.sql import PublishPool
from scheduler_svc.retention.sql import Sweeps
from scheduler_svc.runtime.signals import CommitSignals
from scheduler_svc.schedules.sql import Schedules
from scheduler_svc.system.sql import SystemStatements
from scheduler_svc.tasks.sql.ended import EndedTasks, Polls
from scheduler_svc.tasks.sql.reads import TaskReads
from scheduler_svc.tasks.sql.submits import Submits, UniqueKeys
from scheduler_svc.tasks.sql.tasks import AttemptLogs, Tasks
from scheduler_svc.watch.feed import WatchInterest
from scheduler_svc.watch.sql import Changes
from scheduler_svc.webhooks.sql import Deliveries, Webhooks
from scheduler_svc.webhooks.work import WebhookInterest

_NOW = sa.text("SELECT now()")
"""Reads the transaction's time."""
_ATTEMPTS = 5
_NO_WEBHOOKS = WebhookInterest(())

# The hot statements' plans must not follow statistics from before a burst: with these off, a small batch is always
# joined through the keys' indexes. One plan then serves every batch; to plan each anew costs as much as to run it.
_HOT_SETTINGS = (
    " SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;"
    " SET plan_cache_mode = force_generic_plan"
)

# The server would keep the locks of a replica that froze, or whose host vanished, for two hours by default.
_SETTINGS = (
    "SET client_min_messages = warning; SET jit = off; SET timezone = 'UTC';"
    " SET idle_in_transaction_session_timeout = '20s';"
    f" {SET_DURABLE};"
)
_KEEPALIVE = (
    " SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;"
    " SET tcp_user_timeout = '8s';"
)

R = TypeVar("R")


def make_engine(
    url: str,
    connections: int,
    *,
    hot: bool = False,
    timeouts: Timeouts | None = None,
    lineage: Lineage | None = None,
    pooled: bool = False,
) -> sa.Engine:
    """Returns an engine with at most `connections` connections, none opened yet.

    `hot`: with the plans of the hot path, and its bounds unless `timeouts` is given. `lineage` refuses servers that are
    not the fleet's database. `pooled`: a pooler gives each transaction any session, so each brings its settings, and
    prepares nothing.
    """
    timeouts = timeouts or Timeouts(LOCK_TIMEOUT, HOT_TIMEOUT if hot else CALL_TIMEOUT)
    settings = _SETTINGS + timeouts.sql() + (_HOT_SETTINGS if hot else "")
    engine = sa.create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=10,
        execution_options={"begins_with": [_local(settings)]} if pooled else {"prepares": hot},
        isolation_level="AUTOCOMMIT",  # `Pipeline` sends BEGIN and COMMIT, and saves their round trips
        use_native_hstore=False,  # a question for each connection about a type that no column has
        connect_args=defaults(sa.make_url(url)),
    )
    if lineage:
        lineage.guard(engine)
    if not pooled:
        sa.event.listen(engine, "connect", lambda connection, _record: _set(connection, _KEEPALIVE + settings))
    sa.event.listen(engine, "reset", _leave_no_transaction)
    return engine


def _local(settings: str) -> str:
    """Returns what sets the same for one transaction."""
    return settings.replace("SET ", "SET LOCAL ").replace(", false)", ", true)").rstrip("; ")


def _set(connection: Any, settings: str) -> None:
    """Sets by statements, not by connection options, which poolers refuse."""
    with connection.cursor() as cursor:
        cursor.execute(settings)


def _leave_no_transaction(connection: Any, record: sa.pool.ConnectionPoolEntry, _state: object) -> None:
    """Returns a connection to the pool outside of any transaction, or discards it."""
    match connection.info.transaction_status:
        case extensions.TRANSACTION_STATUS_IDLE:
            pass
        case extensions.TRANSACTION_STATUS_UNKNOWN:
            record.invalidate()
        case _:
            with connection.cursor() as cursor:
                cursor.execute("ROLLBACK; DEALLOCATE ALL")
            statements.forget(record.info)


G = TypeVar("G")


def _group(statements: Callable[[Pipeline], G]) -> cached_property[G]:
    return cached_property(lambda self: statements(self._session))


class Tx:
    """One transaction's statements, in groups by table, each made at its first use."""

    def __init__(
        self,
        connection: sa.Connection,
        lock_timeout: float | None = None,
        aging: float = 0.0,
        webhook_interest: WebhookInterest | None = None,
    ) -> None:
        """`aging`: seconds of wait after which a task competes one priority higher; 0: never."""
        self._session = Pipeline(connection, lock_timeout)
        self._aging = aging
        self.webhook_interest = webhook_interest or _NO_WEBHOOKS
        self.signals = CommitSignals()
        self.after_commit: Callable[[], None] | None = None
        """What the thread does after the commit, if there is anything: the transaction may do it itself."""

    @property
    def committing(self) -> bool:
        return self._session.committing

    @property
    def broken(self) -> bool:
        return self._session.broken

    @property
    def statements(self) -> int:
        return self._session.statements

    @cached_property
    def now(self) -> datetime:
        return self._session.execute(_NOW, {}).fetchall()[0][0]  # type: ignore[no-any-return]

    tasks = _group(Tasks)
    unique_keys = _group(UniqueKeys)
    ended = _group(EndedTasks)
    sweeps = _group(Sweeps)
    waiting = _group(WaitingTasks)
    expiry = _group(Expiry)
    start_quotas = _group(StartQuotas)
    floors = _group(Floors)
    selectors = _group(Selectors)
    pauses = _group(Pauses)
    loads = _group(Loads)
    history = _group(History)
    attempt_logs = _group(AttemptLogs)
    counts = _group(Counts)
    rollups = _group(Rollups)
    submits = _group(Submits)
    workers = _group(Workers)
    polls = _group(Polls)
    reaper = _group(Reaper)
    accounts = _group(Accounts)
    schedules = _group(Schedules)
    contents = _group(Contents)
    publish_pool = _group(PublishPool)
    revisions = _group(Revisions)
    comments = _group(Comments)
    search = _group(Search)
    reviews = _group(Reviews)
    assets = _group(Assets)
    task_reads = _group(TaskReads)
    changes = _group(Changes)
    system = _group(SystemStatements)
    webhooks = _group(Webhooks)
    deliveries = _group(Deliveries)
    channels = _group(Channels)
    audit = _group(Audit)
    holdings = _group(Holdings)

    @cached_property
    def window(self) -> Window:
        return Window(self._session, self._aging)

    @cached_property
    def leases(self) -> Leases:
        return Leases(self._session, self._aging)

    def group(self, statements: Callable[[Pipeline], G]) -> G:
        """Returns statements of another package, such as the importer's, for this transaction."""
        return statements(self._session)

    def commit(self) -> None:
        """Commits. The transaction sends no NOTIFY, whose lock is one for the whole cluster."""
        self._session.commit()


class StatementFailed(Exception):
    """A defect of ours: the database has refused a statement.

    The message omits statement and values, which hold topics and bodies, since it is logged.
    """

    def __init__(self, error: Exception) -> None:
        cause = _driver_error(error)
        diagnosis = getattr(cause, "diag", None)
        names = ("sqlstate", "message_primary", "table_name", "constraint_name")
        details = [text for name in names if (text := getattr(diagnosis, name, None))]
        super().__init__(f"{type(cause).__name__}: {', '.join(details) or 'no details'}")


class Database:
    """Runs work in transactions on one engine."""

    def __init__(
        self,
        engine: sa.Engine,
        on_commit: Callable[[CommitSignals], None],
        on_unavailable: Callable[[str], None],
        watch_interest: WatchInterest | None = None,
        webhook_interest: WebhookInterest | None = None,
        *,
        aging: float = 0.0,
        metrics: DatabaseMetrics | None = None,
    ) -> None:
        """Calls `on_commit` with the signals after each commit, and `on_unavailable` with the reason of each failure to
        reach the database, both on the thread that runs the work.

        `watch_interest`: whether anybody watches moves (None: nobody). `webhook_interest`: which events webhooks want
        (None: none). `aging`: seconds of wait after which a task competes one priority higher; 0: never.
        """
        self._engine = engine
        self._on_commit = on_commit
        self._on_unavailable = on_unavailable
        self._watch_interest = watch_interest or WatchInterest()
        self._webhook_interest = webhook_interest
        self._aging = aging
        self._metrics = metrics

    def run(self, work: Callable[[Tx], R], *, lock_timeout: float | None = None) -> R:
        """Runs `work` in one transaction, commits, and sends its signals.

        `lock_timeout`: seconds to wait for a lock. Default: that of the connection.

        Raises what `work` raises, LockTimeout and StatementTimeout, after which nothing is committed; and
        StoreUnavailable if the database is away or the outcome of the commit is unknown. Deadlocks and serialization
        failures run `work` again.
        """
        if self._metrics is None:
            return self._run(work, lock_timeout)[1]
        begun = time.perf_counter()
        try:
            tx, result = self._run(work, lock_timeout)
        except Exception as error:
            self._metrics.transaction(_outcome(error), time.perf_counter() - begun, 0)
            raise
        self._metrics.transaction("committed", time.perf_counter() - begun, tx.statements)
        if tx.signals.moves:
            self._metrics.moved(tx.signals.moves, tx.signals.endings)
        return result

    def _run(self, work: Callable[[Tx], R], lock_timeout: float | None) -> tuple[Tx, R]:
        for attempt in range(1, _ATTEMPTS + 1):
            tx = None
            try:
                with self._engine.connect() as connection:
                    tx = Tx(connection, lock_timeout, self._aging, self._webhook_interest)
                    result = work(tx)
                    tx.commit()
            except (sa.exc.DBAPIError, psycopg2.Error) as error:
                if timed_out := _TIMED_OUT.get(type(_driver_error(error))):
                    raise timed_out from error
                undone = tx is None or not tx.committing  # how a commit that fails went is unknown: never again
                broken = tx is not None and tx.broken
                stale = attempt == 1 and undone and broken  # the connection may date from before a restart
                if (stale or _is_rerunnable(_driver_error(error))) and attempt < _ATTEMPTS:
                    continue
                # No local holds an error here: it and this frame would hold each other, until a garbage collection.
                if not (broken or isinstance(_driver_error(error), _AWAY)):  # the statement is at fault
                    raise StatementFailed(error) from None
                self._on_unavailable(_why_away(error))
                raise _unavailable(error) from error
            except sa.exc.TimeoutError as error:
                raise StoreUnavailable from error
            if tx.signals or (self._watch_interest.anywhere and tx.signals.moved):
                self._on_commit(tx.signals)
            return tx, result
        raise AssertionError("the last attempt returns or raises")

    def dispose(self) -> None:
        self._engine.dispose()


def _is_rerunnable(error: object) -> bool:
    """Whether the same work may succeed if it is run again. A task's key that another replica took is drawn anew."""
    is_key = isinstance(error, pg_errors.UniqueViolation) and error.diag.constraint_name == "tasks_pkey"
    return is_key or isinstance(error, _RERUNNABLE)


def _outcome(error: Exception) -> str:
    """Returns how a transaction ended that failed, as a label of its metric."""
    return next((outcome for kind, outcome in _OUTCOMES.items() if isinstance(error, kind)), "failed")


def _why_away(error: Exception) -> str:
    """Returns the first line of the driver's message: further ones may quote the statement."""
    cause = _driver_error(error)
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]


def _unavailable(error: Exception) -> StoreUnavailable:
    cause = _driver_error(error)
    return StoreUnavailable(str(cause)) if isinstance(cause, WrongServer) else StoreUnavailable()


def _driver_error(error: Exception) -> object:
    return error.orig if isinstance(error, sa.exc.DBAPIError) else error


_TIMED_OUT: Mapping[type, type[StoreUnavailable]] = {
    pg_errors.LockNotAvailable: LockTimeout,
    pg_errors.QueryCanceled: StatementTimeout,
}
"""The server has ended a statement before its commit, and so its transaction."""
_OUTCOMES: Mapping[type[DomainError], str] = {
    LockTimeout: "lock_timeout",
    StatementTimeout: "statement_timeout",
    StoreUnavailable: "unavailable",
    DomainError: "refused",
}
"""The first that fits."""
_RERUNNABLE = (pg_errors.DeadlockDetected, pg_errors.SerializationFailure)
_AWAY = (
    psycopg2.OperationalError,  # connections; shutdowns, out of connections, disk full
    psycopg2.InterfaceError,
    pg_errors.ReadOnlySqlTransaction,
)
