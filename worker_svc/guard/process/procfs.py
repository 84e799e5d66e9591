"""Processes as /proc shows them: their parents, and whether a pid still names the same process."""

# ruff: noqa: PTH110, PTH123, PTH208 - pathlib is slow for thousands of reads, and large for so small a process

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import NamedTuple


class Process(NamedTuple):
    """One process at one moment. `key` names it for ever: a process with a reused pid started later."""

    pid: int
    parent: int
    group: int
    session: int
    started: int
    """Clock ticks since boot."""
    dead: bool
    """A zombie: it can only be reaped."""
    mute: bool
    """Dead or dying: its memory is gone, and its environment with it."""

    @property
    def key(self) -> tuple[int, int]:
        return self.pid, self.started


Children = Callable[[int], list[int]]


def read(pid: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            text = stat.read()
    except OSError:
        return None
    state, parent, group, session, *fields = text[text.rindex(b")") + 2 :].split()
    threads, start, memory = int(fields[13]), int(fields[15]), int(fields[16])
    alone = threads <= 1  # a process whose first thread has ended shows Z and no memory, and lives on
    return Process(
        pid=pid,
        parent=int(parent),
        group=int(group),
        session=int(session),
        started=start,
        dead=alone and state in b"ZX",
        mute=alone and memory == 0,
    )


def variable(pid: int, name: str) -> str | None:
    """Returns a variable of the environment that the process started with; None if unset, or not readable."""
    prefix = os.fsencode(name) + b"="
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:
            entries = environ.read().split(b"\0")
    except OSError:
        return None
    return next((os.fsdecode(entry[len(prefix) :]) for entry in entries if entry.startswith(prefix)), None)


def children_now() -> Children:
    """Returns a function that lists a process's children: by the kernel's lists, else by one scan of all processes."""
    if os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        return _listed_children
    by_parent: dict[int, list[int]] = {}
    for process in filter(None, map(read, everyone())):
        by_parent.setdefault(process.parent, []).append(process.pid)
    return lambda pid: by_parent.get(pid, [])


def everyone() -> list[int]:
    return _numbers("/proc")


def _listed_children(pid: int) -> list[int]:
    pids: list[int] = []
    for thread in _numbers(f"/proc/{pid}/task"):  # a child is listed with the thread that forked it
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as children:
                pids += map(int, children.read().split())
        except OSError:
            continue
    return pids


def _numbers(folder: str) -> list[int]:
    try:
        return [int(entry) for entry in os.listdir(folder) if entry.isdigit()]
    except OSError:
        return []


def group_leader(pid: int) -> Process:
    """Returns what is known of a child if there is no /proc."""
    return Process(pid=pid, parent=os.getpid(), group=pid, session=pid, started=0, dead=False, mute=False)


def send_signal(process: Process, number: signal.Signals) -> None:
    """Signals exactly this process, whoever its parent is; does nothing if it is gone.

    Raises PermissionError if it runs as another user.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        current = read(process.pid)
        if current is not None and current.key == process.key:  # so the descriptor names that process
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)
