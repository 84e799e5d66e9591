"""A snapshot of the database that is backed up. Part of `scheduler_svc.admin.backups`."""

from __future__ import annotations

from typing import Any, Self

import psycopg2
import sqlalchemy as sa

from contentgen.service.settings import SettingsError
from scheduler_svc.admin.backups.digests import Digests, read_digests
from scheduler_svc.database.connections import connect

_OURS = "SELECT to_regclass('alembic_version'), pg_database_size(current_database())"
_BEGIN = """
    SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0;
    BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY
"""
_HAS_TRANSACTION_TIMEOUT = 17


class BackupSource:
    """A transaction that reads one snapshot of the database; a context manager."""

    def __init__(self, url: str) -> None:
        """Raises SettingsError if the database can't be reached, or has no tables of ours."""
        try:
            self._connection = connect(sa.make_url(url))
        except psycopg2.Error as error:
            raise SettingsError([f"DATABASE_URL can't be used: {' '.join(str(error).split())}"]) from None
        try:
            self._begin()
        except BaseException:
            self._connection.close()
            raise

    def _begin(self) -> None:
        version_table, self.bytes = self._row(_OURS)
        if version_table is None:
            raise SettingsError(["the database has no tables of a scheduler: there is nothing to back up"])
        info = self._connection.info
        self.major: int = info.server_version // 10_000
        self.encrypted: bool = info.ssl_in_use
        timeout = "SET transaction_timeout = 0;" if self.major >= _HAS_TRANSACTION_TIMEOUT else ""
        with self._connection.cursor() as cursor:
            cursor.execute(timeout + _BEGIN)
        (self.snapshot,) = self._row("SELECT pg_export_snapshot()")

    def digests(self) -> Digests:
        """The digest of each table. Reads every row."""
        with self._connection.cursor() as cursor:
            return read_digests(cursor)

    def _row(self, sql: str) -> Any:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
