"""What the guard asks of the kernel beyond POSIX: re-parenting of orphans, the parent-death signal, its own name."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import NamedTuple

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4

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


def hide_memory() -> None:
    """Keeps other processes of this user out of this one's memory and environment. It leaves no core dumps, either."""
    if _prctl is not None:
        _prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


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


class Identity(NamedTuple):
    """Whom a process runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]

    @classmethod
    def of(cls, numbers: Sequence[int]) -> Identity:
        """Returns the identity of a user's number, its group's and those of its further groups."""
        uid, gid, *groups = numbers
        return cls(uid, gid, tuple(groups))

    def assume(self) -> None:
        """Makes this process another user's, for good, without a right of the present one. Raises OSError.

        Call it between fork and exec, and `die_with` after it: a change of user lifts the parent-death signal.
        """
        if _prctl is not None:  # what is ambient would outlive the exec
            _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
            _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        os.setgroups(self.groups)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)


def capabilities(subreaper: bool) -> str:
    """Returns one line for the log: what this system guarantees."""
    if subreaper:
        return "subreaper, parent-death signal: every descendant of a CLI dies with its run"
    return "process groups only: a descendant that leaves its CLI's group is not found on this system"
