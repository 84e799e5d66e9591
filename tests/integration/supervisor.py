"""A process of its own that owns or shares an embedded PostgreSQL, to be killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from scheduler_svc.postgres.processes import is_alive
from tests.harness.waiting import wait_until

# A scheduler in small: owns or shares the server of a folder until it is told to go.
_PROGRAM = """
import sys
from pathlib import Path
from scheduler_svc.postgres import EmbeddedPostgres

with EmbeddedPostgres(Path(sys.argv[1]), throwaway=True) as server:
    print(server.pid, server.owner, flush=True)
    sys.stdin.read()
"""
_ENDS_S = 15.0


class Supervisor:
    """A process of its own with the server of `root`."""

    def __init__(self, root: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    @cached_property
    def announced(self) -> tuple[int, bool]:
        """The server's process id and whether it is its own, once it is ready."""
        assert self.process.stdout is not None
        pid, owner = self.process.stdout.readline().split()
        return int(pid), owner == "True"

    @property
    def server_pid(self) -> int:
        return self.announced[0]

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def leave(self) -> None:
        self.process.communicate(timeout=_ENDS_S)


@contextmanager
def supervising(root: Path, *, wait: bool = True) -> Iterator[Supervisor]:
    supervisor = Supervisor(root)
    try:
        assert not wait or supervisor.announced
        yield supervisor
    finally:
        supervisor.kill()
        if supervisor.announced[1]:
            wait_until(lambda: not is_alive(supervisor.server_pid), within=_ENDS_S, what="the supervisor's server ends")
