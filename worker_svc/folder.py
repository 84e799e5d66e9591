"""The worker's own folder: its identity, its session number, and marks of the CLIs that it has started.

In `workers/<name>/`:

    alive       locked by the worker: a live worker uses this folder
    lock        locked by the worker and its guard: once it is free, no earlier CLI lives
    identity    worker_id, folder_id and the format of all that is in the folder, JSON
    session     the last session number that was used, decimal
    started/    one empty file for each lease whose CLI may have been started
    spool/      results that are not acknowledged (spool.py)
    assets/     files that these results name (asset_folder.py)
    scratch/    working folders of running CLIs
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import quote, unquote

from contentgen.service.durable import replace_file, sync_folder
from worker_svc.group_writer import GroupWriter

FORMAT = 1
"""Format of the folder. A version that writes what this one would misread raises it, and records it in `identity`
before it writes anything else. A folder without a record has format 1."""

GUARD_TIMEOUT = 60.0  # seconds that the guard of a killed worker has to end that worker's CLIs

_POLL_INTERVAL = 0.05
_MAX_NAME = 200
_NUMBER_WIDTH = 20


class FolderError(Exception):
    """The worker cannot use its folder; the text says which and why."""


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    worker_id: str
    folder_id: str


class WorkerFolder:
    """A sub-folder of CONTENTGEN_DATA_DIR that this process holds."""

    def __init__(self, path: Path, identity: WorkerIdentity, locks: Sequence[int]) -> None:
        self.path = path
        self.identity = identity
        self._locks = locks
        self.lock_fd = locks[1]
        self.spool = path / "spool"
        self.assets = path / "assets"
        self.started = path / "started"
        self.scratch = path / "scratch"

    def next_session(self) -> int:
        """Returns a number above all earlier ones of this folder, durably. Raises OSError.

        Written in place, without a new block, so that a full disk does not keep a worker from connecting.
        """
        path = self.path / "session"
        number = int(path.read_text()) + 1
        with path.open("r+b") as file:
            file.write(f"{number:>{_NUMBER_WIDTH}}".encode())
            file.flush()
            os.fsync(file.fileno())
        return number

    def close(self) -> None:
        """Releases the folder's locks. A guard that still runs keeps its own."""
        for descriptor in self._locks:
            os.close(descriptor)
        self._locks = ()


def take_folder(
    data_dir: Path,
    worker_id: str | None,
    hostname: str,
    notify: Callable[[str], None] = lambda _: None,
    *,
    creator: int | None = None,
) -> WorkerFolder:
    """Takes the folder that `worker_id` names, or else the lowest one that no live worker uses.

    `creator`: the user whom CLIs run as, if not this one. It reaches its folders in `scratch`, though it lists and
    reads nothing else; and what a worker of any further user left becomes this user's. If only a guard still uses the
    folder, calls `notify` and waits. Raises FolderError, OSError.
    """
    mode = 0o700 if creator is None else 0o711
    workers = data_dir.absolute() / "workers"
    workers.parent.mkdir(parents=True, exist_ok=True)
    _make_private(workers, mode, creator)
    path, alive = _alive(workers, worker_id, creator)
    with ExitStack() as locks:
        locks.callback(os.close, alive)
        _make_private(path, mode, creator)  # not before: a worker of another user may live there
        _check_format(path)
        lock = _wait_for_guard(path, notify)
        locks.callback(os.close, lock)
        shutil.rmtree(path / "scratch", ignore_errors=True)
        _make_private(path / "scratch", mode, creator)
        for name in ("assets", "spool", "started"):
            _make_private(path / name, creator=creator)
        folder = WorkerFolder(path, _identity(path, worker_id, hostname, notify), (alive, lock))
        locks.pop_all()
    return folder


def folder_name(worker_id: str) -> str:
    """Returns the folder name of a worker id: never a path, nor a number as workers without an id use."""
    name = quote(worker_id, safe="")
    if len(name) > _MAX_NAME:  # the hash tells apart ids that are cut alike
        name = f"{name[:_MAX_NAME]}-{hashlib.sha256(worker_id.encode()).hexdigest()[:16]}"
    return f"id-{name}" if re.fullmatch(r"\d+|\..*|id-.*", name) else name


def _alive(workers: Path, worker_id: str | None, creator: int | None) -> tuple[Path, int]:
    """Returns the folder, and the lock of a live worker, which is taken; without an id, of the first free number.

    Raises FolderError if a worker of that id lives.
    """
    names = [folder_name(worker_id)] if worker_id else map(str, count(1))
    for name in names:
        path = workers / name
        if (alive := _try_alive(path, creator)) is not None:
            return path, alive
    raise FolderError(f"worker {worker_id!r} is running already: {_holder(path)} holds {path}")


def _try_alive(path: Path, creator: int | None) -> int | None:
    """Takes the lock of a live worker, and writes this pid into it. Returns None if another process has it."""
    _make(path, creator)
    alive = _try_lock(path / "alive")
    if alive is not None:
        os.ftruncate(alive, 0)
        os.pwrite(alive, str(os.getpid()).encode(), 0)
    return alive


