"""Brings a database to this version's schema, while replicas of this version and of the one before serve.

Migrations are forward-only and run one replica at a time, each in a transaction of its own. None waits long for a lock,
since later statements queue behind one that waits: it is retried instead. `docs/development/migrations.md` has the
rules for what a migration may do.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import sqlalchemy as sa
import structlog
from psycopg2 import errors as pg_errors

from scheduler_svc.database.connections import SET_DURABLE, connect, defaults
from scheduler_svc.database.lineage import Lineage
from scheduler_svc.database.statements import driver_sql
from scheduler_svc.schema import compatibility
from scheduler_svc.schema.cell import fix_cell
from scheduler_svc.schema.privileges import FORBIDDEN, check_may_serve, may_not_migrate

if TYPE_CHECKING:
    from scheduler_svc.schema.alembic_folder import MigrationFolder


# How long the statements of a migration may wait, and take. For those that run it, and for `migrations/online.py`.


LOCK_TIMEOUT = "500ms"
"""Later statements queue behind one that waits for its table: so it waits for so long, and is retried."""
STATEMENT_TIMEOUT = "30s"


def limit_waits(connection: sa.Connection) -> None:
    """Bounds the connection's next statements."""
    limit(connection, lock=LOCK_TIMEOUT, statement=STATEMENT_TIMEOUT)


def limit(connection: sa.Connection, *, lock: str, statement: str) -> None:
    """Bounds the connection's next statements by these durations, as PostgreSQL writes them."""
    connection.exec_driver_sql(f"SET lock_timeout = '{lock}'; SET statement_timeout = '{statement}'")


WAIT_LIMIT = 10.0
"""Seconds that a statement may wait before that is told."""
LOOK_INTERVAL = 1.0
_WAIT = sa.text("""
    SELECT a.query_start, CASE a.wait_event
        WHEN 'SyncRep' THEN 'a synchronous standby confirms its commit: synchronous_standby_names = '
            || current_setting('synchronous_standby_names')
        ELSE 'the transactions of sessions ' || array_to_string(pg_blocking_pids(a.pid), ', ') END
    FROM pg_stat_activity AS a
    WHERE a.pid = :pid AND a.state = 'active' AND clock_timestamp() - a.query_start > make_interval(secs => :seconds)
        AND (a.wait_event = 'SyncRep' OR cardinality(pg_blocking_pids(a.pid)) > 0)
""")
"""Finds what a session has waited for."""
_log = structlog.get_logger(__name__)


