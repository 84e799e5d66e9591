"""Writes the database into a file, beside running schedulers. Part of `scheduler_svc.admin.backups`."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contentgen.service.settings import SettingsError
from scheduler_svc.admin.backups.archive import read_archive
from scheduler_svc.admin.backups.programs import Programs, run
from scheduler_svc.admin.backups.progress import DumpProgress
from scheduler_svc.admin.backups.proof import Proof
from scheduler_svc.admin.backups.source import BackupSource
from scheduler_svc.assets.folder import sync_folder
from scheduler_svc.live_line import LiveLine

_SUFFIX = ".partial"
# Quick beside the database's own work; articles still shrink to a third. Before 16 pg_dump knows a level only: of gzip.
_FORMAT = ("--verbose", "--no-password", "--format=custom", "--compress=1", "--lock-wait-timeout=60s")


@dataclass(frozen=True, slots=True)
class BackupSummary:
    """A complete backup: its size, time and schema, and how long it took.

    `verified`: the rows that were compared after a restore; None without verification.
    """

    bytes: int
    time: str
    revision: str
    seconds: float
    verified: int | None


def back_up(
    url: str,
    path: Path,
    programs: Programs,
    progress: LiveLine,
    *,
    overwrite: bool,
    verify: bool = False,
    then: Callable[[], None] = lambda: None,
) -> BackupSummary:
    """Writes a snapshot of the database into `path`; replaces a file there at the end, or not at all.

    `verify`: restores it elsewhere first, and compares. `then` is called once all is written, before it has its
    name. Raises SettingsError, PostgresError, ProgramFailed, CannotRestore, OSError; then nothing is left of it.
    """
    start = time.monotonic()
    with BackupSource(url) as source, programs.fitting("pg_dump", source.major, encrypted=source.encrypted) as program:
        proof = Proof(source, programs, progress) if verify else None
        with _partial(path, overwrite=overwrite) as (partial, descriptor):
            run(
                program,
                *_FORMAT,
                f"--snapshot={source.snapshot}",
                f"--file={partial}",
                url=url,
                follower=DumpProgress(progress, partial),
                keep=descriptor,
            )
            archive = read_archive(partial, programs)
            if proof:
                proof.of(archive)
            size = partial.stat().st_size
            then()
    return BackupSummary(size, archive.made, archive.revision, time.monotonic() - start, proof.rows if proof else None)


def check_target(path: Path, *, overwrite: bool) -> None:
    """Raises SettingsError if no backup can be put at `path`."""
    if not path.parent.is_dir():
        raise SettingsError([f"{path}: its folder {path.parent} does not exist: create it, or name another file"])
    if path.is_dir() or (path.exists() and not path.is_file()):
        raise SettingsError([f"{path} is not a regular file: name another one"])
    if path.exists() and not overwrite:
        raise SettingsError([f"{path} exists: name another file, or use --overwrite"])


@contextmanager
def _partial(path: Path, *, overwrite: bool) -> Iterator[tuple[Path, int]]:
    """A locked file beside `path`, which gets its name when the block succeeds. Its writer inherits the lock."""
    partial = path.with_name(path.name + _SUFFIX)
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError([f"another backup is writing {partial}: wait for it, or name another file"]) from None
        try:
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, 0)
            yield partial, descriptor
            os.fsync(descriptor)
            check_target(path, overwrite=overwrite)
            partial.rename(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    finally:
        os.close(descriptor)
    sync_folder(path.parent)
