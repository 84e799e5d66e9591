"""Starts the server's programs so that they end with this process.  Part of `scheduler_svc.postgres`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from scheduler_svc.postgres.identity import ServerUser

SHIM = Path(__file__).with_name("launch.py")
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")


class Launcher:
    """Runs programs as `identity`, each in a session of its own, with nothing of our environment but paths.

    The kernel's parent-death signal follows the *thread* that started a child, not the process.  One thread, which
    lives until `close`, starts them all: so a restart may be asked for in a thread that ends earlier.
    """

    def __init__(self, identity: ServerUser) -> None:
        self._identity = identity
        self._parent_thread: ThreadPoolExecutor | None = None

    def spawn(self, program: Sequence[str], output: IO[bytes] | int, lock_fd: int) -> subprocess.Popen[bytes]:
        """Start `program`, which inherits the folder's lock; `output` is for both its stdout and its stderr."""
        if self._parent_thread is None:
            self._parent_thread = ThreadPoolExecutor(1, thread_name_prefix="postgres-parent")
        return self._parent_thread.submit(self._popen, program, output, lock_fd).result()

    def close(self) -> None:
        """What was started and still runs gets SIGINT from the kernel."""
        if self._parent_thread is not None:
            self._parent_thread.shutdown()
            self._parent_thread = None

    def _popen(self, program: Sequence[str], output: IO[bytes] | int, lock_fd: int) -> subprocess.Popen[bytes]:
        credentials = [str(self._identity.uid), str(self._identity.gid), str(os.getpid())]
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(SHIM), *credentials, *program],
            cwd="/",
            env=environment | {"LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(lock_fd,),
        )
