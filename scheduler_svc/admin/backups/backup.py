"""Writes the database into a file, beside running schedulers, and proves that it can be restored.

The proof restores it into a temporary server, and compares every table by its digest. The database's own server would
need space, rights and time for that.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2
import sqlalchemy as sa
from psycopg2 import extensions

from contentgen.service.durable import sync_folder
from contentgen.service.settings import SettingsError
from scheduler_svc.admin.backups.programs import DumpProgress, ProgramFailed, Programs, RestoreProgress, run, size
from scheduler_svc.admin.backups.restore import Archive, CannotRestore, fill, make_usable, read_archive
from scheduler_svc.database.connections import connect
from scheduler_svc.live_line import LiveLine
from scheduler_svc.postgres import EmbeddedPostgres

# Digests of tables, by which two databases are compared. The text of a row depends on these.
_FORM = """
    SET timezone = 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET bytea_output = 'hex';
    SET extra_float_digits = 1
"""
_TABLES = r"""
    SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema' ORDER BY 1
"""
# In no order, so that neither an index nor a sort is needed.
_CONTENT = "SELECT count(*), coalesce(sum(('x' || left(md5(CAST(t AS text)), 15))::bit(60)::bigint), 0) FROM {} AS t"


class TableDigest(NamedTuple):
    """The number of a table's rows, and a sum over their hashes."""

    rows: int
    sum: int


Digests = Mapping[str, TableDigest]
"""By table."""


def _read_digests(cursor: Any) -> Digests:
    """Reads every row of all tables, by the driver's cursor."""
    cursor.execute(_FORM)
    cursor.execute(_TABLES)
    contents = {}
    for (table,) in cursor.fetchall():
        cursor.execute(_CONTENT.format(table))
        contents[table] = TableDigest(*map(int, cursor.fetchone()))
    return contents


_OURS = "SELECT to_regclass('alembic_version'), pg_database_size(current_database())"
_BEGIN = """
    SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0;
    BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY
"""
_HAS_TRANSACTION_TIMEOUT = 17


@contextmanager
def backup_source(url: str) -> Iterator[BackupSource]:
    """Raises SettingsError if the database can't be reached, or has no tables of ours."""
    try:
        connection = connect(sa.make_url(url))
    except psycopg2.Error as error:
        raise SettingsError([f"DATABASE_URL can't be used: {' '.join(str(error).split())}"]) from None
    with closing(connection):
        yield BackupSource(connection)


class BackupSource:
    """A transaction that reads one snapshot of the database."""

    def __init__(self, connection: extensions.connection) -> None:
        self._connection = connection
        version_table, self.bytes = self._row(_OURS)
        if version_table is None:
            raise SettingsError(["the database has no tables of a scheduler: there is nothing to back up"])
        self.major: int = connection.info.server_version // 10_000
        self.encrypted: bool = connection.info.ssl_in_use
        timeout = "SET transaction_timeout = 0;" if self.major >= _HAS_TRANSACTION_TIMEOUT else ""
        with connection.cursor() as cursor:
            cursor.execute(timeout + _BEGIN)
        self.snapshot, self.time = self._row("SELECT pg_export_snapshot(), now()")

    def digests(self) -> Digests:
        with self._connection.cursor() as cursor:
            return _read_digests(cursor)

    def _row(self, sql: str) -> Any:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()


_SERVER_BYTES = 256 << 20
"""What an empty server takes, with some margin."""


class Proof:
    def __init__(self, source: BackupSource, programs: Programs, progress: LiveLine) -> None:
        """Raises SettingsError if there is no space for it, PostgresError if there are no programs of a server."""
        self._source = source
        self._programs = programs
        self._progress = progress
        self._server = programs.server(source.major)
        _check_space(source.bytes + _SERVER_BYTES)

    def of(self, archive: Archive) -> int:
        """Restores the archive, compares every row with its source, and prepares it as a restore does.

        Returns how many rows it has. Raises CannotRestore, PostgresError.
        """
        with _running(self._server.path.parent) as url:
            self._fill(url, archive)
            self._progress.show("comparing what was restored")
            expected = self._source.digests()
            with closing(connect(sa.make_url(url))) as connection, connection.cursor() as cursor:
                _compare(expected, _read_digests(cursor))
            make_usable(url)
        return sum(content.rows for content in expected.values())

    def _fill(self, url: str, archive: Archive) -> None:
        try:
            fill(url, archive.path, self._programs, RestoreProgress(self._progress, archive.entries))
        except ProgramFailed as error:
            server = f"PostgreSQL {self._server.major} ({self._server.path})"
            raise CannotRestore(
                f"the backup can't be restored into {server}: {error}\nIt is of PostgreSQL {self._source.major}:"
                " programs of that version may do better, in CONTENTGEN_PG_BINDIR"
            ) from None


