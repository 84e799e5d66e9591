"""A scheduler that tests use one after the other: each finds its database empty."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import sqlalchemy as sa
from psycopg2 import errors, extensions

from scheduler_svc.database.connections import connect
from tests.harness.cluster import Databases
from tests.harness.replicas import MAX_QUEUE_SIZE
from tests.harness.stack import Scheduler, running_stack
from tests.harness.waiting import wait_until_gone

_KEPT = ("alembic_version", "asset_store", "count_floor", "reaper", "replicas", "schema_compatibility", "search_index")
"""What a database has after its migration, and the scheduler's own presence."""
_RESTARTED = ("accounts_account_id_seq", "schedules_schedule_id_seq")
"""Of ids that tests know: their first account is 1. Others go on, since the scheduler remembers what it has seen."""
_TABLES = f"SELECT relname FROM pg_stat_user_tables WHERE relname NOT IN {_KEPT} ORDER BY relname"
_GRACE_S = 60.0


class SharedScheduler:
    """A process of its own, so that what it keeps running is not taken for what a test has left."""

    def __init__(self, scheduler: Scheduler, db_url: str, admin: extensions.connection) -> None:
        self.target = scheduler.target
        self.db_url = db_url
        self.assets = scheduler.data_dir / "assets"
        self._admin = admin
        tables = [table for (table,) in self._rows(_TABLES)]
        deletes = [f"DELETE FROM {table}" for table in tables]
        restarts = [f"ALTER SEQUENCE {sequence} RESTART" for sequence in _RESTARTED]
        self._clear = "; ".join(["BEGIN", *deletes, *restarts, "COMMIT"])
        self._run("SET session_replication_role = replica")  # foreign keys do not prescribe the order

    def clear(self) -> None:
        """Deletes what a test has made, once the streams of its workers have ended."""
        connected = "SELECT worker_id FROM workers WHERE connected LIMIT 10"
        wait_until_gone(lambda: self._rows(connected), within=_GRACE_S, what="the test's workers have gone")
        while True:
            try:
                return self._run(self._clear)
            except errors.DeadlockDetected:  # with a loop of the scheduler
                self._run("ROLLBACK")

    def _run(self, sql: str) -> None:
        with self._admin.cursor() as cursor:
            cursor.execute(sql)

    def _rows(self, sql: str) -> list[tuple[str]]:
        with self._admin.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()


@contextmanager
def shared_scheduler(databases: Databases, template: str, **more: str) -> Iterator[SharedScheduler]:
    """One on a copy of `template`, with the settings of a replica within a test's process, and more."""
    settings = {"CONTENTGEN_MAX_QUEUE_SIZE": str(MAX_QUEUE_SIZE), "CONTENTGEN_WEBHOOK_ALLOW": "127.0.0.0/8", **more}
    with (
        databases.lent(template) as url,
        running_stack(url) as stack,
        closing(connect(sa.make_url(url))) as admin,
    ):
        yield SharedScheduler(stack.scheduler(lease_ttl=120, **settings).start(), url, admin)
