"""What a test may not leave behind: processes, threads, tasks of the event loop."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil

from tests.harness.fork_server import forked_by
from worker_svc.guard.process import procfs

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
    before, now = set(_children()), int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS)
    return lambda: {child for child in _children() if child not in before and _has_started(child, now)}


def _children() -> list[int]:
    """Those that were forked for this process, too, but not what forks them."""
    children, server = procfs.children_now(), forked_by()
    own = children(os.getpid())
    return own if server is None else [child for child in (*own, *children(server)) if child != server]


def _has_started(pid: int, since: int) -> bool:
    """Whether it is there, and started at so many ticks since the machine did, or later."""
    process = procfs.read(pid)
    return process is not None and process.started >= since


def lasting_threads() -> set[threading.Thread]:
    """Threads that keep the process from ending."""
    return {thread for thread in threading.enumerate() if not thread.daemon}


def pending_tasks() -> set[asyncio.Task[Any]]:
    """Tasks of the running loop, except the current one."""
    current = asyncio.current_task()
    return {task for task in asyncio.all_tasks() if task is not current}
