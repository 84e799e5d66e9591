"""Who may run a server on a folder: one lock file, held by the server itself.  Part of `scheduler_svc.postgres`.

The server inherits the descriptor of an flock, and so do its backends; we close ours.  Whoever gets the lock therefore
knows that no process of a server of ours is left, and may remove the files of one that was killed.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class FolderHolder:
    """What the holder wrote into the lock file: the process that started the server, and the server's cluster_name."""

    pid: int
    cluster_name: str


class FolderLock:
    """An exclusive lock on `path`, which it creates.  `fd` is for the server to inherit."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def acquire(self) -> bool:
        """True when it is ours now; never waits."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def holder(self) -> FolderHolder | None:
        """None while the lock's holder has not signed yet."""
        return _holder(os.pread(self.fd, 200, 0))

    def sign(self, holder: FolderHolder) -> None:
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, f"{holder.pid} {holder.cluster_name}\n".encode(), 0)

    def unsign(self) -> None:
        os.ftruncate(self.fd, 0)

    def close(self) -> None:
        """Lets go; processes that inherited `fd` go on holding the lock."""
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_holder(path: Path) -> FolderHolder | None:
    """Who signed the lock file last, without a claim to it; None if nobody has."""
    try:
        return _holder(path.read_bytes())
    except OSError:
        return None


def _holder(signature: bytes) -> FolderHolder | None:
    pid, _, cluster_name = signature.decode(errors="replace").strip().partition(" ")
    return FolderHolder(int(pid), cluster_name) if pid.isdigit() else None
