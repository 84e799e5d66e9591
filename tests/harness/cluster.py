"""A throw-away PostgreSQL for tests: one server a pytest process, one database a test; and one that they share."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import sqlalchemy as sa
from psycopg2 import sql

from scheduler_svc.database.connections import connect
from scheduler_svc.postgres import EmbeddedPostgres
from scheduler_svc.transactions import make_engine
from tests.harness.waiting import wait_until_gone

_PREFIX = "contentgen-test-"
_MIN_FREE_BYTES = 1 << 30
_SESSIONS_OF = """
    SELECT pid, application_name, query FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'
"""


@contextmanager
def server_folder() -> Iterator[Path]:
    """Yields an empty folder for a server, in memory if there is space.

    Not under `tmp_path`: its parents are 0700, and when root runs the tests another user runs the server.
    """
    base = Path("/dev/shm")
    if not base.is_dir() or shutil.disk_usage(base).free < _MIN_FREE_BYTES:
        base = Path(tempfile.gettempdir())
    _remove_folders_of_killed_runs(base)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=base))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _remove_folders_of_killed_runs(base: Path) -> None:
    for folder in base.glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def copy_cluster(folder: Path, to: Path) -> None:
    """Copies the folder of a server that does not run, with its owners; `to` may be there, and empty."""
    subprocess.run(["cp", "-a", f"{folder}/.", to], check=True)


def rows_of(
    connection: psycopg2.extensions.connection, statement: str | sql.Composable, *parameters: object
) -> list[tuple[Any, ...]]:
    """Returns the rows of a statement, if it has any."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []


