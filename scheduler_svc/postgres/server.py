"""Starts, shares, restarts and stops one private PostgreSQL server.  The centre of `scheduler_svc.postgres`."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from urllib.parse import quote

import psycopg2
from psycopg2.extensions import make_dsn

from scheduler_svc.postgres.cluster import (
    DATABASE,
    SUPERUSER,
    check_version,
    ensure_database,
    init_cluster,
    server_settings,
)
from scheduler_svc.postgres.folders import (
    ELSEWHERE,
    SOCKET_NAME,
    FolderHolder,
    FolderLock,
    ServerStatus,
    accepts_connections,
    check_reachable,
    check_space,
    make_private,
    make_root,
    read_holder,
    socket_folder,
    tail_log,
    trim_log,
)
from scheduler_svc.postgres.processes import OrphanWatch, Standstill, end_orphans, is_alive, titles
from scheduler_svc.postgres.programs import (
    Launcher,
    PostgresError,
    find_bindir,
    runnable_bindir,
    server_user_for,
    user_name,
)

_POLL_INTERVAL = 0.005
_LOCK_POLL_INTERVAL = 0.02
_RECOVERY_CHECK_INTERVAL = 5.0
"""Seconds between two checks that a server still recovers; it has as long to get ready afterwards."""
_WAL_SEGMENT_BYTES = 16 << 20
_STOP_STEPS = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
_QUIT_STEPS = ((signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0))
"""The postmaster kills children that ignore it after 5 s."""


class EmbeddedPostgres:
    """A PostgreSQL server on the folder `root`, reached through a private socket only (no TCP).

    The first process to `start` on a folder owns the server: it ends with that process, however that ends.  Others
    share it, and one of them becomes the owner when it calls `restart` after the server has gone.

    `root` holds `data` (the cluster), `postgres.log` and `postgres.lock`.  `settings` are further `name=value` pairs;
    `throwaway` trades durability for speed.  `bindir` has the programs, by default those of `find_bindir`.

    Not safe for concurrent calls.  Any thread may call, but call `start` before gRPC runs: it forks.
    """

    def __init__(
        self, root: Path, *, bindir: Path | None = None, settings: Sequence[str] = (), throwaway: bool = False
    ) -> None:
        self.root = Path(root).resolve()
        self.data = self.root / "data"
        self.log = self.root / "postgres.log"
        self._lock = self.root / "postgres.lock"
        self._bindir = bindir
        self._settings = (*server_settings(throwaway=throwaway), *settings)
        self._throwaway = throwaway
        self._identity = server_user_for(self.data)
        self._launcher = Launcher(self._identity)
        self._process: subprocess.Popen[bytes] | None = None
        self._cluster_name = ""
        self._standstill: Standstill | None = None
        self._orphans = OrphanWatch(self.data, self._lock)
        self._socket_folder = socket_folder(self.root, self._identity)

    @property
    def owner(self) -> bool:
        """Whether the server is a child of this process."""
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """The postmaster's process id; None if there is none."""
        if self._process is not None:
            return self._process.pid
        status = ServerStatus.read(self.data)
        return status.pid if status else None

    def url(self, db: str = DATABASE) -> str:
        return f"postgresql+psycopg2://{SUPERUSER}@/{db}?host={quote(str(self._socket_folder))}"

    def dsn(self, db: str = DATABASE) -> str:
        """Returns the address for libpq, which psycopg2 and pg_dump use."""
        return make_dsn(host=str(self._socket_folder), user=SUPERUSER, dbname=db)

    def start(self, share: bool = True, timeout: float = 60) -> Self:
        """Owns the server of this folder, or with `share` uses the one that runs; makes sure that it has the database.

        Waits for the recovery of a killed server, however long it takes, and for one that is stopping. Raises
        PostgresError if it can't start, or is neither ready nor recovering after `timeout` seconds; it is ended.
        """
        self._start(share, time.monotonic() + timeout)
        return self

    def stop(self) -> None:
        """Ends the server if we own it: fast (INT), then QUIT, then KILL.  Idempotent."""
        if self._process is not None:
            stuck = self._standstill is not None and self._standstill.looks_stuck()
            _end(self._process, _QUIT_STEPS if stuck else _STOP_STEPS)
            end_orphans(self._cluster_name)
            self._process = None
            self._remove_socket_folder()
        self._launcher.close()

    def alive(self) -> bool:
        """Returns whether the server runs; cheap enough for each second."""
        if self._process is not None:
            return self._process.poll() is None
        return accepts_connections(self._socket_folder)

    def stands_still(self) -> bool:
        """Returns whether our server runs but will never accept connections again, as observed for 10 s or more.

        Call it repeatedly while connections fail: it may connect.  Never true for a server that recovers, is frozen,
        full or shutting down, nor for a shared one whose owner lives or died less than 20 s ago.  Linux only.
        """
        if self._process is None:
            return self._orphans.is_orphaned()
        return self._standstill is not None and self._standstill.is_stuck()

    def quit(self) -> None:
        """Ends our server, or one without an owner, as a crash would; what was committed stays."""
        if self._process is None:
            self._orphans.quit()
        else:
            _end(self._process, _QUIT_STEPS)
            end_orphans(self._cluster_name)

    def restart(self, timeout: float = 60) -> None:
        """Restarts a dead server, or uses the one that another process has restarted; raises as `start` does.

        Old connections are lost.
        """
        if not self.alive():
            self._process = None
            self._start(share=True, deadline=time.monotonic() + timeout)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self, share: bool, deadline: float) -> None:
        try:
            self._join_or_own(share, deadline)
        except OSError as error:  # a full disk, most often
            self.stop()
            raise PostgresError(f"can't start PostgreSQL in {self.root}: {error.strerror or error}") from error
        except BaseException:
            self.stop()
            raise

    def _join_or_own(self, share: bool, deadline: float) -> None:
        make_root(self.root)
        with contextlib.closing(self._open_lock()) as lock:
            while not lock.acquire():
                if self._join(read_holder(self._lock), share):
                    return
                if self._orphans.is_orphaned():
                    self._orphans.quit()
                if time.monotonic() > deadline:
                    raise PostgresError(self._in_use(read_holder(self._lock), "and its server does not get ready"))
                time.sleep(_LOCK_POLL_INTERVAL)
            self._own(lock, deadline)

    def _open_lock(self) -> FolderLock:
        try:
            return FolderLock(self._lock)
        except OSError as error:
            raise PostgresError(
                f"can't use the data folder {self.root} of user {user_name(self.root.stat().st_uid)} as user "
                f"{user_name(os.geteuid())}: {error.strerror}. Start as that user, or {ELSEWHERE}"
            ) from error

    def _join(self, holder: FolderHolder | None, share: bool) -> bool:
        """Uses the server of the lock's holder; returns False while it is not ready, or is stopping."""
        status = ServerStatus.read(self.data)
        if holder and status and not is_alive(status.pid):
            end_orphans(holder.cluster_name)
            return False
        if holder and not share and is_alive(holder.pid):
            raise PostgresError(self._in_use(holder, "stop it first"))
        if not (share and status and status.ready and accepts_connections(status.socket_folder)):
            return False
        self._socket_folder = status.socket_folder
        return self._connects()

    def _connects(self) -> bool:
        try:
            ensure_database(self.dsn("postgres"))
        except psycopg2.OperationalError:
            return False
        return True

    def _in_use(self, holder: FolderHolder | None, advice: str) -> str:
        owner = f"process {holder.pid}" if holder else "another process"
        return f"the data folder {self.root} is in use by {owner}, {advice}; or {ELSEWHERE}"

    def _own(self, lock: FolderLock, deadline: float) -> None:
        (self.data / "postmaster.pid").unlink(missing_ok=True)  # of a killed server
        self._cluster_name = f"contentgen-{secrets.token_hex(4)}"
        lock.sign(FolderHolder(os.getpid(), self._cluster_name))  # after the stale pid file went: see _join
        check_reachable(self.root, self._identity)
        bindir = runnable_bindir(self._bindir or find_bindir(), self._identity, self.root)
        if (self.data / "PG_VERSION").exists():
            check_version(self.data, bindir)
        else:
            patience = max(1.0, deadline - time.monotonic())
            durable = not self._throwaway
            init_cluster(
                self.data, bindir, self._identity, self._launcher, lock_fd=lock.fd, timeout=patience, durable=durable
            )
        make_private(self.data, self._identity)
        make_private(self._socket_folder, self._identity)
        self._clear_sockets()
        trim_log(self.log)
        with self.log.open("ab") as log:
            self._process = self._launcher.spawn(self._command(bindir), log, lock.fd)
        self._standstill = Standstill(self.data, self.dsn(), self._cluster_name)
        self._await_ready(self._process, deadline)
        if not self._connects():
            raise self._failure("PostgreSQL is ready and takes no connection")

    def _clear_sockets(self) -> None:
        for left in self._socket_folder.glob(f"{SOCKET_NAME}*"):
            left.unlink(missing_ok=True)

    def _command(self, bindir: Path) -> list[str]:
        private = (
            "listen_addresses=",
            f"unix_socket_directories={self._socket_folder}",
            "unix_socket_permissions=0700",
            f"cluster_name={self._cluster_name}",
        )
        command = [str(bindir / "postgres"), "-D", str(self.data)]
        for setting in (*self._settings, *private):
            command += ["-c", setting]
        return command

    def _await_ready(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        while True:
            status = ServerStatus.read(self.data)
            if status and status.ready and status.pid == process.pid:
                return
            if process.poll() is not None:
                raise self._failure("PostgreSQL ended at once")
            if time.monotonic() > deadline:
                if not self._recovers():
                    raise self._failure("PostgreSQL did not get ready in time")
                deadline = time.monotonic() + _RECOVERY_CHECK_INTERVAL
            time.sleep(_POLL_INTERVAL)

    def _recovers(self) -> bool:
        """Returns whether the server recovers from a crash, which would start again if it were ended now."""
        return any(title.startswith("startup") for title in titles(self._cluster_name).values())

    def _failure(self, problem: str) -> PostgresError:
        check_space(self.root, _WAL_SEGMENT_BYTES)  # a full disk leaves no trace in the log
        return PostgresError(f"{problem} ({self.log}):\n{tail_log(self.log)}")

    def _remove_socket_folder(self) -> None:
        """Removes the socket's folder, unless the next owner uses it already."""
        with contextlib.suppress(OSError), contextlib.closing(FolderLock(self._lock)) as lock:
            if lock.acquire():
                lock.unsign()
                self._clear_sockets()
                self._socket_folder.rmdir()


def _end(process: subprocess.Popen[bytes], steps: Sequence[tuple[signal.Signals, float]]) -> None:
    for stop_signal, patience in steps:
        if process.poll() is not None:
            return
        process.send_signal(stop_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
