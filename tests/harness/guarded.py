"""A guard, programs for it to run, and observations of their processes from outside."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from tests.harness import processes
from worker_svc.creator_user import CreatorUser
from worker_svc.guard.child import Child
from worker_svc.guard.client import Guard
from worker_svc.guard.process.procfs import run_of

ENV = {"PATH": os.environ["PATH"]}
_DAEMON = """
def daemon(work):
    "A grandchild in a session of its own, re-parented since its parent has ended."
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            work()
        os._exit(0)
    os.wait()

def tell_and_stay():
    print(os.getpid(), flush=True)
    while True:
        signal.pause()
"""
_PRELUDE = f"import os, signal, sys\n{_DAEMON}\n"
FAMILY = "daemon(tell_and_stay)\nif os.fork() == 0: tell_and_stay()\ntell_and_stay()"
"""Three processes, each of which prints its pid on a line: a daemon, a child, and the CLI itself."""
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntell_and_stay()"
STUBBORN_FAMILY = f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{FAMILY}"
ORPHAN = "daemon(tell_and_stay)"
"""Ends by itself with status 0 and leaves a daemon."""
HIDDEN_ORPHAN = (
    "def hide():\n    print(os.getpid(), flush=True)\n    os.execve('/bin/sleep', ['sleep', '600'], {})\ndaemon(hide)"
)
"""As ORPHAN, but the daemon's environment lacks the guard's mark."""
RUNNER = (
    "daemon(lambda: None)\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "while True:\n"
    "    if os.fork(): os._exit(0)\n"
    "    os.setsid()\n"
)
"""Forks into a new process, in a new session, again and again."""
BOMB = (
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "for _ in range(6):\n"
    "    if os.fork() == 0: os.setsid()\n"
    "tell_and_stay()"
)
"""64 processes in as many sessions."""


GRACE = 0.3
"""Seconds between TERM and KILL."""
FAR = 600.0
"""Seconds to a deadline that no test reaches."""


@asynccontextmanager
async def guarding(user: CreatorUser | None = None) -> AsyncIterator[Guard]:
    """Yields a guard that is connected, and closed with the threads that its runs have used."""
    guard = Guard.launch(grace=GRACE, user=user)
    await guard.connect()
    try:
        yield guard
    finally:
        await guard.close()
        await asyncio.get_running_loop().shutdown_default_executor()


def python(program: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", _PRELUDE + program]


async def start(guard: Guard, run: str, program: str) -> Child:
    return await guard.spawn(run, python(program), cwd=Path("/"), env=ENV)


async def pids_of(child: Child, count: int) -> list[int]:
    """Returns the pids on the program's next lines."""
    async with asyncio.timeout(20):
        return [int(await child.stdout.readline()) for _ in range(count)]


def living(pids: Iterable[int]) -> set[int]:
    return {process.pid for process in processes.living(filter(None, map(processes.process_of, pids)))}


def marked(guard: Guard) -> set[int]:
    """Returns the running processes with the mark of the guard's runs."""
    return living(pid for pid in psutil.pids() if run_of(pid, guard._owner) is not None)