def _make_private(folder: Path, mode: int = 0o700, creator: int | None = None) -> None:
    """Makes a folder that only this user can read. Raises FolderError if it is a link, or of a user who may not be."""
    status = _make(folder, creator)
    if status.st_uid != os.geteuid():
        _adopt(folder, status.st_uid)
    if stat.S_IMODE(status.st_mode) & 0o077 != mode & 0o077:
        folder.chmod(mode)


def _make(folder: Path, creator: int | None) -> os.stat_result:
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status, user = folder.lstat(), os.geteuid()
    if not stat.S_ISDIR(status.st_mode):
        raise FolderError(f"{folder} should be a folder, and is a link or a file: remove it")
    if status.st_uid == creator:
        raise FolderError(f"{folder} belongs to CREATOR_USER: give this worker another CONTENTGEN_DATA_DIR")
    if creator is None and status.st_uid != user:
        raise FolderError(
            f"{folder} belongs to user {status.st_uid}: give this worker another CONTENTGEN_DATA_DIR, or, if a worker"
            f" left it, give it to this one: chown -R {user}:{os.getegid()} {folder}"
        )
    return status


def _adopt(folder: Path, owner: int) -> None:
    """Makes a folder of `owner` this user's, with the files in it, and the folders of results in `assets`.

    The folder itself comes last: what is interrupted is done again. A link stays one.
    """
    within = folder.rglob("*") if folder.name == "assets" else filter(Path.is_file, folder.iterdir())
    for path in (*within, folder):
        if path.lstat().st_uid == owner:
            os.chown(path, os.geteuid(), os.getegid(), follow_symlinks=False)


def _try_lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _holder(path: Path) -> str:
    try:
        return f"process {int((path / 'alive').read_text())}"
    except (OSError, ValueError):
        return "another process"


def _check_format(path: Path) -> None:
    try:
        number = int(json.loads((path / "identity").read_text()).get("format", 1))
    except (OSError, ValueError, TypeError, AttributeError):
        return  # `_identity` handles that
    if number > FORMAT:
        raise FolderError(
            f"{path} was used by a newer version (format {number}, and this one knows {FORMAT}), whose results would be"
            " misread: start the newer version until the spool in it is empty, or use another folder"
        )


def _wait_for_guard(path: Path, notify: Callable[[str], None]) -> int:
    deadline = time.monotonic() + GUARD_TIMEOUT
    notified = False
    while (lock := _try_lock(path / "lock")) is None:
        if not notified:
            notify(f"waiting for the guard of the earlier worker in {path}: it is stopping that worker's CLIs")
            notified = True
        if time.monotonic() > deadline:
            raise FolderError(f"{path} is still locked by the guard of an earlier worker after {GUARD_TIMEOUT:g} s")
        time.sleep(_POLL_INTERVAL)
    return lock


def _identity(path: Path, worker_id: str | None, hostname: str, notify: Callable[[str], None]) -> WorkerIdentity:
    """Returns the stored identity, or a new one if it cannot be read: the session numbers are lost with it."""
    try:
        document = json.loads((path / "identity").read_text())
        identity = WorkerIdentity(str(document["worker_id"]), str(document["folder_id"]))
        int((path / "session").read_text())
    except FileNotFoundError:
        return _new_identity(path, worker_id, hostname)
    except (OSError, ValueError, KeyError, TypeError) as error:
        notify(f"the identity in {path} cannot be read ({error!r}): it is replaced by a new one")
        return _new_identity(path, worker_id, hostname)
    if worker_id is None or worker_id == identity.worker_id:
        return identity
    return _store_identity(path, WorkerIdentity(worker_id, identity.folder_id))


def _new_identity(path: Path, worker_id: str | None, hostname: str) -> WorkerIdentity:
    identity = WorkerIdentity(worker_id or f"{hostname[:150]}-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex)
    replace_file(path / "session", f"{0:>{_NUMBER_WIDTH}}".encode())
    return _store_identity(path, identity)


def _store_identity(path: Path, identity: WorkerIdentity) -> WorkerIdentity:
    document = {"worker_id": identity.worker_id, "folder_id": identity.folder_id, "format": FORMAT}
    replace_file(path / "identity", json.dumps(document).encode())
    return identity


class StartedMarks:
    """Marks the leases whose CLI may start. A mark without a run or a spooled result means that the lease was lost."""

    def __init__(self, folder: Path, executor: Executor) -> None:
        self._folder = folder
        self.writer: GroupWriter[str] = GroupWriter(self._create, executor)
        self.left = frozenset(unquote(path.name) for path in folder.iterdir())
        """Leases that an earlier process marked and did not clear."""

    async def put(self, lease_id: str) -> None:
        """Returns once the mark is durable. Raises OSError."""
        await self.writer.put(lease_id)

    def clear(self, lease_id: str) -> None:
        """Removes a mark once no process of its run lives. Not synced: a mark too many is harmless."""
        try:
            self._path(lease_id).unlink(missing_ok=True)
        except OSError:
            return
        self.left -= {lease_id}

    def _create(self, lease_ids: Sequence[str]) -> None:
        for lease_id in lease_ids:
            self._path(lease_id).touch(mode=0o600)
        sync_folder(self._folder)

    def _path(self, lease_id: str) -> Path:
        return self._folder / quote(lease_id, safe="").replace(".", "%2E")
