"""The folders that a server needs, the files that it writes there, and the lock of its data.

The server and its backends inherit the descriptor of an flock; the scheduler closes its own.  So the lock is free only
when no process of a server is left, and its new holder may remove the files of one that was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import socket
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from scheduler_svc.postgres.programs import PostgresError, ServerUser, first_barrier, user_name

SOCKET_NAME = ".s.PGSQL.5432"
_CONNECT_TIMEOUT = 2.0
_STATUS_LINES = 8
MAX_LOG_BYTES = 10_000_000
_TAIL_BYTES = 1_000


@dataclass(frozen=True)
class ServerStatus:
    """`socket_folder`, `ready` and `stopping` are what the file says; a killed server leaves them as they were."""

    pid: int
    socket_folder: Path
    ready: bool
    stopping: bool

    @classmethod
    def read(cls, data: Path) -> Self | None:
        """Reads the status; returns None while there is no file, or while it is still being written."""
        try:
            lines = [line.strip() for line in (data / "postmaster.pid").read_text().splitlines()]
        except FileNotFoundError:
            return None
        if len(lines) < _STATUS_LINES or not lines[0].isdigit():
            return None
        return cls(int(lines[0]), Path(lines[4]), ready=lines[7] == "ready", stopping=lines[7] == "stopping")


def accepts_connections(socket_folder: Path) -> bool:
    """Returns whether a process listens on the server's socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_CONNECT_TIMEOUT)
        try:
            client.connect(str(socket_folder / SOCKET_NAME))
        except OSError:
            return False
        return True


def trim_log(log: Path) -> None:
    """Renames a log above the limit to `….1`, and begins a new one; not for a log in use."""
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_name(log.name + ".1"))


def tail_log(log: Path) -> str:
    with log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL_BYTES))
        return file.read().decode(errors="replace").strip()


MAX_SOCKET_PATH_BYTES = 107
ELSEWHERE = "set CONTENTGEN_DATA_DIR to another folder, or DATABASE_URL to a server of your own"


def make_root(root: Path) -> None:
    """Creates the data folder; if root does, the user that will run the server may pass through it, and no more."""
    try:
        root.mkdir(parents=True)
    except FileExistsError:
        if not root.is_dir():
            raise PostgresError(f"the data folder {root} is not a folder: {ELSEWHERE}") from None
    except OSError as error:
        raise PostgresError(f"can't make the data folder {root}: {error.strerror}; {ELSEWHERE}") from error
    else:
        if os.geteuid() == 0:
            root.chmod(0o711)


def check_reachable(root: Path, identity: ServerUser) -> None:
    """Raises PostgresError if a folder above the data keeps out the server's user, as root's home often does."""
    if barrier := first_barrier(root, identity):
        raise PostgresError(
            f"PostgreSQL refuses to run as root, so user {identity.name} runs it, and {identity.name} can't reach the "
            f"data folder {root}: {barrier} is closed to others. run `chmod o+x {barrier}`, or {ELSEWHERE}"
        )


def make_private(folder: Path, identity: ServerUser) -> None:
    """Makes a 0700 folder of the server's user. Raises PostgresError if it is another user's, or a link."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    info = folder.lstat()
    if not stat.S_ISDIR(info.st_mode):
        raise PostgresError(f"{folder} is a link or a file, not a folder of user {identity.name}: remove it")
    if info.st_uid not in (identity.uid, os.geteuid()):
        raise PostgresError(
            f"{folder} belongs to user {user_name(info.st_uid)}, and PostgreSQL would run as {identity.name}: "
            f"start as {user_name(info.st_uid)}, or {ELSEWHERE}"
        )
    os.chown(folder, identity.uid, identity.gid, follow_symlinks=False)
    folder.chmod(0o700)


def socket_folder(root: Path, identity: ServerUser) -> Path:
    """Returns a short path in the temporary folder, the same each time for `root`: a socket's path holds 107 bytes."""
    tag = hashlib.sha256(str(root).encode()).hexdigest()[:12]
    for base in (Path(tempfile.gettempdir()), Path("/tmp")):
        folder = base / f"contentgen-{os.geteuid()}-{tag}"
        fits = len(os.fsencode(folder / SOCKET_NAME)) <= MAX_SOCKET_PATH_BYTES
        if fits and first_barrier(base, identity) is None:
            return folder
    raise PostgresError(f"user {identity.name} can't reach a temporary folder for the server's socket: check TMPDIR")


def check_space(root: Path, wanted: int) -> None:
    """Raises PostgresError if fewer than `wanted` bytes are free."""
    free = shutil.disk_usage(root).free
    if free < wanted:
        raise PostgresError(
            f"no space for a database in {root}: {free >> 20} MiB are free, {wanted >> 20} MiB are needed; "
            f"free some, or {ELSEWHERE}"
        )


class FolderHolder(NamedTuple):
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

    def sign(self, holder: FolderHolder) -> None:
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, f"{holder.pid} {holder.cluster_name}\n".encode(), 0)

    def unsign(self) -> None:
        os.ftruncate(self.fd, 0)

    def close(self) -> None:
        """Closes `fd`; processes that inherited it keep the lock."""
        os.close(self.fd)


def read_holder(path: Path) -> FolderHolder | None:
    """Returns the last holder that signed the lock file, without locking it; None if there is none, or not yet."""
    try:
        pid, _, cluster_name = path.read_bytes().decode(errors="replace").strip().partition(" ")
    except OSError:
        return None
    return FolderHolder(int(pid), cluster_name) if pid.isdigit() else None
