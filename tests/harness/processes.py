"""Processes as the kernel sees them, their ports, and what a test may not leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.harness.fork_server import forked_by
from tests.harness.waiting import wait_until_gone
from worker_svc.guard.process import procfs

_GONE_LIMIT = 10.0


def living(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Returns those that run. A zombie does not: it stays for ever if PID 1 reaps nothing."""
    return [process for process in processes if _lives(process)]


def process_of(pid: int) -> psutil.Process | None:
    """Returns the process of that number, bound to its start time; None if it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid)
    return None


def children(pid: int, *, recursive: bool = False) -> list[psutil.Process]:
    """Returns those of a process, with all that descends from them if `recursive`; none if it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=recursive)
    return []


def belonging_to(folder: Path, since: int = 0) -> list[psutil.Process]:
    """Returns every living process that has `folder` in its arguments or environment, works in it or has a file of it
    open: services, guards (which keep only the worker's lock), CLIs and their children, servers and their backends.

    Those that started before `since`, a `moment`, are not looked at: there may be hundreds, with thousands of files.
    """
    needle = os.fsencode(folder)
    others = (pid for pid in psutil.pids() if pid != os.getpid() and _has_started(pid, since))
    candidates = (process_of(pid) for pid in others if any(needle in trace for trace in _traces(pid)))
    return living(process for process in candidates if process)


def signal_all(processes: Iterable[psutil.Process], number: signal.Signals) -> int:
    """Sends a signal to each that is still there; to how many."""
    count = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
            count += 1
    return count


def freeze(processes: Iterable[psutil.Process]) -> int:
    """Sends SIGSTOP to each that is still there, which does nothing until it is thawed; returns to how many."""
    return signal_all(processes, signal.SIGSTOP)


def thaw(processes: Iterable[psutil.Process]) -> None:
    """Sends SIGCONT to each that is still there."""
    signal_all(processes, signal.SIGCONT)


def bury(folder: Path, since: int = 0) -> None:
    """Kills all that belongs to `folder` as in `belonging_to`, and what is forked meanwhile."""

    def killed() -> list[psutil.Process]:
        left = belonging_to(folder, since)
        signal_all(left, signal.SIGKILL)
        return left

    wait_until_gone(killed, within=_GONE_LIMIT, what=f"nothing of {folder} is left")


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


# Ports for servers that keep theirs over restarts.


_PORTS = range(20_000, 32_000)  # below those that the kernel gives to clients, so that a restart finds its own again


def free_port(following: int = 0) -> int:
    """Returns a port on loopback where nobody listens, nor on the `following` ones."""
    while True:
        port = random.choice(_PORTS)
        if all(map(_is_free, range(port, port + following + 1))):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


# What a test may not leave behind: processes, threads, tasks of the event loop.


_TICKS = os.sysconf("SC_CLK_TCK")
"""In a second: the kernel tells a process's start in so many."""


def child_processes() -> set[psutil.Process]:
    """Returns the children of this process, with those that have ended and were not waited for."""
    return set(psutil.Process().children())


def new_children() -> Callable[[], set[int]]:
    """Returns a function that tells the process ids of children that have come since now.

    Every test asks, and psutil looks at each process of the machine: the kernel's list of children is much cheaper. It
    may leave out some while others end. So one that it names only later is new if it has started since, too.
    """
    before, now = set(_children()), moment()
    return lambda: {child for child in _children() if child not in before and _has_started(child, now)}


def _children() -> list[int]:
    """Returns those that were forked for this process, too, but not what forks them."""
    children, server = procfs.children_now(), forked_by()
    own = children(os.getpid())
    return own if server is None else [child for child in (*own, *children(server)) if child != server]


def moment() -> int:
    """Returns now, as the kernel tells when a process started."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS)


def _has_started(pid: int, since: int) -> bool:
    """Returns whether it is there, and started at so many ticks since the machine did, or later."""
    process = procfs.read(pid)
    return process is not None and process.started >= since


def lasting_threads() -> set[threading.Thread]:
    """Returns the threads that keep the process from ending."""
    return {thread for thread in threading.enumerate() if not thread.daemon}


def pending_tasks() -> set[asyncio.Task[Any]]:
    """Returns the tasks of the running loop, except the current one."""
    current = asyncio.current_task()
    return {task for task in asyncio.all_tasks() if task is not current}
