"""Processes of servers that another process started, or that outlived it.  Part of `scheduler_svc.postgres`."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")


def is_alive(pid: int) -> bool:
    """Returns whether the process runs.  A zombie does not: it stays for ever if PID 1 reaps nothing."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _state(pid) != "Z"


def _state(pid: int) -> str | None:
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return None


def is_postmaster(pid: int, cluster_name: str) -> bool:
    """Returns whether that process is the cluster's postmaster, and no other one with a reused id.  False off Linux."""
    with contextlib.suppress(OSError):
        return f"cluster_name={cluster_name}" in _title(pid).split("\0")
    return False


def titles(cluster_name: str) -> dict[int, str]:
    """The titles of a running cluster's processes by id, without the postmaster.  Empty off Linux."""
    prefix = _prefix(cluster_name)
    title_by_pid = {}
    for pid in _pids():
        with contextlib.suppress(OSError):
            if (title := _title(pid)).startswith(prefix):
                title_by_pid[pid] = title.removeprefix(prefix).strip(" \0")
    return title_by_pid


def end_orphans(cluster_name: str) -> None:
    """Kill the backends that a dead postmaster left behind; one that computes would not notice for long.

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
