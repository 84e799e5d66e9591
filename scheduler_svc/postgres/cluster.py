"""The cluster of a server: how it is made, which programs fit it, and the settings that the server starts with.

The settings go on the command line, where the last one wins: a data folder keeps no configuration of ours.
Durability (fsync, synchronous_commit, full_page_writes) stays at PostgreSQL's defaults, which is on.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import psycopg2
from psycopg2 import errors

from scheduler_svc.postgres.folders import ELSEWHERE, check_space, make_private
from scheduler_svc.postgres.programs import Launcher, PostgresError, ServerUser, major_version


def check_version(data: Path, bindir: Path) -> None:
    """Raises PostgresError if another major version made the cluster, which the server itself would only log."""
    made_by, programs = (data / "PG_VERSION").read_text().strip(), major_version(bindir / "postgres")
    if made_by == str(programs):
        return
    newer = made_by.isdigit() and int(made_by) > programs
    advice = (
        "start the version of contentgen that made it, or name programs of that version in CONTENTGEN_PG_BINDIR"
        if newer
        else f"with programs of PostgreSQL {made_by} in CONTENTGEN_PG_BINDIR `contentgen-scheduler backup` reads it; "
        "restore that into a new data folder"
    )
    raise PostgresError(
        f"the database in {data} was made by PostgreSQL {made_by}, and the programs in {bindir} are PostgreSQL "
        f"{programs}: {advice}; or {ELSEWHERE}"
    )


MIB = 1 << 20
PRODUCTION = (
    "max_connections=100",
    "max_wal_size=2GB",
    "min_wal_size=1GB",  # a segment that is there already costs a burst less than one made anew
    "backend_flush_after=2MB",  # else the kernel writes at once what a burst left, and a commit waits behind all of it
    "wal_compression=off",
    "autovacuum_naptime=5s",  # dead rows at the head of the ready table slow each claim
    "default_statistics_target=10",  # what fills up is analyzed again and again: a sample ten times smaller will do
    "jit=off",
    "timezone=UTC",
    "log_timezone=UTC",
    "lc_messages=C",
    "log_line_prefix=%m [%p] %d ",
    "log_min_error_statement=fatal",  # psycopg2 writes values into the statement: whole articles, that is
)
THROWAWAY = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "contentgen.throwaway=on",  # nobody is told that its durability is off
    "autovacuum=off",
    "max_wal_size=1GB",
    "shared_buffers=64MB",
)


def server_settings(*, throwaway: bool) -> tuple[str, ...]:
    """Returns the settings of a server that keeps its data, or (`throwaway`) lives only as long as a test run."""
    return (*PRODUCTION, f"shared_buffers={shared_buffers_mib()}MB", *(THROWAWAY if throwaway else ()))


def shared_buffers_mib() -> int:
    """Returns 512 MiB, or an eighth of a smaller machine's or container's memory; 16 MiB at least."""
    return max(16, min(512, memory_bytes() // 8 // MIB))


def memory_bytes() -> int:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return machine
    return min(machine, int(limit)) if limit.isdigit() else machine


DATABASE = "contentgen"
SUPERUSER = "contentgen"
MIN_FREE_BYTES = 200 << 20


def init_cluster(
    data: Path, bindir: Path, identity: ServerUser, launcher: Launcher, *, lock_fd: int, timeout: float, durable: bool
) -> None:
    """Creates the cluster beside `data` and renames it, so that an interrupted one is never used.

    Raises PostgresError without space, or if initdb failed or took longer than `timeout` seconds.
    """
    check_space(data.parent, MIN_FREE_BYTES)
    unfinished = data.with_name(data.name + ".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    make_private(unfinished, identity)
    program = [str(bindir / "initdb"), "-D", str(unfinished), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8"]
    program += ["--no-locale", "--no-instructions", *([] if durable else ["--no-sync"])]
    process = launcher.spawn(program, subprocess.PIPE, lock_fd)
    try:
        output = process.communicate(timeout=timeout)[0].decode(errors="replace").strip()
    except BaseException as error:
        process.kill()
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise PostgresError(f"initdb in {unfinished} took longer than {timeout:.0f} s") from None
        raise
    if process.returncode:
        raise PostgresError(f"initdb failed in {unfinished} ({process.returncode}):\n{output[-1000:]}")
    try:
        unfinished.rename(data)
    except OSError as error:
        raise PostgresError(f"{data} exists and is not a database cluster: move it away ({error.strerror})") from error


def ensure_database(maintenance_dsn: str) -> None:
    """Creates the database if it is missing; two processes may do so at once. Raises psycopg2.OperationalError."""
    with contextlib.closing(psycopg2.connect(maintenance_dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,))
            if cursor.rowcount == 0:
                with contextlib.suppress(errors.DuplicateDatabase, errors.UniqueViolation):
                    cursor.execute(f"CREATE DATABASE {DATABASE}")
