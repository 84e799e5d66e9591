"""The folders a server needs, and whether its user may use them.  Part of `scheduler_svc.postgres`."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from scheduler_svc.postgres.errors import PostgresError
from scheduler_svc.postgres.identity import ServerUser, first_barrier, user_name
from scheduler_svc.postgres.server_files import SOCKET_NAME

MAX_SOCKET_PATH_BYTES = 107
ELSEWHERE = "set CONTENTGEN_DATA_DIR to another folder, or DATABASE_URL to a server of your own"


def make_root(root: Path) -> None:
    """Create the data folder; if root does, the user that will run the server may pass through it, and no more."""
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
    """Raises:
    PostgresError: a folder above the data keeps out the user that runs the server (root's home often does).
    """
    if barrier := first_barrier(root, identity):
        raise PostgresError(
            f"PostgreSQL refuses to run as root, so user {identity.name} runs it, and {identity.name} can't reach the "
            f"data folder {root}: {barrier} is closed to others. run `chmod o+x {barrier}`, or {ELSEWHERE}"
        )


def make_private(folder: Path, identity: ServerUser) -> None:
    """A 0700 folder of the server's user.

    Raises:
        PostgresError: it exists and belongs to another user, or is a link.
    """
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
    """A short path under the temporary folder, the same for each start on `root`: a socket's path holds 107 bytes."""
    tag = hashlib.sha256(str(root).encode()).hexdigest()[:12]
    for base in (Path(tempfile.gettempdir()), Path("/tmp")):
        folder = base / f"contentgen-{os.geteuid()}-{tag}"
        fits = len(os.fsencode(folder / SOCKET_NAME)) <= MAX_SOCKET_PATH_BYTES
        if fits and first_barrier(base, identity) is None:
            return folder
    raise PostgresError(f"user {identity.name} can't reach a temporary folder for the server's socket: check TMPDIR")


def check_space(root: Path, wanted: int) -> None:
    """Raises:
    PostgresError: fewer than `wanted` bytes are free.
    """
    free = shutil.disk_usage(root).free
    if free < wanted:
        raise PostgresError(
            f"no space for a database in {root}: {free >> 20} MiB are free, {wanted >> 20} MiB are needed; "
            f"free some, or {ELSEWHERE}"
        )