class Databases:
    """Databases on `server`, each of its own name and dropped one test late.

    A backend that is just ending would cost DROP DATABASE a sleep of 100 ms.
    """

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self._numbers = itertools.count()
        self._done: list[str] = []
        self._admin: psycopg2.extensions.connection = psycopg2.connect(server.dsn("postgres"))
        self._admin.autocommit = True

    def create(self, template: str = "template0") -> str:
        """Returns the name of a new copy of `template`."""
        name = f"test_{next(self._numbers)}"
        rows_of(self._admin, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return name

    def url(self, name: str) -> str:
        return self._server.url(name)

    @contextmanager
    def lent(self, template: str = "template0") -> Iterator[str]:
        """Yields the URL of a new copy of `template`, for a test that has to close each of its connections."""
        name = self.create(template)
        try:
            yield self.url(name)
            wait_until_gone(
                lambda: rows_of(self._admin, _SESSIONS_OF, name), within=30, what="the test's connections are closed"
            )
        finally:
            while self._done:
                rows_of(self._admin, f"DROP DATABASE {self._done.pop()} WITH (FORCE)")
            self._done.append(name)

    def close(self) -> None:
        self._admin.close()


@contextmanager
def throwaway_server() -> Iterator[EmbeddedPostgres]:
    """Yields a server without durability; it ends, and its folder is removed, with the block."""
    with server_folder() as folder, EmbeddedPostgres(folder, throwaway=True) as server:
        yield server


# A migrated database that tests use one after the other: each finds it as the migrations have left it.


_GRACE_S = 30.0
_MAX_GROWTH = 4 << 20
"""Bytes. Deleted rows stay in the tables' files, and a test should not have to read past many of them."""
_CATALOGS = {
    "pg_class": "oid",
    "pg_attribute": "attrelid",
    "pg_attrdef": "adrelid",
    "pg_constraint": "oid",
    "pg_proc": "oid",
    "pg_trigger": "oid",
    "pg_namespace": "oid",
}
_SCHEMA = " UNION ALL ".join(
    f"SELECT '{catalog}', count(*), max(CAST(CAST(xmin AS text) AS bigint)) FROM {catalog} WHERE {key} >= 16384"
    for catalog, key in _CATALOGS.items()
)
"""Differs after a change of the schema, of the planner's statistics or of the database's own settings."""
_SCHEMA += """
    UNION ALL SELECT 'analyzed', count(*), 0 FROM pg_statistic WHERE starelid >= 16384
    UNION ALL SELECT 'vacuumed', sum(relpages + reltuples), 0 FROM pg_class WHERE oid >= 16384
    UNION ALL SELECT 'settings', count(*), max(CAST(CAST(xmin AS text) AS bigint)) FROM pg_db_role_setting
    UNION ALL SELECT 'database', 1, CAST(CAST(xmin AS text) AS bigint) FROM pg_database
        WHERE datname = current_database()
"""
_TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = CAST('public' AS regnamespace)"
_SIZE = f"SELECT sum(pg_relation_size(oid)) FROM pg_class WHERE oid IN ({_TABLES.replace('relname', 'oid', 1)})"
_SEQUENCES = "SELECT sequencename, start_value, last_value FROM pg_sequences WHERE cache_size = 1"
"""But for those of which sessions keep numbers."""


class SharedDatabase:
    """`engine` is for all tests, too: its sessions have planned their statements already."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = make_engine(url, 8, hot=True)
        self._admin = connect(sa.make_url(url))
        self._rows = partial(rows_of, self._admin)
        self._kept = [self._admin.info.backend_pid]
        sa.event.listen(self.engine, "connect", lambda connection, _: self._kept.append(connection.info.backend_pid))
        self._schema, self._size = self._rows(_SCHEMA), self._now_large()
        self._restore = self._restoring()
        self._rows("SET session_replication_role = replica")  # foreign keys do not prescribe the order

    def close(self) -> None:
        self.engine.dispose()
        self._admin.close()

    def restored(self) -> bool:
        """Deletes what a test has made, once all is closed that it had from here.

        False: it has changed more than rows, or too many of them, or ended the sessions that are kept.
        """
        pool: Any = self.engine.pool
        try:
            wait_until_gone(self._sessions, within=_GRACE_S, what="the test's connections are closed")
            wait_until_gone(pool.checkedout, within=_GRACE_S, what="the test's connections are returned")
            if self._rows(_SCHEMA) != self._schema or self._now_large() - self._size > _MAX_GROWTH:
                return False
            self._rows(self._restore)
        except psycopg2.Error:
            return False
        return True

    def _sessions(self) -> list[tuple[Any, ...]]:
        """Returns those that are not kept."""
        return self._rows(f"{_SESSIONS_OF} AND pid <> ALL(%s)", self._admin.info.dbname, self._kept)

    def _restoring(self) -> str:
        """Returns the statements that make all rows and sequences those that there are now."""
        parts: list[sql.Composable] = [sql.SQL("BEGIN")]
        for (table,) in self._rows(_TABLES):
            name = sql.Identifier(table)
            parts.append(sql.SQL("DELETE FROM {}").format(name))
            ((rows,),) = self._rows(sql.SQL("SELECT json_agg(t) FROM {} AS t").format(name))
            if rows:
                insert = "INSERT INTO {0} SELECT * FROM json_populate_recordset(CAST(NULL AS {0}), {1})"
                parts.append(sql.SQL(insert).format(name, sql.Literal(json.dumps(rows))))
        for sequence, start, last in self._rows(_SEQUENCES):
            values = sql.Literal(sequence), sql.Literal(last or start), sql.Literal(last is not None)
            parts.append(sql.SQL("SELECT setval({}, {}, {})").format(*values))
        return sql.SQL("; ").join([*parts, sql.SQL("COMMIT")]).as_string(self._admin)

    def _now_large(self) -> int:
        ((size,),) = self._rows(_SIZE)
        return int(size)


class SharedDatabases:
    """Copies of `template`, one after the other: a new one where a test has changed more than rows."""

    def __init__(self, databases: Databases, template: str) -> None:
        self._databases, self._template = databases, template
        self._held = ExitStack()
        self._free: SharedDatabase | None = None

    @contextmanager
    def lent(self) -> Iterator[SharedDatabase]:
        """Lends one for a test that has to close each of its connections."""
        if self._free is None:
            self._free = SharedDatabase(self._held.enter_context(self._databases.lent(self._template)))
            self._held.callback(self._free.close)
        database, self._free = self._free, None
        try:
            yield database
            if database.restored():
                self._free = database
        finally:
            if self._free is None:
                self.close()

    def close(self) -> None:
        self._held.close()
