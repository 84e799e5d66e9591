"""A server whose owner has died, and that does not end for it.  Part of `scheduler_svc.postgres`.

The kernel told it to end with its owner (`launch`).  One that stands still, as `standstill` has it, may not heed that
and would keep its folder for ever; only those who come to the folder, or share the server, can help then.
"""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path

from scheduler_svc.postgres.lock import read_holder
from scheduler_svc.postgres.processes import is_alive, is_postmaster
from scheduler_svc.postgres.server_files import ServerStatus

PATIENCE = 20.0
"""Seconds that it gets to end in order, as from a living owner."""
_QUIT_LIMIT_S = 10.0


class OrphanWatch:
    """Looks at the server that somebody else started on a folder; `look` may be called as often as one likes."""

    def __init__(self, data: Path, lock: Path) -> None:
        self._data = data
        self._lock = lock
        self._seen: int | None = None
        self._since = 0.0

    def is_orphaned(self) -> bool:
        """True once it has been there without an owner for `PATIENCE` seconds.  Linux; elsewhere it may live on."""
        pid = self._orphan()
        if pid is None or pid != self._seen:
            self._seen, self._since = pid, time.monotonic()
        return pid is not None and time.monotonic() - self._since >= PATIENCE

    def quit(self) -> None:
        """Have it end at once, as a crash would, where it is an orphan; a frozen one ends when it is thawed."""
        if (pid := self._orphan()) is None:
            return
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            if self._orphan() == pid:  # now that its number can't become another's
                signal.pidfd_send_signal(fd, signal.SIGQUIT)
                _await_end(fd)
        except ProcessLookupError:
            pass
        finally:
            os.close(fd)

    def _orphan(self) -> int | None:
        """The postmaster's process id."""
        status, holder = ServerStatus.read(self._data), read_holder(self._lock)
        if status is None or holder is None or is_alive(holder.pid):
            return None
        return status.pid if is_postmaster(status.pid, holder.cluster_name) else None


def _await_end(fd: int) -> None:
    ended = select.poll()
    ended.register(fd, select.POLLIN)
    ended.poll(_QUIT_LIMIT_S * 1000)
