"""Processes of servers that another process started, that outlived it, or that never accept connections again."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2

from scheduler_svc.postgres.folders import ServerStatus, read_holder

PROC = Path("/proc")


def is_alive(pid: int) -> bool:
    """Returns whether the process runs.  A zombie does not: it stays for ever if PID 1 reaps nothing."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    with contextlib.suppress(OSError, IndexError):
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def is_postmaster(pid: int, cluster_name: str) -> bool:
    """Returns whether that process is the cluster's postmaster, and no other one with a reused id.  False off Linux."""
    with contextlib.suppress(OSError):
        return f"cluster_name={cluster_name}" in _title(pid).split("\0")
    return False


def titles(cluster_name: str) -> dict[int, str]:
    """Returns the titles of a running cluster's processes by id, without the postmaster.  Empty off Linux."""
    prefix = _prefix(cluster_name)
    title_by_pid = {}
    for pid in _pids():
        with contextlib.suppress(OSError):
            if (title := _title(pid)).startswith(prefix):
                title_by_pid[pid] = title.removeprefix(prefix).strip(" \0")
    return title_by_pid


def end_orphans(cluster_name: str) -> None:
    """Kills the backends that a dead postmaster left behind; one that computes would not notice for long.

    Only for a cluster whose postmaster is dead: what they had not committed is lost already.  Linux; elsewhere they end
    by themselves at their next wait.
    """
    for pid in _pids():
        with contextlib.suppress(OSError):
            fd = os.pidfd_open(pid)  # before the look at its name, so that a reused id is never signalled
            try:
                if _title(pid).startswith(_prefix(cluster_name)):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
            finally:
                os.close(fd)


def _prefix(cluster_name: str) -> str:
    return f"postgres: {cluster_name}: "


def _pids() -> Iterator[int]:
    if PROC.is_dir():
        yield from (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def _title(pid: int) -> str:
    return (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace")


# A server whose owner has died, and that does not end. The kernel signals it when its owner dies (`launch.py`). One
# that is stuck may ignore that and would keep its folder for ever, unless a process that uses the folder or shares
# the server ends it.


ORPHAN_TIMEOUT = 20.0
"""Seconds that it has to shut down, as under a living owner."""
_QUIT_TIMEOUT = 10.0


class OrphanWatch:
    """Watches a server that another process started on a folder."""

    def __init__(self, data: Path, lock: Path) -> None:
        self._data = data
        self._lock = lock
        self._seen: int | None = None
        self._since = 0.0

    def is_orphaned(self) -> bool:
        """Returns whether it has had no owner for `ORPHAN_TIMEOUT` seconds.  Linux only; call it repeatedly."""
        pid = self._orphan()
        if pid is None or pid != self._seen:
            self._seen, self._since = pid, time.monotonic()
        return pid is not None and time.monotonic() - self._since >= ORPHAN_TIMEOUT

    def quit(self) -> None:
        """Ends an orphan as a crash would; a frozen one ends when it continues."""
        if (pid := self._orphan()) is None:
            return
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            if self._orphan() == pid:  # now that its number can't become another's
                signal.pidfd_send_signal(fd, signal.SIGQUIT)
                end = select.poll()
                end.register(fd, select.POLLIN)
                end.poll(_QUIT_TIMEOUT * 1000)
        except ProcessLookupError:
            pass
        finally:
            os.close(fd)

    def _orphan(self) -> int | None:
        """Returns the postmaster's process id."""
        status, holder = ServerStatus.read(self._data), read_holder(self._lock)
        if status is None or holder is None or is_alive(holder.pid):
            return None
        return status.pid if is_postmaster(status.pid, holder.cluster_name) else None


# A server that runs but will never accept connections again. PostgreSQL 18.6 gets into that state if its restart
# after a crash fails at once, usually on a full disk: the postmaster has not noted yet that the recovery began, takes
# the end of the startup process for a consequence of the crash, and waits for a process that does not exist. It
# listens and refuses every connection until it is ended.


STANDSTILL_TIMEOUT = 10.0
"""Seconds; a postmaster kills its children after 5, and restarts then."""
_CONNECT_TIMEOUT = 2
_MOVING = ("startup", "walwriter")
"""The process that recovers, and one that there is as soon as that is done."""
_REFUSALS = tuple(
    f"the database system is {state}" for state in ("in recovery mode", "not yet accepting connections", "starting up")
)
"""As the settings have it: `lc_messages=C`.  One that is full, shuts down or answers nothing says something else."""


class Standstill:
    def __init__(self, data: Path, dsn: str, cluster_name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._data = data
        self._dsn = dsn
        self._cluster_name = cluster_name
        self._clock = clock
        self._life: int | None = None
        self._since = 0.0

    def is_stuck(self) -> bool:
        """Returns whether it refused all connections for `STANDSTILL_TIMEOUT` seconds, with no process to change that.

        Connects (for 2 s at most) only if its processes look stuck.  Call it repeatedly.
        """
        life = self._standing_life()
        if life is None or life != self._life:
            self._life, self._since = life, self._clock()
        return life is not None and self._clock() - self._since >= STANDSTILL_TIMEOUT

    def looks_stuck(self) -> bool:
        """Returns whether it looks stuck now, as it does for a moment in each restart."""
        return self._standing_life() is not None

    def _standing_life(self) -> int | None:
        """Returns which restart of the server this is, by its checkpointer; None if it does not stand still.

        Each restart begins with the startup process, so a life that is seen without one has none to come.
        """
        status = ServerStatus.read(self._data)
        if status is None or status.stopping:
            return None
        roles = titles(self._cluster_name)
        if any(title.startswith(_MOVING) for title in roles.values()):
            return None
        life = next((pid for pid, title in roles.items() if title.startswith("checkpointer")), None)
        return life if life is not None and self._refuses() else None

    def _refuses(self) -> bool:
        try:
            psycopg2.connect(self._dsn, connect_timeout=_CONNECT_TIMEOUT).close()
        except psycopg2.OperationalError as error:
            return any(refusal in str(error) for refusal in _REFUSALS)
        return False
