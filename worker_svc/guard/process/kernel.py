"""What the guard asks of the kernel beyond POSIX: re-parenting of orphans, the parent-death signal, its own name."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36

_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


def become_subreaper() -> bool:
    """Has the kernel re-parent every orphaned descendant to this process. Returns False if it cannot find them then."""
    if _prctl is None or not os.access("/proc/self/stat", os.R_OK):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):  # Python was built without it, or the container forbids it
        return False
    return bool(_prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def name_process(name: bytes) -> None:
    if _prctl is not None:
        _prctl(_PR_SET_NAME, name, 0, 0, 0)


def die_with(parent: int) -> None:
    """Has the kernel kill this process when `parent` dies, or at once if it is dead. Call it between fork and exec."""
    if _prctl is None:
        return
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(127)


def capabilities(subreaper: bool) -> str:
    """Returns one line for the log: what this system guarantees."""
    if subreaper:
        return "subreaper, parent-death signal: every descendant of a CLI dies with its run"
    return "process groups only: a descendant that leaves its CLI's group is not found on this system"
