"""The user that runs the server, and what that user can reach.  Part of `scheduler_svc.postgres`.

PostgreSQL refuses to run as root, so root runs it as another user: the owner of an existing data folder, else
`postgres` or `nobody`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from scheduler_svc.postgres.errors import PostgresError


@dataclass(frozen=True)
class ServerUser:
    uid: int
    gid: int

    @property
    def name(self) -> str:
        return user_name(self.uid)

    def can_search(self, folder: os.stat_result) -> bool:
        if folder.st_uid == self.uid:
            return bool(folder.st_mode & stat.S_IXUSR)
        if folder.st_gid == self.gid:
            return bool(folder.st_mode & stat.S_IXGRP)
        return bool(folder.st_mode & stat.S_IXOTH)


def user_name(uid: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return f"uid {uid}"


def server_user_for(data: Path) -> ServerUser:
    """The current user; for root, another one that runs the server of this data folder.

    Raises:
        PostgresError: the current user is root, and there is no other user to run it.
    """
    if os.geteuid() != 0:
        return ServerUser(os.geteuid(), os.getegid())
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        owner = data.stat()
        if owner.st_uid != 0:
            return ServerUser(owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):  # initdb wants a passwd entry, so a bare number won't do
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return ServerUser(entry.pw_uid, entry.pw_gid)
    raise PostgresError(
        "PostgreSQL refuses to run as root, and this machine has neither a user 'postgres' nor 'nobody' to run it: "
        "start as an ordinary user, or set DATABASE_URL to a server of your own"
    )


def first_barrier(path: Path, identity: ServerUser) -> Path | None:
    """The folder, of `path` and those above it, that keeps another user out; None when `path` can be reached."""
    if identity.uid == os.geteuid():
        return None  # our own access: the kernel knows our groups, the modes alone do not
    for folder in (*reversed(path.parents), path):
        if not identity.can_search(folder.stat()):
            return folder
    return None
