"""Whether a server that runs will never let anybody in again.  Part of `scheduler_svc.postgres`.

PostgreSQL 18.6 gets there where its restart after a crash fails at once, for want of disk space as a rule: before the
postmaster has noted that the recovery began, it takes the startup process's end for one of those that the crash brings,
and waits for a process that it does not have.  It listens, refuses everybody, and only its own end ends that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psycopg2

from scheduler_svc.postgres.processes import titles
from scheduler_svc.postgres.server_files import ServerStatus

PATIENCE = 10.0
"""Seconds; a postmaster gives its children 5 to end before it kills them, and starts anew then."""
_CONNECT_LIMIT_S = 2
_MOVING = ("startup", "walwriter")
"""The process that recovers, and one that there is as soon as that is done."""
_REFUSALS = tuple(
    f"the database system is {state}" for state in ("in recovery mode", "not yet accepting connections", "starting up")
)
"""As the settings have it: `lc_messages=C`.  One that is full, shuts down or answers nothing says something else."""


class Standstill:
    """Looks at one server, from its start on; `look` may be called as seldom or as often as one likes."""

    def __init__(self, data: Path, dsn: str, cluster_name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._data = data
        self._dsn = dsn
        self._cluster_name = cluster_name
        self._clock = clock
        self._life: int | None = None
        self._since = 0.0

    def is_stuck(self) -> bool:
        """True once it has refused everybody, with nothing under way to change that, for `PATIENCE` seconds.

        A connection, refused within milliseconds or given up after 2 s, is made only where its processes say so.
        """
        life = self._standing_life()
        if life is None or life != self._life:
            self._life, self._since = life, self._clock()
        return life is not None and self._clock() - self._since >= PATIENCE

    def looks_stuck(self) -> bool:
        """Whether it looks so now, which it does for a moment in each restart, too."""
        return self._standing_life() is not None

    def _standing_life(self) -> int | None:
        """Which restart of the server this is, by its checkpointer; None if it does not stand still.

        Each restart begins with the startup process, so a life that is seen without one has none to come.
        """
        status = ServerStatus.read(self._data)
        if status is None or status.stopping:
            return None
        roles = titles(self._cluster_name)
        if any(title.startswith(_MOVING) for title in roles.values()):
            return None
        life = next((pid for pid, title in roles.items() if title.startswith("checkpointer")), None)
        return life if life is not None and self._refuses() else None

    def _refuses(self) -> bool:
        try:
            psycopg2.connect(self._dsn, connect_timeout=_CONNECT_LIMIT_S).close()
        except psycopg2.OperationalError as error:
            return any(refusal in str(error) for refusal in _REFUSALS)
        return False
