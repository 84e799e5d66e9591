"""The mark in the environment of each CLI, and so of its descendants: whose run they belong to.

It finds what a guard that was killed could not end: the kernel kills that guard's CLIs, but not their descendants.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from worker_svc.guard.process import procfs, sweep
from worker_svc.guard.process.procfs import Process

VARIABLE = "CONTENTGEN_RUN"


def mark(owner: str, run: str) -> str:
    """The value of `VARIABLE` for a run of this owner, the one worker folder on this machine."""
    return f"{owner}/{run}"


def run_of(pid: int, owner: str) -> str | None:
    """The run that a process is marked with; None without a mark of this owner."""
    value = procfs.variable(pid, VARIABLE)
    prefix = mark(owner, "")
    return value.removeprefix(prefix) if value is not None and value.startswith(prefix) else None


def kill_marked(owner: str) -> int:
    """KILL all processes of this owner's runs, wherever they hang; how many there were.

    Only for when no guard of this owner lives.
    """
    return sweep.kill_all(lambda: _marked(owner))


def _marked(owner: str) -> Iterator[Process]:
    for pid in procfs.everyone():
        if pid != os.getpid() and run_of(pid, owner) is not None:
            process = procfs.read(pid)
            if process is not None and not process.dead:
                yield process
