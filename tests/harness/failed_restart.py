"""A PostgreSQL that stalls because its restart after a crash fails, as with a full disk.

The crash and all that follows are PostgreSQL's own.  Only the reason is not a full disk, which does it now and then:
it is a WAL folder that is away for a moment, which does it each time.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

from scheduler_svc.postgres.server_files import ServerStatus
from tests.harness.waiting import wait_until

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
    """The server's checkpointer; waits for it."""
    [process] = wait_until(lambda: children(data, "checkpointer"), within=_WITHIN, what="there is a checkpointer")
    return process


def children(data: Path, title: str) -> list[psutil.Process]:
    """The server's processes with that title; none if it does not run, whatever a killed one left."""
    status = ServerStatus.read(data)
    with contextlib.suppress(psutil.NoSuchProcess):
        below = psutil.Process(status.pid).children() if status else []
        return [child for child in below if f": {title}" in _title(child)]
    return []


def _title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def _failures(data: Path) -> int:
    return (data.parent / "postgres.log").read_text().count('FATAL:  required WAL directory "pg_wal" does not exist')
