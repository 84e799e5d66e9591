"""A new, empty cluster, and the one database that a scheduler uses in it.  Part of `scheduler_svc.postgres`."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

import psycopg2
from psycopg2 import errors, sql

from scheduler_svc.postgres.errors import PostgresError
from scheduler_svc.postgres.folders import check_space, make_private
from scheduler_svc.postgres.identity import ServerUser
from scheduler_svc.postgres.launcher import Launcher

DATABASE = "contentgen"
SUPERUSER = "contentgen"
MIN_FREE_BYTES = 200 << 20


def init_cluster(
    data: Path, bindir: Path, identity: ServerUser, launcher: Launcher, *, lock_fd: int, timeout: float, durable: bool
) -> None:
    """Create the cluster beside `data` and rename it, so that an interrupted one is never used.

    Raises:
        PostgresError: no space, or initdb failed or took longer than `timeout` seconds.
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
    """Create the database if it is missing; two processes may do so at once.

    Raises:
        psycopg2.OperationalError: the server does not take connections.
    """
    connection = psycopg2.connect(maintenance_dsn)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,))
            if cursor.rowcount == 0:
                with contextlib.suppress(errors.DuplicateDatabase, errors.UniqueViolation):
                    cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    finally:
        connection.close()
