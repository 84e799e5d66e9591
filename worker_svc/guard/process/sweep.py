"""Kills every process that a search finds, until it finds none.

Used by a guard, for what its predecessor left, and by a worker, for what its own guard can no longer end.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator

from worker_svc.guard.process import procfs
from worker_svc.guard.process.procfs import Process

_PASSES = 100  # only processes that fork faster than they are killed need more than a few


def kill_all(find: Callable[[], Iterable[Process]]) -> int:
    """Kills what `find` yields until it yields nothing. Returns how many there were. Takes milliseconds."""
    killed_keys: set[tuple[int, int]] = set()
    foreign: set[tuple[int, int]] = set()  # those of another user
    for _ in range(_PASSES):
        processes = [process for process in find() if process.key not in foreign]
        if not processes:
            break
        for process in processes:
            try:
                procfs.send_signal(process, signal.SIGKILL)
                killed_keys.add(process.key)
            except PermissionError:
                foreign.add(process.key)
    return len(killed_keys)


def kill_below(pid: int) -> int:
    """Kills every descendant of a process that is stopped itself. Returns how many there were.

    The descendants of a subreaper, such as a guard, are all processes that its children ever started.
    """
    return kill_all(lambda: _below(pid))


def _below(pid: int) -> Iterator[Process]:
    children_of = procfs.children_now()
    descendants = children_of(pid)
    for child in descendants:  # grows as it goes
        process = procfs.read(child)
        if process is not None and not process.dead:
            yield process
            descendants += children_of(child)
