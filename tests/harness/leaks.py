"""What a test may not leave behind: processes, threads, tasks of the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

_THREADS = Path("/proc/self/task")
_TICKS = os.sysconf("SC_CLK_TCK")
"""In a second: the kernel tells a process's start in so many."""


def child_processes() -> set[psutil.Process]:
    """The children of this process, with those that have ended and were not waited for."""
    return set(psutil.Process().children())


def new_children() -> Callable[[], set[int]]:
    """A function that tells the process ids of children that have come since now.

    Every test asks, and psutil looks at each process of the machine: the kernel's list of children is much cheaper. It
    may leave out some while others end. So one that it names only later is new if it has started since, too.
    """
    before, now = _listed(), int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS)
    return lambda: {pid for pid in _listed() - before if _start(pid) >= now}


def _listed() -> set[int]:
    """The ids of this process's children, as the kernel lists them for each thread."""
    children: set[int] = set()
    for thread in _THREADS.iterdir():
        with contextlib.suppress(OSError):  # the thread has ended
            children.update(map(int, (thread / "children").read_text(encoding="ascii").split()))
    return children


def _start(pid: int) -> int:
    """When a process was started, in ticks since the machine was; -1: it has ended."""
    with contextlib.suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(stat.rpartition(")")[2].split()[19])
    return -1


def lasting_threads() -> set[threading.Thread]:
    """Threads that keep the process from ending."""
    return {thread for thread in threading.enumerate() if not thread.daemon}


def pending_tasks() -> set[asyncio.Task[Any]]:
    """Tasks of the running loop, except the current one."""
    current = asyncio.current_task()
    return {task for task in asyncio.all_tasks() if task is not current}
