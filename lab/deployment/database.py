"""A PostgreSQL that is durable, reached through a wire or its own socket, and killed in every way."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import psycopg2
from psycopg2 import extensions

from scheduler_svc.postgres import EmbeddedPostgres, PostgresError
from scheduler_svc.postgres.cluster import SUPERUSER
from scheduler_svc.postgres.folders import SOCKET_NAME, socket_folder
from scheduler_svc.postgres.programs import server_user_for
from tests.harness.cluster import rows_of
from tests.harness.processes import children, freeze, process_of, signal_all, thaw

_SETTINGS = (
    "min_wal_size=32MB",
    "max_wal_size=128MB",  # a restart after a kill has at most that to go through, and the disk is small
    "checkpoint_timeout=60s",
    "shared_buffers=64MB",
    "restart_after_crash=on",
)
_SCHEDULERS = "FROM pg_stat_activity WHERE application_name = 'contentgen'"


class Database:
    def __init__(self, root: Path, name: str, max_connections: int) -> None:
        self.name = name
        self.exit_status = None
        self.stood_still = 0
        """How often it had to be ended since it stood still."""
        self.socket = socket_folder(root.resolve(), server_user_for(root / "data")) / SOCKET_NAME
        self._server = EmbeddedPostgres(root, settings=(f"max_connections={max_connections}", *_SETTINGS))
        self._max_connections = max_connections
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Past all wires."""
        return self._server.url()

    @property
    def dsn(self) -> str:
        return self._server.dsn()

    @property
    def alive(self) -> bool:
        return self._server.alive()

    @property
    def pid(self) -> int | None:
        """The postmaster's; of one that has ended, its last."""
        return self._server.pid

    def url_at(self, port: int) -> str:
        return f"postgresql+psycopg2://{SUPERUSER}@127.0.0.1:{port}/contentgen"

    def start(self) -> None:
        """Raises PostgresError."""
        with self._lock:
            self._server.start(share=False)

    def stop(self) -> None:
        """Ends it in order, frozen or not; its log stays beside its folder, which may be a disk that goes."""
        self.thaw()
        with self._lock:
            self._server.stop()
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(self._server.log, self._server.root.with_suffix(".log"))

    def launch(self) -> None:
        """Brings it back if it has gone, where there is space to come back with, as a scheduler of its own would.

        One that stands still is known after ten seconds of calls. Takes as long as the recovery.
        """
        with self._lock, contextlib.suppress(PostgresError):
            if self._server.stands_still():
                self.stood_still += 1
                self._server.quit()
            self._server.restart(30.0)

    def connect(self, name: str = "chaos", **options: Any) -> extensions.connection:
        """Connects past all wires; each statement commits by itself. Raises psycopg2.OperationalError."""
        connection: extensions.connection = psycopg2.connect(
            self.dsn, connect_timeout=3, application_name=name, **options
        )
        connection.autocommit = True
        return connection

    def rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Returns those of a statement in a session of its own. Raises psycopg2.Error."""
        with contextlib.closing(self.connect()) as connection:
            return rows_of(connection, statement, *parameters)

    def processes(self) -> list[psutil.Process]:
        postmaster = process_of(self.pid) if self.pid is not None else None
        return [] if postmaster is None else [postmaster, *children(postmaster.pid, recursive=True)]

    def signal(self, number: signal.Signals) -> None:
        signal_all(self.processes(), number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def freeze(self) -> None:
        freeze(self.processes())

    def thaw(self) -> None:
        thaw(self.processes())

    def terminate_backends(self, chance: random.Random) -> None:
        """Ends one in three of the schedulers' connections, or all of them. Raises psycopg2.Error."""
        share = chance.choice((0.34, 1.0))
        pids = [pid for (pid,) in self.rows(f"SELECT pid {_SCHEDULERS} ORDER BY pid") if chance.random() < share]
        self.rows("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", pids)

    def hold_connections(self, rounds: int = 3) -> list[extensions.connection]:
        """Returns all connections that there are, the schedulers' too, which are ended for it. Raises psycopg2.Error.

        The schedulers are as quick to connect again: more rounds leave them less.
        """
        connections: list[extensions.connection] = []
        for _ in range(rounds):
            with contextlib.suppress(psycopg2.OperationalError):
                while len(connections) < self._max_connections:
                    connections.append(self.connect())
            if connections:
                rows_of(connections[0], f"SELECT pg_terminate_backend(pid) {_SCHEDULERS}")
        return connections

    def lock(self, statements: Iterable[str], database: str) -> extensions.connection:
        """Returns another session, whose transaction holds what these statements lock. Raises psycopg2.Error."""
        connection = self.connect("another session", dbname=database)
        try:
            for statement in ("BEGIN", "SET LOCAL lock_timeout = '2s'", *statements):
                rows_of(connection, statement)
        except psycopg2.Error:
            connection.close()
            raise
        return connection

    def want_space(self) -> None:
        """Begins new WAL segments until there is no space for one, which is a PANIC. Raises psycopg2.Error then."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            for _ in range(16):  # more than `max_wal_size` lets be kept ready
                cursor.execute("SELECT pg_logical_emit_message(false, 'chaos', ''), pg_switch_wal()")
