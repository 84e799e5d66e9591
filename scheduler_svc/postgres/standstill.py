"""Detects a server that runs but will never accept connections again.  Part of `scheduler_svc.postgres`.

PostgreSQL 18.6 gets into that state if its restart after a crash fails at once, usually on a full disk: the postmaster
has not noted yet that the recovery began, takes the end of the startup process for a consequence of the crash, and
waits for a process that does not exist.  It listens and refuses every connection until it is ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psycopg2

from scheduler_svc.postgres.processes import titles
from scheduler_svc.postgres.server_files import ServerStatus

STANDSTILL_TIMEOUT = 10.0
"""Seconds; a postmaster kills its children after 5, and restarts then."""
_CONNECT_TIMEOUT = 2
_MOVING = ("startup", "walwriter")
"""The process that recovers, and one that there is as soon as that is done."""
_REFUSALS = tuple(
    f"the database system is {state}" for state in ("in recovery mode", "not yet accepting connections", "starting up")
)
"""As the settings have it: `lc_messages=C`.  One that is full, shuts down or answers nothing says something else."""


class Standstill:
    def __init__(self, data: Path, dsn: str, cluster_name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._data = data
        self._dsn = dsn
        self._cluster_name = cluster_name
        self._clock = clock
        self._life: int | None = None
        self._since = 0.0

    def is_stuck(self) -> bool:
        """Returns whether it refused all connections for `STANDSTILL_TIMEOUT` seconds, with no process to change that.

        Connects (for 2 s at most) only if its processes look stuck.  Call it repeatedly.
        """
        life = self._standing_life()
        if life is None or life != self._life:
            self._life, self._since = life, self._clock()
        return life is not None and self._clock() - self._since >= STANDSTILL_TIMEOUT

    def looks_stuck(self) -> bool:
        """Returns whether it looks stuck now, as it does for a moment in each restart."""
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
            psycopg2.connect(self._dsn, connect_timeout=_CONNECT_TIMEOUT).close()
        except psycopg2.OperationalError as error:
            return any(refusal in str(error) for refusal in _REFUSALS)
        return False
