"""What a test may not leave behind: processes, threads, tasks of the event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import psutil


def child_processes() -> set[psutil.Process]:
    """The children of this process, with those that have ended and were not waited for."""
    return set(psutil.Process(os.getpid()).children())


def lasting_threads() -> set[threading.Thread]:
    """Threads that keep the process from ending."""
    return {thread for thread in threading.enumerate() if not thread.daemon}


def pending_tasks() -> set[asyncio.Task[Any]]:
    """Tasks of the running loop, except the current one."""
    current = asyncio.current_task()
    return {task for task in asyncio.all_tasks() if task is not current}
