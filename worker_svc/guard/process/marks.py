"""The mark in the environment of each CLI, and so of its descendants: the run that they belong to.

It finds what a killed guard left: the kernel kills that guard's CLIs, but not their descendants.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from worker_svc.guard.process import procfs, sweep
from worker_svc.guard.process.procfs import Process

VARIABLE = "CONTENTGEN_RUN"


def mark(owner: str, run: str) -> str:
    """Returns the value of `VARIABLE` for a run; `owner` names the worker's folder among all on this machine."""
    return f"{owner}/{run}"


def run_of(pid: int, owner: str) -> str | None:
    """Returns the run that a process is marked with; None if it has no mark of this owner."""
    value = procfs.variable(pid, VARIABLE)
    prefix = mark(owner, "")
    return value.removeprefix(prefix) if value is not None and value.startswith(prefix) else None


def kill_marked(owner: str) -> int:
    """Kills all processes of this owner's runs, and returns how many there were. No guard of this owner may live."""
    return sweep.kill_all(lambda: _marked(owner))


def _marked(owner: str) -> Iterator[Process]:
    for pid in procfs.everyone():
        if pid != os.getpid() and run_of(pid, owner) is not None:
            process = procfs.read(pid)
            if process is not None and not process.dead:
                yield process
