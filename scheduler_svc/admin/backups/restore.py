"""Replaces the database by a backup, all or nothing.

Our own driver runs the SQL that `pg_restore` makes of a backup, not `pg_restore`: so TLS, passwords and several hosts
work as in DATABASE_URL whatever the programs support, and settings that only a newer server has are left out.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import psycopg2
import sqlalchemy as sa
from psycopg2 import errors as pg_errors

from scheduler_svc.admin.backups.programs import ProgramFailed, Programs, RestoreProgress
from scheduler_svc.admin.databases import (
    Databases,
    RestoredCounts,
    apply_grants,
    described,
    owner_of_tables,
    prepare_restored,
    read_grants,
    roles_without_rows,
)
from scheduler_svc.database.connections import connect
from scheduler_svc.live_line import LiveLine
from scheduler_svc.schema.compatibility import Declaration, UnsupportedSchema, check_compatible
from scheduler_svc.schema.migrate import revisions, upgrade
from scheduler_svc.schema.privileges import serving_grants

_MAGIC = b"PGDMP"
_ENTRIES = re.compile(r"^;\s+TOC Entries: (\d+)", re.MULTILINE)
_MADE = re.compile(r"^; Archive created at (.+)$", re.MULTILINE)
_SERVER = re.compile(r"^;\s+Dumped from database version: (\d+)", re.MULTILINE)
_OURS = ("alembic_version", "tasks", "leases", "reaper")
_REVISION = re.compile(r"^COPY public\.alembic_version .*;\n(\S+)", re.MULTILINE)
_DECLARATION = re.compile(
    r'^COPY public\.schema_compatibility \("only", oldest_code, migrated_by.*;\n\S+\t(\S+)\t(\S+)', re.MULTILINE
)
_SERVING = re.compile(
    r"^GRANT [^;]*\bINSERT\b[^;]* ON TABLE public\.tasks TO ([^;]+?)(?: WITH GRANT OPTION)?;$", re.MULTILINE
)


class CannotRestore(Exception):
    """The backup can't be restored; nothing was changed. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A backup file. `made` is its time, `server` the major version of PostgreSQL, `entries` its number of steps."""

    path: Path
    made: str
    server: int
    entries: int
    revision: str
    declaration: Declaration | None


def read_archive(path: Path, programs: Programs) -> Archive:
    """Raises CannotRestore if it is no backup, PostgresError if there is no program to read it."""
    _check_begin(path)
    try:
        contents = programs.read("pg_restore", "--list", str(path))
        missing = [table for table in _OURS if f" TABLE public {table} " not in contents]
        if missing:
            raise CannotRestore(f"{path} is a dump of another database: it has no table {', '.join(missing)}")
        tables = [f"--table={table}" for table in ("alembic_version", "schema_compatibility")]
        rows = programs.read("pg_restore", "--data-only", *tables, "--file=-", str(path))
    except ProgramFailed as error:
        raise CannotRestore(f"{path} can't be read as a backup; it may be incomplete\n{error}") from None
    entries, creation, server, revision = (
        pattern.search(text)
        for pattern, text in ((_ENTRIES, contents), (_MADE, contents), (_SERVER, contents), (_REVISION, rows))
    )
    if not (entries and creation and server and revision):
        raise CannotRestore(f"{path} does not say when, by which version and of which schema it was made")
    declared = _DECLARATION.search(rows)
    declaration = Declaration(*declared.groups()) if declared else None
    return Archive(path, creation[1], int(server[1]), int(entries[1]), revision[1], declaration)


def serving_roles(path: Path, programs: Programs) -> list[str]:
    """Returns the roles that might write tasks, besides the owner, where the backup was made."""
    script = programs.read("pg_restore", "--schema-only", "--file=-", str(path))
    return sorted({role.strip('"').replace('""', '"') for role in _SERVING.findall(script)})


def _check_begin(path: Path) -> None:
    try:
        with path.open("rb") as file:
            begin = file.read(len(_MAGIC))
    except OSError as error:
        raise CannotRestore(f"{path} can't be read: {error.strerror}") from None
    if begin != _MAGIC:
        raise CannotRestore(f"{path} is not a backup: `contentgen-scheduler backup` makes one")


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


def check_schema(archive: Archive) -> None:
    """Raises CannotRestore if the backup's schema is one that this version may not run on."""
    try:
        check_compatible(archive.revision, archive.declaration, revisions()[-1])
    except UnsupportedSchema as error:
        raise CannotRestore(f"{archive.path}: {error}") from None


class RestoreSummary(NamedTuple):
    """What the database has now. `leftover`: the former database, if it could not be dropped.

    `advice`: lines with what roles lack, and the statements that grant it.
    """

    counts: RestoredCounts
    leftover: str | None
    advice: list[str]


