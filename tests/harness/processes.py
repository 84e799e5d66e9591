"""Processes as the kernel sees them: who lives, and who belongs to a stack."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil


def living(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that run. A zombie does not: it stays for ever if PID 1 reaps nothing."""
    return [process for process in processes if _lives(process)]


def process_of(pid: int) -> psutil.Process | None:
    """The process of that number, bound to its start time; None if it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid)
    return None


def children(pid: int, *, recursive: bool = False) -> list[psutil.Process]:
    """Those of a process, with all that descends from them if `recursive`; none if it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=recursive)
    return []


def belonging_to(folder: Path) -> list[psutil.Process]:
    """Every living process that has `folder` in its arguments or environment, works in it or has a file of it open:
    services, guards (which keep only the worker's lock), CLIs and their children, servers and their backends.
    """
    needle = os.fsencode(folder)
    others = (pid for pid in psutil.pids() if pid != os.getpid())
    candidates = (process_of(pid) for pid in others if any(needle in trace for trace in _traces(pid)))
    return living(process for process in candidates if process)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _traces(pid: int) -> Iterator[bytes]:
    proc = Path(f"/proc/{pid}")
    with contextlib.suppress(OSError):
        yield (proc / "cmdline").read_bytes()
        yield (proc / "environ").read_bytes()
        yield os.fsencode((proc / "cwd").readlink())
        with os.scandir(proc / "fd") as descriptors:
            for descriptor in descriptors:
                yield os.fsencode(os.readlink(descriptor.path))  # noqa: PTH115 - there may be thousands
