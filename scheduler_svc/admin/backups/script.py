"""Fills an empty database from a backup, by the SQL that `pg_restore` makes of it.

Our own driver runs it, not `pg_restore`: so TLS, passwords and several hosts work as in DATABASE_URL whatever the
programs support, and settings that only a newer server has are left out.
"""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import psycopg2
import sqlalchemy as sa

from scheduler_svc.admin.backups.programs import ProgramFailed, Programs
from scheduler_svc.admin.backups.progress import RestoreProgress
from scheduler_svc.database.connections import connect

# The user who restores owns the tables: users and grants of the former server may not exist here.
_OPTIONS = ("--no-owner", "--no-privileges", "--file=-")
_BLOCK_BYTES = 1 << 18
# Each entry begins with a comment. No function of ours has such a line in it; one that had would fail as cut in two.
_ENTRY = re.compile(rb"-- (Data for )?Name: (.+?); Type: (.+?);")
_COPY = re.compile(rb"(COPY .+ FROM stdin);\n")
_SETTING = re.compile(rb"SET (\w+) = ")
_END_OF_DATA = b"\\.\n"
_FOR_PSQL = b"\\"


def fill(url: str, backup: Path, programs: Programs, progress: RestoreProgress) -> None:
    """Restores all tables. Raises ProgramFailed, PostgresError, with the database half filled."""
    try:
        with (
            closing(connect(sa.make_url(url))) as connection,
            connection.cursor() as cursor,
            programs.output("pg_restore", *_OPTIONS, str(backup)) as script,
        ):
            _run(script, cursor, progress)
    except psycopg2.Error as error:
        raise ProgramFailed(f"{progress.step}: {str(error).strip()}") from None


def _run(script: IO[bytes], cursor: Any, progress: RestoreProgress) -> None:
    cursor.execute("SELECT name FROM pg_settings")
    settings = {name.encode() for (name,) in cursor.fetchall()}
    statements: list[bytes] = []
    data = False
    for line in script:
        if entry := _ENTRY.match(line):
            _execute(cursor, statements)
            data = entry[1] is not None
            progress.at(entry[3].decode(), entry[2].decode())
        elif data and (copy := _COPY.fullmatch(line)):
            _execute(cursor, statements)
            cursor.copy_expert(copy[1].decode(), _TableRows(script, progress), _BLOCK_BYTES)
        elif not (line.startswith(_FOR_PSQL) or ((setting := _SETTING.match(line)) and setting[1] not in settings)):
            statements.append(line)
    _execute(cursor, statements)


def _execute(cursor: Any, statements: list[bytes]) -> None:
    """Runs the statements, which may be comments only, and clears the list."""
    if any(line.strip() and not line.startswith(b"--") for line in statements):
        cursor.execute(b"".join(statements))
    statements.clear()


class _TableRows:
    """The rows of one table, as a file for the driver."""

    def __init__(self, script: IO[bytes], progress: RestoreProgress) -> None:
        self._script = script
        self._progress = progress
        self._ended = False

    def read(self, size: int) -> bytes:
        rows: list[bytes] = []
        read = 0
        while read < size and not self._ended:
            line = self._script.readline()
            self._ended = line in {_END_OF_DATA, b""}
            if not self._ended:
                rows.append(line)
                read += len(line)
        self._progress.tick()
        return b"".join(rows)