def restore(
    url: str, archive: Archive, programs: Programs, progress: LiveLine, *, replace: bool, store_id: str | None = None
) -> RestoreSummary:
    """Replaces the database by the backup. `store_id`: where its assets were put. Call it on the main thread.

    Raises CannotRestore, ProgramFailed, sa.exc.DBAPIError, with nothing changed.
    """
    if not sa.make_url(url).database:
        raise CannotRestore("DATABASE_URL names no database: put its name at the end, as in postgresql://host/name")
    databases = Databases(url)
    with databases.locked() as alone:
        if not alone:
            raise CannotRestore("another restore is under way on this server: wait for it")
        _check_target(databases, archive, replace=replace)
        with _new_database(databases) as new:
            rights = _Rights(databases, new)
            rights.give()  # default privileges and the owner's right to create tables come before the tables
            fill(rights.owned_url, archive.path, programs, RestoreProgress(progress, archive.entries))
            sums = make_usable(rights.owned_url, store_id)
            forbidden = rights.give()
            advice = [*_forbidden(forbidden), *rights.lacking(serving_roles(archive.path, programs))]
            with _uninterrupted():
                return RestoreSummary(sums, _put_in_place(databases, new), advice)


class _Rights:
    """What roles may do in the present database, which they shall in the new one. Nothing if there is none."""

    def __init__(self, databases: Databases, new: str) -> None:
        self._new = sa.make_url(new)
        self._grants: list[str] = []
        self.owned_url = new
        """The new database's URL, for sessions that act as the owner of the present tables."""
        if databases.exists():
            with databases.connected() as connection:
                self._grants = read_grants(connection, str(self._new.database))
                if owner := owner_of_tables(connection):
                    self.owned_url = _acting_as(self._new, owner)

    def give(self) -> list[str]:
        """Grants what can be granted so far; returns what only another role may grant."""
        with self._connected() as connection:
            return apply_grants(connection, self._grants)

    def lacking(self, roles: Sequence[str]) -> list[str]:
        """Returns, as lines, what those roles lack that served the backup's database and can't serve this one."""
        with self._connected() as connection:
            roles = roles_without_rows(connection, roles)
        advice = "Role {} served the backed-up database, and may not serve this one. Create it if it is missing."
        return [line for role in roles for line in (advice.format(role), *serving_grants(role))]

    def _connected(self) -> sa.Connection:
        return sa.create_engine(self._new, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT").connect()


def _acting_as(url: sa.URL, role: str) -> str:
    quoted = role.replace("\\", "\\\\").replace(" ", "\\ ")
    options = f"{url.query.get('options', '')} -c role={quoted}".strip()
    return url.update_query_dict({"options": options}).render_as_string(hide_password=False)


def _forbidden(grants: Sequence[str]) -> list[str]:
    if not grants:
        return []
    return ["This role may not grant what roles had before. Run as a superuser:", *(f"  {grant};" for grant in grants)]


def _check_target(databases: Databases, archive: Archive, *, replace: bool) -> None:
    if archive.server > databases.major():
        raise CannotRestore(
            f"{archive.path} was made on PostgreSQL {archive.server}, and the server is {databases.major()}: "
            "restore into a server of that version or newer"
        )
    if sessions := databases.lasting_sessions():
        raise CannotRestore(
            f"database {databases.target} is in use: stop every scheduler, and close all other sessions:\n"
            + described(sessions)
        )
    if databases.exists() and databases.has_tables() and not replace:
        raise CannotRestore(
            f"database {databases.target} is not empty: use --replace to drop its contents (back it up first),"
            " or name another database or data folder"
        )


@contextmanager
def _new_database(databases: Databases) -> Iterator[str]:
    """Yields the URL of a new database, which is dropped if the block fails."""
    try:
        url = databases.create()
    except sa.exc.ProgrammingError as error:
        if isinstance(error.orig, pg_errors.InsufficientPrivilege):
            raise CannotRestore(
                "the user of DATABASE_URL may not create databases, which a restore needs: ALTER ROLE … CREATEDB"
            ) from None
        raise
    try:
        yield url
    except BaseException:
        databases.drop(_name(url))
        raise


def make_usable(url: str, store_id: str | None = None) -> RestoredCounts:
    """Migrates what was restored, and prepares it for replicas; returns what it holds."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    upgrade(engine)
    return prepare_restored(engine, store_id)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignores signals: an interrupted restore reports that nothing was changed, which must be true."""
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _put_in_place(databases: Databases, url: str) -> str | None:
    """Swaps the databases; returns the name of the former one if it can't be dropped.

    Checks for sessions first, since PostgreSQL would wait five seconds for them.
    """
    in_use = "a session on database {} began meanwhile, and nothing was changed: close it, and restore again\n{}"
    if sessions := databases.sessions():
        raise CannotRestore(in_use.format(databases.target, described(sessions)))
    try:
        former = databases.swap_in(_name(url))
    except sa.exc.DBAPIError as error:
        if isinstance(error.orig, pg_errors.ObjectInUse):
            raise CannotRestore(in_use.format(databases.target, error.orig)) from None
        raise
    try:
        if former:
            databases.drop(former)
    except sa.exc.DBAPIError:
        return former
    return None


def _name(url: str) -> str:
    return str(sa.make_url(url).database)
