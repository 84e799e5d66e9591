"""PostgreSQL's programs: which of those on this machine fit a server, and their runs, watched and never left behind.

Part of `scheduler_svc.backups`.
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

from scheduler_svc.backups.driver_libpq import with_drivers_libpq
from scheduler_svc.backups.program_output import Follower, follow, told
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
    """A program of PostgreSQL, or the server that it talked to, ended badly; the text is what it said last."""


class Program(NamedTuple):
    """One program of one major version, and the variables that it has to run with."""

    path: Path
    major: int
    variables: Mapping[str, str] = {}


class Programs:
    """Those in the folder that the settings name, and else all that are found."""

    def __init__(self, settings: Settings) -> None:
        self._bindirs = [settings.pg_bindir] if settings.pg_bindir else list(_anywhere())

    def server(self, major: int) -> Program:
        """`postgres` of this version or the next newer one; also where clients are alone.

        Raises PostgresError.
        """
        folders = dict.fromkeys([*self._bindirs, *bindirs()])
        found = [program for folder in folders if (program := _program(folder / "postgres")) and program.major >= major]
        if not found:
            raise PostgresError(
                f"there are no programs of a server of PostgreSQL {major} or newer to restore into, in"
                f" {', '.join(map(str, folders))}: install contentgen-grpc[scheduler], or leave --verify out"
            )
        return min(found, key=lambda program: program.major)

    @contextmanager
    def fitting(self, name: str, major: int, *, encrypted: bool = False) -> Iterator[Program]:
        """That of the server's own version, or of the next newer one; `encrypted`: one that can speak TLS.

        Raises PostgresError naming what was found instead.
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
        """The newest, which reads what all others wrote. Raises PostgresError."""
        found = list(self._all(name))
        if not found:
            raise PostgresError(f"there is no {name} ({self._found(name, [])}): {_ADVICE.format(major=18)}")
        return max(found, key=lambda program: program.major)

    def read(self, name: str, *arguments: str) -> str:
        """What a program says that needs no database. Raises ProgramFailed, PostgresError."""
        done = subprocess.run(
            [self.newest(name).path, *arguments],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise ProgramFailed(told(done.stderr.decode(errors="replace").splitlines()))
        return done.stdout.decode(errors="replace")

    @contextmanager
    def output(self, name: str, *arguments: str) -> Iterator[IO[bytes]]:
        """What it writes on stdout, while it runs. Raises ProgramFailed where it ended badly, PostgresError."""
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
                said = process.stderr.read()
                process.wait()
        if process.returncode:
            raise ProgramFailed(told(said.decode(errors="replace").splitlines()))

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
    """Runs a program on a database, where it inherits the descriptor `keep`.

    It is ended where this call is interrupted. Raises ProgramFailed.
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
        raise ProgramFailed(told(last))


def _anywhere() -> Iterator[Path]:
    """As the server's programs are found, and then those on the PATH, where clients may be alone."""
    yield from dict.fromkeys(bindirs())
    if on_path := shutil.which("pg_dump"):
        yield Path(on_path).parent


@cache
def _program(path: Path) -> Program | None:
    """None where it is not there, or does not say its version."""
    if not os.access(path, os.X_OK):
        return None
    done = subprocess.run([path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    found = _VERSION.search(done.stdout)
    return Program(path, int(found[1])) if found else None


def _with_tls(program: Program, stack: ExitStack) -> Program | None:
    """A program that can speak TLS: this one, or it with the driver's libpq for as long as `stack` is there."""
    if _speaks_tls(program):
        return program
    if lent := stack.enter_context(with_drivers_libpq(program.path)):
        path, variables = lent
        able = Program(path, program.major, variables)
        return able if _speaks_tls(able) else None
    return None


def _speaks_tls(program: Program) -> bool:
    """Whether it tries a connection that has to be encrypted, to nowhere."""
    done = subprocess.run(
        [program.path, "--no-password", "--dbname=host=/nowhere sslmode=require"],
        env=_environment() | dict(program.variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return _TRIES in done.stderr


def _connection(url: str) -> tuple[str, str | None]:
    """What libpq calls the database, without the password, for a command line is for everyone to read; the password."""
    made = sa.make_url(url)
    _, options = made.get_dialect()().create_connect_args(made)
    password = options.pop("password", None)
    return make_dsn(application_name="contentgen-backup", **options), password


def _environment() -> dict[str, str]:
    """Ours (with libpq's own variables), but for what would change the form of what the programs say."""
    return os.environ | {"LC_ALL": "C", "TZ": "UTC"}
