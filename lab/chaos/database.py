"""The campaign's PostgreSQL: durable, reached through a wire or its own socket, and killed in every way.

Beside `wires`, below `fleet`.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import threading
from collections.abc import Iterable
from pathlib import Path

import psutil
import psycopg2
from psycopg2 import extensions

from scheduler_svc.postgres import EmbeddedPostgres, PostgresError
from scheduler_svc.postgres.cluster import SUPERUSER
from scheduler_svc.postgres.folders import SOCKET_NAME, socket_folder
from scheduler_svc.postgres.programs import server_user_for
from tests.harness.processes import process_of

MAX_CONNECTIONS = 70
"""Two schedulers need about 50 of them."""
_SETTINGS = (
    "min_wal_size=32MB",
    "max_wal_size=128MB",  # a restart after a kill has at most that to go through, and the disk is small
    "checkpoint_timeout=60s",
    "shared_buffers=64MB",
    "restart_after_crash=on",
)
_SEGMENTS = 16
"""More than `max_wal_size` lets be kept ready."""
_CONNECT_LIMIT = 3
_RESTART_LIMIT = 30.0


class Database:
    """One server, which is started again whenever it has gone."""

    def __init__(self, root: Path, max_connections: int = MAX_CONNECTIONS) -> None:
        self._server = EmbeddedPostgres(root, settings=(f"max_connections={max_connections}", *_SETTINGS))
        self._max_connections = max_connections
        self.stood_still = 0
        """How often it had to be ended since it stood still."""
        self._lock = threading.Lock()
        self.socket = socket_folder(root.resolve(), server_user_for(root / "data")) / SOCKET_NAME

    @property
    def url(self) -> str:
        """Past all wires."""
        return self._server.url()

    @property
    def dsn(self) -> str:
        """The same for libpq."""
        return self._server.dsn()

    @property
    def alive(self) -> bool:
        return self._server.alive()

    @property
    def pid(self) -> int | None:
        """The postmaster's; of one that has ended, its last."""
        return self._server.pid

    @property
    def socket_folder(self) -> Path:
        return self.socket.parent

    def url_at(self, port: int) -> str:
        """By TCP, through a wire."""
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

    def restart_if_gone(self) -> None:
        """Brings it back, where there is space to come back with; as a scheduler would that had started it.

        One that stands still is known after ten seconds of calls.
        """
        with self._lock, contextlib.suppress(PostgresError):
            if self._server.stands_still():
                self.stood_still += 1
                self._server.quit()
            self._server.restart(_RESTART_LIMIT)

    def connect(self) -> extensions.connection:
        """Past all wires. Raises psycopg2.OperationalError."""
        connection = psycopg2.connect(self._server.dsn(), connect_timeout=_CONNECT_LIMIT, application_name="chaos")
        connection.autocommit = True
        return connection

    def processes(self) -> list[psutil.Process]:
        """Returns the postmaster, then all that it has started."""
        pid = self._server.pid
        postmaster = process_of(pid) if pid is not None else None
        if postmaster is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            return [postmaster, *postmaster.children(recursive=True)]
        return [postmaster]

    def freeze(self, *, tree: bool) -> int:
        """SIGSTOP to the postmaster, or to all."""
        return signal_all(self.processes()[: None if tree else 1], signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT to all."""
        signal_all(self.processes(), signal.SIGCONT)

    def terminate_backends(self, chance: random.Random) -> int:
        """Ends one in three of the schedulers' connections, or all of them; how many. Raises psycopg2.Error."""
        share = chance.choice((0.34, 1.0))
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'contentgen' ORDER BY pid")
            pids = [pid for (pid,) in cursor.fetchall() if chance.random() < share]
            cursor.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", (pids,))
            return len(pids)

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
                self._end_schedulers(connections[0])
        return connections

    def lock(self, statements: Iterable[str], database: str) -> extensions.connection:
        """Returns another session, whose transaction holds what these statements lock. Raises psycopg2.Error."""
        connection = psycopg2.connect(
            self._server.dsn(), dbname=database, connect_timeout=_CONNECT_LIMIT, application_name="another session"
        )
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '2s'")
                for statement in statements:
                    cursor.execute(statement)
        except psycopg2.Error:
            connection.close()
            raise
        return connection

    def want_space(self) -> None:
        """Begins new WAL segments until there is no space for one, which is a PANIC. Raises psycopg2.Error then."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            for _ in range(_SEGMENTS):
                cursor.execute("SELECT pg_logical_emit_message(false, 'chaos', ''), pg_switch_wal()")

    def _end_schedulers(self, connection: extensions.connection) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'contentgen'"
            )


def title_of(process: psutil.Process) -> str:
    """Returns what a process of PostgreSQL says that it does; empty where it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def signal_all(processes: Iterable[psutil.Process], number: signal.Signals) -> int:
    """Sends a signal to each that still lives; to how many."""
    count = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
            count += 1
    return count
