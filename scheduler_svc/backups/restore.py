"""A backup in the place of the database, all or nothing. Part of `scheduler_svc.backups`."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import sqlalchemy as sa
from psycopg2 import errors as pg_errors

from scheduler_svc.backups.archive import Archive, CannotRestore
from scheduler_svc.backups.programs import Programs
from scheduler_svc.backups.progress import RestoreProgress
from scheduler_svc.backups.script import fill
from scheduler_svc.live_line import LiveLine
from scheduler_svc.store.engine.databases import Databases, DatabaseSession
from scheduler_svc.store.engine.restored import RestoredCounts, prepare_restored
from scheduler_svc.store.schema.compatibility import UnsupportedSchema, check_compatible
from scheduler_svc.store.schema.migrate import scripts, upgrade

LEAVE = 3.0
"""Seconds that clients of the database are given to go."""

_POLL = 0.1


def check_schema(archive: Archive) -> None:
    """Raises CannotRestore where the backup's schema is one that this version may not run on."""
    try:
        check_compatible(archive.revision, archive.declaration, scripts()[-1].revision)
    except UnsupportedSchema as error:
        raise CannotRestore(f"{archive.path}: {error}") from None


class RestoreSummary(NamedTuple):
    """What is in the database now. `left`: where what it held before still is, which could not be dropped."""

    counts: RestoredCounts
    leftover: str | None


def restore(url: str, archive: Archive, programs: Programs, progress: LiveLine, *, replace: bool) -> RestoreSummary:
    """Puts the backup in the place of the database. To be called on the main thread.

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
            fill(new, archive.path, programs, RestoreProgress(progress, archive.entries))
            sums = make_usable(new)
            with _uninterrupted():
                return RestoreSummary(sums, _put_in_place(databases, new))


def _check_target(databases: Databases, archive: Archive, *, replace: bool) -> None:
    if archive.server > databases.major():
        raise CannotRestore(
            f"{archive.path} was made on PostgreSQL {archive.server}, and the server is {databases.major()}: "
            "restore into a server of that version or a newer one"
        )
    if clients := _clients_that_stay(databases):
        raise CannotRestore(
            f"database {databases.target} is in use: stop every scheduler, and whoever else is connected:\n"
            + "\n".join(map(str, clients))
        )
    if databases.exists() and databases.has_tables() and not replace:
        raise CannotRestore(
            f"database {databases.target} is not empty: say --replace to drop what it holds (back it up first),"
            " or name another database or data folder"
        )


def _clients_that_stay(databases: Databases) -> Sequence[DatabaseSession]:
    """Whoever is connected still after a moment: a scheduler that has just been stopped may not be gone yet."""
    deadline = time.monotonic() + LEAVE
    while (clients := databases.sessions()) and time.monotonic() < deadline:
        time.sleep(_POLL)
    return clients


@contextmanager
def _new_database(databases: Databases) -> Iterator[str]:
    """Its URL; it is dropped where it does not come to its place."""
    try:
        url = databases.create()
    except sa.exc.ProgrammingError as error:
        if isinstance(error.orig, pg_errors.InsufficientPrivilege):
            raise CannotRestore(
                "the user of DATABASE_URL may not make databases, and a restore needs a new one: ALTER ROLE … CREATEDB"
            ) from None
        raise
    try:
        yield url
    except BaseException:
        databases.drop(_name(url))
        raise


def make_usable(url: str) -> RestoredCounts:
    """Brings what was restored to this version's schema, and makes it one that replicas may use; what is in it."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        upgrade(engine)
        return prepare_restored(engine)
    finally:
        engine.dispose()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Signals are ignored: whoever interrupts a restore is told that nothing was changed, and may rely on that."""
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _put_in_place(databases: Databases, url: str) -> str | None:
    """The name of the former database where it can't be dropped.

    Looks who came meanwhile before PostgreSQL does, which waits for them for five seconds.
    """
    in_use = "somebody connected to database {} meanwhile, and nothing was changed: stop them, and restore again\n{}"
    if clients := databases.sessions():
        raise CannotRestore(in_use.format(databases.target, "\n".join(map(str, clients))))
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
