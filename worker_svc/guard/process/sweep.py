"""KILL to all processes that a search finds, until it finds none any more.

Used by both ends: by a guard for what its predecessor left, by a worker for what its own guard can end no more.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator

from worker_svc.guard.process import procfs
from worker_svc.guard.process.procfs import Process

_PASSES = 100  # each kills all that it finds; only what forks faster than it is killed needs more than a few


def kill_all(find: Callable[[], Iterable[Process]]) -> int:
    """KILL what `find` finds, again and again; how many there were. Takes milliseconds, more with thousands of them."""
    killed: set[tuple[int, int]] = set()
    foreign: set[tuple[int, int]] = set()  # runs as somebody else: not ours to signal
    for _ in range(_PASSES):
        found = [process for process in find() if process.key not in foreign]
        if not found:
            break
        for process in found:
            try:
                procfs.send_signal(process, signal.SIGKILL)
                killed.add(process.key)
            except PermissionError:
                foreign.add(process.key)
    return len(killed)


def kill_below(pid: int) -> int:
    """KILL every descendant of a process that is stopped itself; how many there were.

    Where that is a subreaper, as a guard is, they are all that its children ever started, whatever these hid.
    """
    return kill_all(lambda: _below(pid))


def _below(pid: int) -> Iterator[Process]:
    children_of = procfs.children_now()
    below = children_of(pid)
    for child in below:  # grows as it goes
        process = procfs.read(child)
        if process is not None and not process.dead:
            yield process
            below += children_of(child)
