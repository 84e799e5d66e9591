"""The lock file of a folder, held by the server that runs on it.  Part of `scheduler_svc.postgres`.

The server and its backends inherit the descriptor of an flock; the scheduler closes its own.  So the lock is free only
when no process of a server is left, and its new holder may remove the files of one that was killed.
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
        """Returns whether the lock was free, and is ours now."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def holder(self) -> FolderHolder | None:
        """Returns the holder; None if it has not signed yet."""
        return _holder(os.pread(self.fd, 200, 0))

    def sign(self, holder: FolderHolder) -> None:
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, f"{holder.pid} {holder.cluster_name}\n".encode(), 0)

    def unsign(self) -> None:
        os.ftruncate(self.fd, 0)

    def close(self) -> None:
        """Closes `fd`; processes that inherited it keep the lock."""
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_holder(path: Path) -> FolderHolder | None:
    """The last holder that signed the lock file, without locking it; None if there is none."""
    try:
        return _holder(path.read_bytes())
    except OSError:
        return None


def _holder(signature: bytes) -> FolderHolder | None:
    pid, _, cluster_name = signature.decode(errors="replace").strip().partition(" ")
    return FolderHolder(int(pid), cluster_name) if pid.isdigit() else None
