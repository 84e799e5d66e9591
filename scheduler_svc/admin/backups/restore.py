"""Replaces the database by a backup, all or nothing. Part of `scheduler_svc.admin.backups`."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import sqlalchemy as sa
from psycopg2 import errors as pg_errors

from scheduler_svc.admin.backups.archive import Archive, CannotRestore, serving_roles
from scheduler_svc.admin.backups.programs import Programs
from scheduler_svc.admin.backups.progress import RestoreProgress
from scheduler_svc.admin.backups.script import fill
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
from scheduler_svc.live_line import LiveLine
from scheduler_svc.schema.compatibility import UnsupportedSchema, check_compatible
from scheduler_svc.schema.migrate import revisions, upgrade
from scheduler_svc.schema.privileges import serving_grants


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
    url: str,
    archive: Archive,
    programs: Programs,
    progress: LiveLine,
    *,
    replace: bool,
    store_id: str | None = None,
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

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        engine = sa.create_engine(self._new, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()


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
    """The URL of a new database, which is dropped if the block fails."""
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
    try:
        upgrade(engine)
        return prepare_restored(engine, store_id)
    finally:
        engine.dispose()


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
