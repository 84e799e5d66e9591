"""`backup` and `restore` on servers that the installed package's programs are not made for: an older one, over TLS."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import sqlalchemy as sa

from scheduler_svc.admin.backups.programs import Programs
from scheduler_svc.config import Settings
from scheduler_svc.postgres import PostgresError, find_bindir
from scheduler_svc.schema.migrate import migrate
from tests.harness.ports import free_port
from tests.harness.process import installed, run_to_end
from tests.harness.tcp_server import TcpServer, running

PROGRAM = installed("contentgen-scheduler")
WITHIN = 120.0
WHEEL = find_bindir()
INSTALLED = sorted(path.parent for path in Path("/usr/lib/postgresql").glob("1[5-8]/bin/postgres"))
"""Servers of Debian, each of its own version; its programs can speak TLS."""

needs_server = pytest.mark.skipif(not INSTALLED, reason="no server of Debian's is installed (postgresql-15)")


class Site:
    """A server that asks for TLS, and a database of a scheduler on it."""

    def __init__(self, server: TcpServer, folder: Path) -> None:
        self.file = folder / "it.backup"
        self._server = server
        self.sql("postgres", "CREATE DATABASE contentgen")
        migrate(self.url("require"))
        self.sql(
            "contentgen", "INSERT INTO accounts (name, max_concurrent_tasks, weight) VALUES (E'a\\t\\n\\\\.', 0, 0.1)"
        )

    def url(self, sslmode: str, database: str = "contentgen") -> str:
        return self._server.url(database, sslmode=sslmode, sslrootcert=str(self._server.ca))

    def sql(self, database: str, statement: str) -> list[tuple[object, ...]]:
        engine = sa.create_engine(self.url("require", database), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            result = connection.exec_driver_sql(statement)
            return [tuple(row) for row in result] if result.returns_rows else []

    def rows(self) -> int:
        """How many rows all tables have."""
        tables = self.sql("contentgen", "SELECT relname FROM pg_stat_user_tables")
        return sum(cast("int", self.sql("contentgen", f"SELECT count(*) FROM {table}")[0][0]) for (table,) in tables)

    def run(self, *arguments: object, sslmode: str, bindir: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {"DATABASE_URL": self.url(sslmode), "PATH": os.environ["PATH"]}
        environment |= {"CONTENTGEN_PG_BINDIR": str(bindir)} if bindir else {}
        return run_to_end([PROGRAM, *arguments], environment, within=WITHIN)


@pytest.fixture(params=INSTALLED, ids=lambda bindir: bindir.parent.name)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with running(free_port(), request.param, tls=True) as server:
        yield Site(server, tmp_path)


@needs_server
@pytest.mark.release("backups are restored into servers of old versions")
@pytest.mark.parametrize(("sslmode", "bindir"), [("verify-full", None), ("verify-full", WHEEL), ("disable", WHEEL)])
def test_each_version_is_backed_up_verified_and_restored(site: Site, sslmode: str, bindir: Path | None) -> None:
    """By its own programs and by newer ones, over TLS and without: what each writes can be restored into it."""
    backup = site.run("backup", "--verify", site.file, sslmode=sslmode, bindir=bindir)
    assert backup.returncode == 0, backup.stderr
    assert f"verified: restored elsewhere, and all of its {site.rows()} rows are equal" in backup.stdout
    site.sql("contentgen", "UPDATE accounts SET name = 'later'")
    restored = site.run("restore", "--replace", site.file, sslmode=sslmode, bindir=bindir)
    assert restored.returncode == 0, restored.stderr
    assert site.sql("contentgen", "SELECT name FROM accounts") == [("a\t\n\\.",)]


@needs_server
def test_a_backup_never_falls_back_to_plaintext(site: Site, tmp_path: Path) -> None:
    """`prefer` would fall back to plaintext by itself, where the program can't do better."""
    deaf = tmp_path / "bin"  # not beside its libraries: the driver's can't take their place
    deaf.mkdir()
    program = deaf / "pg_dump"
    program.write_text(f'#!/bin/sh\nexec {WHEEL}/pg_dump "$@"\n')
    program.chmod(0o755)
    refused = site.run("backup", site.file, sslmode="prefer", bindir=deaf)
    assert refused.returncode == 78
    assert f"over TLS ({program} can't speak TLS): install PostgreSQL's client programs" in refused.stderr
    assert not site.file.exists()


def test_programs_that_are_too_old_are_named() -> None:
    too_old = rf"no pg_dump for PostgreSQL 99 \({WHEEL}/pg_dump is of version \d+\)"
    with pytest.raises(PostgresError, match=too_old), Programs(Settings(pg_bindir=WHEEL)).fitting("pg_dump", 99):
        pass
    with pytest.raises(PostgresError, match=r"no programs of a server of PostgreSQL 99 or newer"):
        Programs(Settings()).server(99)
