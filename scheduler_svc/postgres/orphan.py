"""A server whose owner has died, and that does not end.  Part of `scheduler_svc.postgres`.

The kernel signals it when its owner dies (`launch`).  One that is stuck (`standstill`) may ignore that and would keep
its folder for ever, unless a process that uses the folder or shares the server ends it.
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

ORPHAN_TIMEOUT = 20.0
"""Seconds that it has to shut down, as under a living owner."""
_QUIT_TIMEOUT = 10.0


class OrphanWatch:
    """Watches a server that another process started on a folder."""

    def __init__(self, data: Path, lock: Path) -> None:
        self._data = data
        self._lock = lock
        self._seen: int | None = None
        self._since = 0.0

    def is_orphaned(self) -> bool:
        """True if it has had no owner for `ORPHAN_TIMEOUT` seconds.  Linux only; call it repeatedly."""
        pid = self._orphan()
        if pid is None or pid != self._seen:
            self._seen, self._since = pid, time.monotonic()
        return pid is not None and time.monotonic() - self._since >= ORPHAN_TIMEOUT

    def quit(self) -> None:
        """End an orphan as a crash would; a frozen one ends when it continues."""
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
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll(_QUIT_TIMEOUT * 1000)
