"""Small disks that can be filled up: each a tmpfs, in a mount namespace of this process and its children.

Nothing of it is seen outside, and the kernel takes it away with the last process of the campaign, however that ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

_CLONE_NEWNS = 0x20000
_MS_NOSUID_NODEV = 0x2 | 0x4
_MS_REC_PRIVATE = 0x4000 | 0x40000
_BALLAST = "ballast"


class DisksUnavailableError(Exception):
    """Small disks can't be had here; the text says why."""


def enter_namespace() -> None:
    """Gives this process mounts of its own. To be called before there is a second thread.

    Raises:
        DisksUnavailableError: it may not, since that takes root's rights.
    """
    try:
        _call("unshare", _CLONE_NEWNS)
        _call("mount", b"none", b"/", None, _MS_REC_PRIVATE, None)
    except OSError as error:
        raise DisksUnavailableError(f"no mount namespace: {error.strerror}") from error


class Disk:
    """A tmpfs on a folder."""

    def __init__(self, folder: Path, size: int) -> None:
        """`size` in bytes; the folder is made. Raises OSError."""
        folder.mkdir(mode=0o711, exist_ok=True)
        options = f"size={size},mode=0711".encode()
        _call("mount", b"chaos", os.fsencode(folder), b"tmpfs", _MS_NOSUID_NODEV, options)
        self._folder = folder
        self._ballast = folder / _BALLAST

    def fill(self) -> None:
        """Takes all the space that is left."""
        ballast = os.open(self._ballast, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while free := _free(self._folder):
                with contextlib.suppress(OSError):
                    os.posix_fallocate(ballast, os.fstat(ballast).st_size, free)
        finally:
            os.close(ballast)

    def empty(self) -> None:
        """Gives the space back."""
        self._ballast.unlink(missing_ok=True)

    def unmount(self) -> None:
        """Takes the disk away, now or once nobody uses it."""
        detach = 2
        with contextlib.suppress(OSError):
            _call("umount2", os.fsencode(self._folder), detach)


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
