"""Troubles of a database: locks of others, frozen sessions, a failed restart, later migrations."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import psutil
import psycopg2
import sqlalchemy as sa

from scheduler_svc.postgres import EmbeddedPostgres
from scheduler_svc.postgres.folders import ServerStatus
from scheduler_svc.schema.migrate import MIGRATIONS, revisions
from tests.harness import processes
from tests.harness.processes import freeze, process_of, thaw
from tests.harness.waiting import wait_until

# Locks that another session holds: a person at a prompt, a backup, a report that was left open.


APPLICATION = "another session"


@contextmanager
def foreign_lock(url: str, sql: str, **parameters: object) -> Iterator[int]:
    """Holds what `sql` locks within the block; yields the process id of the holding session."""
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"application_name": APPLICATION})
    with engine.connect() as connection:
        pid: int = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        connection.execute(sa.text(sql), parameters)
        yield pid


def locked_rows(url: str, table: str, where: str = "true", **parameters: object) -> AbstractContextManager[int]:
    return foreign_lock(url, f"SELECT FROM {table} WHERE {where} FOR UPDATE", **parameters)


def locked_table(url: str, table: str) -> AbstractContextManager[int]:
    """Locks a whole table, for readers too."""
    return foreign_lock(url, f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")


# A database that is altered, and so takes no connection or has other settings.


@contextmanager
def altered(cluster: EmbeddedPostgres, db_url: str, change: str, back: str) -> Iterator[None]:
    """The database is altered, and has no connection from before; at the end it is altered back."""
    name = sa.make_url(db_url).database
    admin = psycopg2.connect(cluster.dsn("postgres"))
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} {change}")
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        try:
            yield
        finally:
            cursor.execute(f"ALTER DATABASE {name} {back}")
            admin.close()


def away(cluster: EmbeddedPostgres, db_url: str) -> AbstractContextManager[None]:
    """The database takes no connection and has none."""
    return altered(cluster, db_url, "ALLOW_CONNECTIONS false", "ALLOW_CONNECTIONS true")


# A database that takes connections and does not answer on existing ones, as with a frozen disk or host.


_OURS = sa.text(
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'contentgen'"
)


@contextmanager
def frozen_backends(engine: sa.Engine) -> Iterator[None]:
    """Freezes the schedulers' sessions in this database within the block; `engine` is another's."""
    with engine.connect() as connection:
        pids = list(connection.scalars(_OURS))
    assert pids, "schedulers are connected"
    backends = [process for pid in pids if (process := process_of(pid))]
    try:
        freeze(backends)
        yield
    finally:
        thaw(backends)


# A PostgreSQL that stalls because its restart after a crash fails, as with a full disk.
#
# The crash and all that follows are PostgreSQL's own.  Only the reason is not a full disk, which does it now and
# then: it is a WAL folder that is away for a moment, which does it each time.


_WITHIN = 15.0


def fail_restart(data: Path) -> None:
    """Fails the restart of the running server with this cluster; the cluster itself is intact afterwards."""
    wal, away = data / "pg_wal", data / "pg_wal.away"
    failures = _failures(data)
    wal.rename(away)
    checkpointer(data).kill()
    wait_until(lambda: _failures(data) > failures, within=_WITHIN, what="the restart fails for want of its WAL")
    wait_until(lambda: not children(data, "startup"), within=_WITHIN, what="nothing recovers any more")
    away.rename(wal)


def checkpointer(data: Path) -> psutil.Process:
    """Returns the server's checkpointer; waits for it."""
    [process] = wait_until(lambda: children(data, "checkpointer"), within=_WITHIN, what="there is a checkpointer")
    return process


def children(data: Path, title: str) -> list[psutil.Process]:
    """Returns the server's processes with that title; none if it does not run, whatever a killed one left."""
    status = ServerStatus.read(data)
    below = processes.children(status.pid) if status else []
    return [child for child in below if f": {title}" in title_of(child)]


def title_of(process: psutil.Process) -> str:
    """Returns what a process of PostgreSQL says that it does; empty where it is gone."""
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def _failures(data: Path) -> int:
    return (data.parent / "postgres.log").read_text().count('FATAL:  required WAL directory "pg_wal" does not exist')


# Migrations of later versions: this version's folder with more files.


NEWEST = revisions()[-1]
"""The newest revision of this version."""
_FILE = """\
from alembic import op
from scheduler_svc.schema.migrations.online import build_index, widen_check

revision = "{revision}"
down_revision = "{before}"
oldest_code = "{oldest_code}"


def upgrade() -> None:
    {body}
"""


def execute(sql: str) -> str:
    """Returns the body of a migration that runs some SQL."""
    return f"op.execute({sql!r})"


class LaterMigrations:
    """This version's migrations, copied into `folder`, and those that are added to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "migrations"
        shutil.copytree(MIGRATIONS, self.folder, ignore=shutil.ignore_patterns("__pycache__"))
        self._newest = NEWEST

    def add(self, revision: str, body: str, *, oldest_code: str = NEWEST) -> None:
        text = _FILE.format(revision=revision, before=self._newest, oldest_code=oldest_code, body=body)
        (self.folder / "versions" / f"{revision}_later.py").write_text(text)
        self._newest = revision
