"""A separate process that owns or shares an embedded PostgreSQL, for tests to kill."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from scheduler_svc.postgres.processes import is_alive
from tests.harness.process import Process
from tests.harness.waiting import wait_until

# A small scheduler: owns or shares the server of a folder until TERM.
_PROGRAM = """
import json, signal, sys
from pathlib import Path
from scheduler_svc.postgres import EmbeddedPostgres

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
with EmbeddedPostgres(Path(sys.argv[1]), throwaway=True) as server:
    print(json.dumps({"action": "ready", "pid": server.pid, "owner": server.owner}), flush=True)
    signal.sigwait({signal.SIGTERM})
"""
_ENDS_S = 15.0
_READY_S = 60.0


class Supervisor(Process):
    """A separate process with the server of `root`."""

    def __init__(self, root: Path) -> None:
        log = root / f"supervisor-{uuid.uuid4().hex}.log"
        super().__init__("supervisor", [sys.executable, "-c", _PROGRAM, root], log, os.environ, cwd=Path.cwd())

    @cached_property
    def announced(self) -> tuple[int, bool]:
        """The server's process id and whether it is its own, once it is ready."""
        ready = self.wait_for("ready", within=_READY_S)
        return ready["pid"], ready["owner"]

    @property
    def server_pid(self) -> int:
        return self.announced[0]


@contextmanager
def supervising(root: Path, *, wait: bool = True) -> Iterator[Supervisor]:
    """A supervisor of the server in `root`; at the end it is killed, and its own server has ended."""
    with Supervisor(root) as supervisor:
        assert not wait or supervisor.announced
        yield supervisor
        announced = supervisor.announced
    if announced[1]:
        wait_until(lambda: not is_alive(announced[0]), within=_ENDS_S, what="the supervisor's server ends")