def _check_space(needed: int) -> None:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < needed:
        problem = f"--verify restores into {folder}, where {size(free)} are free and {size(needed)} are needed"
        raise SettingsError([f"{problem}: name a folder with more space in TMPDIR"])


def _compare(expected: Digests, restored: Digests) -> None:
    for table in sorted(expected.keys() | restored.keys()):
        original, copy = expected.get(table), restored.get(table)
        if original != copy:
            raise CannotRestore(
                f"the backup is not what the database held: {table} has {copy.rows if copy else 'no'} rows after a"
                f" restore, and had {original.rows if original else 'no'}{', others' if original and copy else ''}"
            )


@contextmanager
def _running(bindir: Path) -> Iterator[str]:
    """Yields the URL of an empty database."""
    with tempfile.TemporaryDirectory(prefix="contentgen-verify-") as folder:
        Path(folder).chmod(0o711)  # where root runs this, another user runs the server
        with EmbeddedPostgres(Path(folder), bindir=bindir, throwaway=True) as server:
            yield server.url()


_SUFFIX = ".partial"
# Quick beside the database's own work; articles still shrink to a third. Before 16 pg_dump knows a level only: of gzip.
_FORMAT = ("--verbose", "--no-password", "--format=custom", "--compress=1", "--lock-wait-timeout=60s")


@dataclass(frozen=True, slots=True)
class BackupSummary:
    """A complete backup: its size, time and schema, and how long it took.

    `verified`: the rows that were compared after a restore; None without verification. `note`: what `then` returned,
    and what else the operator should know.
    """

    bytes: int
    time: str
    revision: str
    seconds: float
    verified: int | None
    note: str


def back_up(
    url: str,
    path: Path,
    programs: Programs,
    progress: LiveLine,
    *,
    overwrite: bool,
    verify: bool = False,
    then: Callable[[], str] = lambda: "",
) -> BackupSummary:
    """Writes a snapshot of the database into `path`; replaces a file there at the end, or not at all.

    `verify`: restores it elsewhere first, and compares. `then` is called once all is written, before it has its
    name. Raises SettingsError, PostgresError, ProgramFailed, CannotRestore, OSError; then nothing is left of it.
    """
    start = time.monotonic()
    with backup_source(url) as source, programs.fitting("pg_dump", source.major, encrypted=source.encrypted) as program:
        proof = Proof(source, programs, progress) if verify else None
        with _partial(path, overwrite=overwrite) as (partial, descriptor):
            run(
                program,
                *_FORMAT,
                f"--snapshot={source.snapshot}",
                f"--file={partial}",
                url=url,
                follower=DumpProgress(progress, partial),
                keep=descriptor,
            )
            archive = read_archive(partial, programs)
            verified = proof.of(archive) if proof else None
            size = partial.stat().st_size
            note = then()
        notes = "\n".join(filter(None, (note, _note_success(url, source.time))))
    return BackupSummary(size, archive.made, archive.revision, time.monotonic() - start, verified, notes)


def _note_success(url: str, moment: datetime) -> str:
    """Stores the moment of the newest backup for the metric; returns why that can't be, which harms no backup."""
    try:
        with closing(connect(sa.make_url(url))) as connection, connection, connection.cursor() as cursor:
            cursor.execute("UPDATE backups SET success_time = greatest(success_time, %s)", (moment,))
    except psycopg2.Error as error:
        reason = " ".join(str(error).split())
        return f"contentgen_backup_last_success_timestamp_seconds does not tell of this backup: {reason}"
    return ""


def check_target(path: Path, *, overwrite: bool) -> None:
    """Raises SettingsError if no backup can be put at `path`."""
    if not path.parent.is_dir():
        raise SettingsError([f"{path}: its folder {path.parent} does not exist: create it, or name another file"])
    if path.is_dir() or (path.exists() and not path.is_file()):
        raise SettingsError([f"{path} is not a regular file: name another one"])
    if path.exists() and not overwrite:
        raise SettingsError([f"{path} exists: name another file, or use --overwrite"])


@contextmanager
def _partial(path: Path, *, overwrite: bool) -> Iterator[tuple[Path, int]]:
    """Yields a locked file beside `path`, which gets its name when the block succeeds. Its writer inherits the lock."""
    partial = path.with_name(path.name + _SUFFIX)
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError([f"another backup is writing {partial}: wait for it, or name another file"]) from None
        try:
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, 0)
            yield partial, descriptor
            os.fsync(descriptor)
            check_target(path, overwrite=overwrite)
            partial.rename(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    finally:
        os.close(descriptor)
    sync_folder(path.parent)
