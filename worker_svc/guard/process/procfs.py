"""Processes as /proc shows them: their parents, whether a pid still names the same process, and the run of each.

Each CLI has a mark in its environment, and so have its descendants: the run that they belong to. It finds what a killed
guard left: the kernel kills that guard's CLIs, but not their descendants.
"""

# ruff: noqa: PTH110, PTH123, PTH208 - pathlib is slow for thousands of reads, and large for so small a process

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple


class Process(NamedTuple):
    """One process at one moment. `key` names it for ever: a process with a reused pid started later."""

    pid: int
    parent: int
    group: int
    session: int
    started: int  # clock ticks since boot
    dead: bool  # a zombie: it can only be reaped
    mute: bool  # dead or dying: its memory is gone, and its environment with it

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


def send_signal(process: Process, number: signal.Signals) -> None:
    """Signals exactly this process, whoever its parent is; does nothing if it is gone.

    Raises PermissionError if it runs as another user.
    """
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(process.pid)
        try:
            current = read(process.pid)
            if current is not None and current.key == process.key:  # so the descriptor names that process
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


# Kills every process that a search finds, until it finds none. Used by a guard, for what its predecessor left, and by
# a worker, for what its own guard can no longer end.

_PASSES = 100  # only processes that fork faster than they are killed need more than a few


def kill_all(find: Callable[[], Iterable[Process]]) -> None:
    """Kills what `find` yields until it yields nothing. Takes milliseconds."""
    foreign: set[tuple[int, int]] = set()  # those of another user
    for _ in range(_PASSES):
        processes = [process for process in find() if process.key not in foreign]
        if not processes:
            break
        for process in processes:
            try:
                send_signal(process, signal.SIGKILL)
            except PermissionError:
                foreign.add(process.key)


def kill_below(pid: int) -> None:
    """Kills every descendant of a process that is stopped itself.

    The descendants of a subreaper, such as a guard, are all processes that its children ever started.
    """
    kill_all(lambda: _below(pid))


def _below(pid: int) -> Iterator[Process]:
    children_of = children_now()
    descendants = children_of(pid)
    for child in descendants:  # grows as it goes
        process = read(child)
        if process is not None and not process.dead:
            yield process
            descendants += children_of(child)


# The marks of runs.

VARIABLE = "CONTENTGEN_RUN"


def mark(owner: str, run: str) -> str:
    """Returns the value of `VARIABLE` for a run; `owner` names the worker's folder among all on this machine."""
    return f"{owner}/{run}"


def run_of(pid: int, owner: str) -> str | None:
    """Returns the run that a process is marked with; None if it has no mark of this owner."""
    value = variable(pid, VARIABLE)
    prefix = mark(owner, "")
    return value.removeprefix(prefix) if value is not None and value.startswith(prefix) else None


def kill_marked(owner: str) -> None:
    """Kills all processes of this owner's runs. No guard of this owner may live."""
    kill_all(lambda: _marked(owner))


def _marked(owner: str) -> Iterator[Process]:
    for pid in everyone():
        if pid != os.getpid() and run_of(pid, owner) is not None:
            process = read(pid)
            if process is not None and not process.dead:
                yield process