@contextmanager
def telling_waits(connection: sa.Connection) -> Iterator[None]:
    """Logs each statement of the connection that waits for longer than `WAIT_LIMIT` within the block."""
    pid = connection.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]
    done = threading.Event()
    watcher = threading.Thread(target=_look, args=(connection.engine.url, pid, done), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _look(url: sa.URL, pid: int, done: threading.Event) -> None:
    if done.wait(WAIT_LIMIT):
        return
    last_since = None
    with suppress(psycopg2.Error), closing(connect(url)) as connection, connection.cursor() as cursor:
        while not done.wait(LOOK_INTERVAL):
            cursor.execute(driver_sql(_WAIT), {"pid": pid, "seconds": WAIT_LIMIT})
            for since, blocker in cursor.fetchall():
                if since != last_since:
                    _log.warning("the migration waits", action="migrate", waits_for=blocker)
                    last_since = since


MIGRATIONS = Path(__file__).with_name("migrations")
MIGRATION_TIMEOUT = 600.0
"""Seconds for which one migration is retried, and for which another replica's migrations are waited for."""
_LOCK_KEY = 0x636F6E74656E7467  # "contentg"
_LOCK_POLL_INTERVAL = 0.1
_RETRY_PAUSES = (0.5, 10.0)
"""Seconds: the first pause, and the longest."""
_TRANSIENT = (pg_errors.LockNotAvailable, pg_errors.QueryCanceled, pg_errors.DeadlockDetected)
# Polled, since a concurrent index build of the replica that migrates waits for every statement that runs.
_TRY_LOCK = sa.text("SELECT pg_try_advisory_lock(:key)")
"""Locks out other processes that migrate, if none does."""
_UNLOCK = sa.text("SELECT pg_advisory_unlock(:key)")
"""Lets other processes migrate."""
_HOLDER = sa.text("""
    SELECT a.pid, a.application_name, a.backend_start FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (CAST(l.classid AS bigint) << 32) + CAST(l.objid AS bigint) = :key
""")
"""Finds the session that migrates."""
_OLDEST_TRANSACTION = sa.text("""
    SELECT pid, application_name, extract(epoch FROM clock_timestamp() - xact_start)::integer FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
    ORDER BY xact_start LIMIT 1
""")
"""The longest transaction, which a migration that can't get its locks probably waits for."""


class MigrationStuck(Exception):
    """A migration did not succeed within its time. What was applied before stays, and the next start resumes."""


def migrate(
    url: str, lineage: Lineage | None = None, *, then_serves: bool = False, cell: int | None = None
) -> list[str]:
    """Brings the database of this URL to this version's schema; returns the revisions that it applied.

    `cell`: what it is to be, or has to be; None: whatever it is.

    Raises:
        UnsupportedSchema: this version may not run on the database's schema.
        MigrationStuck: a migration could not get its locks in time.
        SettingsError: the role may not migrate, or not serve what it has migrated, if it `then_serves`; or
            the database is another cell.
    """
    with _engine(url, lineage) as engine:
        applied = upgrade(engine)
        for revision in applied:
            _log.info("migrated", action="migrate", schema=revision)
        if then_serves:
            with engine.connect() as connection:
                check_may_serve(connection)
        if cell is not None:
            fix_cell(engine, cell)
    return applied


@contextmanager
def _engine(url: str, lineage: Lineage | None) -> Iterator[sa.Engine]:
    arguments = defaults(sa.make_url(url), application="contentgen-migrate")
    engine = sa.create_engine(url, pool_size=1, connect_args=arguments)
    if lineage:
        lineage.guard(engine)
    try:
        yield engine
    finally:
        engine.dispose()


def upgrade(engine: sa.Engine, *, migrations: Path = MIGRATIONS, timeout: float = MIGRATION_TIMEOUT) -> list[str]:
    """Applies the missing migrations; returns their revisions. Raises as `migrate` does.

    Replicas that start together wait for one another. A newer schema stays as it is if it declares that this version
    may run on it.
    """
    known_revisions = revisions(migrations)
    with engine.connect() as connection:
        try:
            return _upgrade(connection, migrations, known_revisions, timeout)
        except sa.exc.ProgrammingError as error:
            if not isinstance(error.orig, FORBIDDEN):
                raise
            connection.rollback()
            raise may_not_migrate(connection, known_revisions[-1], error.orig) from None


def _upgrade(connection: sa.Connection, migrations: Path, known_revisions: list[str], timeout: float) -> list[str]:
    if not _missing(connection, known_revisions):
        return []
    _prepare(connection)
    with _migration_lock(connection, timeout), telling_waits(connection):
        if missing := _missing(connection, known_revisions):
            from scheduler_svc.schema.alembic_folder import MigrationFolder  # Alembic takes a tenth of a start

            folder = MigrationFolder(migrations)
            for revision in missing:
                _migrate(connection, folder, revision, timeout)
        return missing


def _prepare(connection: sa.Connection) -> None:
    """Makes the session commit durably, and end soon after a kill of this process: else a long statement would hold
    the lock until its end.
    """
    connection.exec_driver_sql(SET_DURABLE)
    connection.commit()
    try:
        connection.exec_driver_sql("SET client_connection_check_interval = '2s'")
        connection.commit()
    except sa.exc.DBAPIError:  # a server whose platform can't tell
        connection.rollback()


def revisions(migrations: Path = MIGRATIONS) -> list[str]:
    """Returns the revisions of a folder, oldest first: the names of their files begin with them."""
    return sorted(path.name.partition("_")[0] for path in (migrations / "versions").glob("[0-9]*.py"))


def _missing(connection: sa.Connection, known_revisions: list[str]) -> list[str]:
    """Returns the revisions to apply. Raises UnsupportedSchema."""
    revision = compatibility.revision(connection)
    declaration = compatibility.declaration(connection)
    connection.commit()
    if revision is None:
        return known_revisions
    compatibility.check_compatible(revision, declaration, known_revisions[-1])
    if revision in known_revisions:
        return known_revisions[known_revisions.index(revision) + 1 :]
    _log.warning("the schema is of a newer version, and supports this one", action="migrate", schema=revision)
    return []


@contextmanager
def _migration_lock(connection: sa.Connection, timeout: float) -> Iterator[None]:
    """Locks out other replicas that migrate. Raises MigrationStuck."""
    deadline = time.monotonic() + timeout
    waits = False
    while not connection.scalar(_TRY_LOCK, {"key": _LOCK_KEY}):
        connection.commit()
        if not waits:
            holder = _holder(connection)
            _log.info("another process migrates; this one waits for it", action="migrate", holder=holder)
            waits = True
        if time.monotonic() > deadline:
            raise MigrationStuck(
                f"another process has migrated this database for {timeout:g} s: {_holder(connection)}. See its log; if"
                " it is gone, end its session with pg_terminate_backend"
            )
        time.sleep(_LOCK_POLL_INTERVAL)
    connection.commit()
    try:
        yield
    finally:
        with suppress(sa.exc.DBAPIError):
            connection.rollback()
            connection.exec_driver_sql("RESET lock_timeout; RESET statement_timeout")
            connection.execute(_UNLOCK, {"key": _LOCK_KEY})
            connection.commit()


def _holder(connection: sa.Connection) -> str:
    """Returns who migrates, such as `session 42 (contentgen-migrate), connected since 2030-01-31 08:00:00+0000`."""
    row = connection.execute(_HOLDER, {"key": _LOCK_KEY}).one_or_none()
    connection.commit()
    if row is None:
        return "a session that has just ended"
    pid, application, since = row
    remark = f"connected since {since:%Y-%m-%d %H:%M:%S%z}" if since else "which our role may not see"
    return f"session {pid} ({application or 'no name'}), {remark}"


def _migrate(connection: sa.Connection, folder: MigrationFolder, revision: str, timeout: float) -> None:
    """Applies one migration, and retries it while it can't get its locks. Raises MigrationStuck."""
    deadline = time.monotonic() + timeout
    pause, longest = _RETRY_PAUSES
    while True:
        try:
            limit_waits(connection)
            connection.commit()
            folder.apply(connection, revision)
        except sa.exc.DBAPIError as error:
            connection.rollback()
            if not isinstance(error.orig, _TRANSIENT):
                raise
            _log_retry(connection, revision, error.orig, deadline)
        else:
            return
        time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        pause = min(pause * 2, longest)


def _log_retry(connection: sa.Connection, revision: str, error: Exception, deadline: float) -> None:
    """Raises MigrationStuck after the deadline."""
    message = str(error).strip().partition("\n")[0]
    oldest = connection.execute(_OLDEST_TRANSACTION).one_or_none()
    connection.commit()
    oldest_text = f"process {oldest[0]} ({oldest[1] or 'no name'}), for {oldest[2]} s" if oldest else "none"
    if time.monotonic() > deadline:
        raise MigrationStuck(
            f"the database could not be migrated to schema {revision} ({message}); the longest other transaction:"
            f" {oldest_text}. Start again: it resumes from where it is"
        ) from None
    _log.warning(
        "the migration could not get its locks; it is retried",
        action="migrate",
        schema=revision,
        error=message,
        oldest_transaction=oldest_text,
    )
