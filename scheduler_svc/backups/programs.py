"""Runs `pg_dump` and `pg_restore`: found beside the embedded server, told where to connect, watched, never left behind.

Part of `scheduler_svc.backups`.
"""

from __future__ import annotations

import os
import selectors
import subprocess
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
from psycopg2.extensions import make_dsn

from scheduler_svc.config import Settings
from scheduler_svc.postgres import PostgresError, find_bindir

_TICK = 0.2
_LAST_LINES = 5
_PASSWORD = "PGPASSWORD"  # noqa: S105 - the name of a variable


class ProgramFailed(Exception):
    """A program of PostgreSQL ended badly; the text is what it said last."""


class Follower(Protocol):
    """Whoever wants to know how far a program is."""

    def said(self, line: str) -> None:
        """A line of what it says."""

    def tick(self) -> None:
        """A few times a second."""


class Programs:
    """PostgreSQL's client programs, in the folder that the settings name or that is found."""

    def __init__(self, settings: Settings) -> None:
        self._bindir = settings.pg_bindir or find_bindir()

    def read(self, name: str, *arguments: str) -> str:
        """What a program says that needs no database. Raises ProgramFailed, PostgresError."""
        done = subprocess.run(
            [self._path(name), *arguments],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise ProgramFailed(_told(done.stderr.decode(errors="replace").splitlines()))
        return done.stdout.decode(errors="replace")

    def run(self, name: str, url: str, *arguments: str, follower: Follower, keep: int = -1) -> None:
        """Runs a program on a database, where it inherits the descriptor `keep`.

        It is ended where this call is interrupted. Raises ProgramFailed, PostgresError.
        """
        connection, password = _connection(url)
        process = subprocess.Popen(
            [self._path(name), "--verbose", "--no-password", f"--dbname={connection}", *arguments],
            env=_environment() | ({_PASSWORD: password} if password else {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[keep] if keep >= 0 else [],
            start_new_session=True,  # a Ctrl-C is ours to pass on
        )
        try:
            last = _follow(process, follower)
        except BaseException:
            process.terminate()
            raise
        finally:
            process.wait()
            assert process.stderr
            process.stderr.close()
        if process.returncode:
            raise ProgramFailed(_told(last))

    def _path(self, name: str) -> Path:
        path = self._bindir / name
        if not os.access(path, os.X_OK):
            raise PostgresError(
                f"{self._bindir} has no {name}: install PostgreSQL's client programs there, or name a folder that has "
                "them in CONTENTGEN_PG_BINDIR"
            )
        return path


def _follow(process: subprocess.Popen[bytes], follower: Follower) -> Sequence[str]:
    """Until it has ended; its last lines."""
    assert process.stderr
    lines: deque[str] = deque(maxlen=_LAST_LINES)
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stderr, selectors.EVENT_READ)
        while True:
            if selector.select(_TICK):
                data = os.read(process.stderr.fileno(), 65_536)
                if not data:
                    return [*lines, rest.decode(errors="replace")]
                *whole, rest = (rest + data).split(b"\n")
                for line in whole:
                    lines.append(line.decode(errors="replace"))
                    follower.said(lines[-1])
            follower.tick()


def _connection(url: str) -> tuple[str, str | None]:
    """What libpq calls the database, without the password, for a command line is for everyone to read; the password."""
    made = sa.make_url(url)
    _, options = made.get_dialect()().create_connect_args(made)
    password = options.pop("password", None)
    return make_dsn(application_name="contentgen-backup", **options), password


def _environment() -> dict[str, str]:
    """Ours (with libpq's own variables), but for what would change the form of what the programs say."""
    return os.environ | {"LC_ALL": "C", "TZ": "UTC"}


def _told(lines: Sequence[str]) -> str:
    """The errors among its last lines, else all of them."""
    errors = [line for line in lines if "error" in line or "detail" in line or "hint" in line]
    return "\n".join(line for line in errors or lines if line) or "it said nothing"
