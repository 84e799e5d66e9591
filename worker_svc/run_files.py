"""Opens the files that a CLI names in its own working folder, and no others.

Layer: beside outcome.
"""

from __future__ import annotations

import os
import posixpath
import stat
from pathlib import Path

from worker_svc.outcome import LeftOutReason


class LeftOutError(Exception):
    """A file or an address is not taken, for a `reason`."""

    def __init__(self, reason: LeftOutReason) -> None:
        super().__init__(reason)
        self.reason = reason


def within(folder: Path, path: str) -> str:
    """Returns the path relative to `folder`. Raises LeftOutError if it leads out of it.

    No link is followed on the way, so `..` can be resolved by its text.
    """
    for base in (folder, os.path.realpath(folder)):  # a CLI may say the latter of itself
        relative = posixpath.normpath(posixpath.relpath(path, base) if path.startswith("/") else path)
        if not (relative == ".." or relative.startswith("../")):
            return relative
    raise LeftOutError(LeftOutReason.OUTSIDE_FOLDER)


def open_file(folder: Path, relative: str) -> int:
    """Returns a descriptor of a regular file, for reading. Raises LeftOutError.

    Opens one component after the other, so that nothing that the CLI puts in place of one leads elsewhere.
    """
    *folders, name = relative.split("/")
    dir_fd = _open(str(folder), os.O_DIRECTORY, None)
    try:
        for part in folders:
            inner = _open(part, os.O_DIRECTORY, dir_fd)
            os.close(dir_fd)
            dir_fd = inner
        file = _open(name, os.O_NONBLOCK, dir_fd)
    finally:
        os.close(dir_fd)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise LeftOutError(LeftOutReason.NOT_FOUND)
    return file


def _open(name: str, flags: int, dir_fd: int | None) -> int:
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=dir_fd)
    except (OSError, ValueError):
        raise LeftOutError(_why_not(name, dir_fd)) from None


def _why_not(name: str, dir_fd: int | None) -> LeftOutReason:
    try:
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except (OSError, ValueError):
        return LeftOutReason.NOT_FOUND
    return LeftOutReason.SYMLINK if stat.S_ISLNK(status.st_mode) else LeftOutReason.NOT_FOUND
