"""Tells what a migration waits for: a synchronous standby that is away, or a transaction."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import psycopg2
import sqlalchemy as sa
import structlog

from scheduler_svc.database.connections import connect
from scheduler_svc.database.statements import driver_sql

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
