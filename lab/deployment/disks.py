"""Small disks that can be filled up: each a tmpfs, in a mount namespace of this process and its children.

Nothing of it is seen outside, and the kernel takes it away with the last process of the campaign, however that ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

_MS_NOSUID_NODEV = 0x2 | 0x4


def enter_namespace() -> str | None:
    """Gives this process mounts of its own. To be called before there is a second thread.

    Returns why it may not, since that takes root's rights: then no small disks can be had here.
    """
    try:
        _call("unshare", 0x20000)  # CLONE_NEWNS
        _call("mount", b"none", b"/", None, 0x4000 | 0x40000, None)  # MS_REC | MS_PRIVATE
    except OSError as error:
        return f"no mount namespace of its own: {error.strerror}"
    return None


class Disk:
    """A tmpfs on a folder. Full is one that may be no larger than what is on it: that takes no time and no memory."""

    def __init__(self, folder: Path, size: int) -> None:
        """`size` in bytes; the folder is made. Raises OSError."""
        folder.mkdir(mode=0o711, exist_ok=True)
        self._folder = folder
        self._size = size
        self._mount(_MS_NOSUID_NODEV, f"size={size},mode=0711")

    def fill(self) -> None:
        """Leaves no space. Raises OSError."""
        for _ in range(50):
            with contextlib.suppress(OSError):  # more than that is on it meanwhile
                self._resize(self._used())
                return
        self._resize(self._used())

    def empty(self) -> None:
        """Gives the space back. Raises OSError."""
        self._resize(self._size)

    def unmount(self) -> None:
        with contextlib.suppress(OSError):
            _call("umount2", os.fsencode(self._folder), 2)  # MNT_DETACH

    def _used(self) -> int:
        usage = os.statvfs(self._folder)
        return max(1, usage.f_blocks - usage.f_bfree) * usage.f_frsize  # a size of 0 would be no limit

    def _resize(self, size: int) -> None:
        self._mount(_MS_NOSUID_NODEV | 0x20, f"size={size}")  # MS_REMOUNT

    def _mount(self, flags: int, options: str) -> None:
        _call("mount", b"chaos", os.fsencode(self._folder), b"tmpfs", flags, options.encode())


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
