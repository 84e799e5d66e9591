"""What can go wrong between worker and guard."""

from __future__ import annotations


class GuardError(Exception):
    """The guard did not do what it was asked."""


class GuardLostError(GuardError):
    """The guard is gone, and the kernel has killed its CLIs: this worker has to exit."""


class SpawnError(GuardError):
    """A CLI could not be started; nothing of it ran.

    Attributes:
        errno: why, as the kernel says it (ENOENT: no such program or interpreter, EACCES: not executable, …).
    """

    def __init__(self, errno: int, message: str) -> None:
        super().__init__(message)
        self.errno = errno
