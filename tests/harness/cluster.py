"""A throw-away PostgreSQL for tests: one server a pytest process, one database a test."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg2

from scheduler_svc.postgres import EmbeddedPostgres
from tests.harness.waiting import wait_until_gone

_PREFIX = "contentgen-test-"
_MIN_FREE_BYTES = 1 << 30


@contextmanager
def server_folder() -> Iterator[Path]:
    """An empty folder for a server, in memory if there is space.

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
        """The name of a new copy of `template`."""
        name = f"test_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return name

    def url(self, name: str) -> str:
        return self._server.url(name)

    @contextmanager
    def lent(self, template: str = "template0") -> Iterator[str]:
        """The URL of a new copy of `template`, for a test that has to close each of its connections."""
        name = self.create(template)
        try:
            yield self.url(name)
            wait_until_gone(lambda: self._sessions(name), within=30, what="the test's connections are closed")
        finally:
            self._drop_done()
            self._done.append(name)

    def close(self) -> None:
        self._admin.close()

    def _drop_done(self) -> None:
        while self._done:
            self._execute(f"DROP DATABASE {self._done.pop()} WITH (FORCE)")

    def _sessions(self, database: str) -> list[tuple[int, str, str]]:
        sql = "SELECT pid, application_name, query FROM pg_stat_activity WHERE datname = %s"
        with self._admin.cursor() as cursor:
            cursor.execute(sql + " AND backend_type = 'client backend'", (database,))
            return cursor.fetchall()

    def _execute(self, sql: str) -> None:
        with self._admin.cursor() as cursor:
            cursor.execute(sql)


@contextmanager
def throwaway_server() -> Iterator[EmbeddedPostgres]:
    """A server without durability; it ends, and its folder is removed, with the block."""
    with server_folder() as folder, EmbeddedPostgres(folder, throwaway=True) as server:
        yield server
