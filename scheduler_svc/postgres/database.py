"""The one database that a scheduler uses in its cluster.  Part of `scheduler_svc.postgres`."""

from __future__ import annotations

import contextlib

import psycopg2
from psycopg2 import errors, sql

DATABASE = "contentgen"


def ensure_database(maintenance_dsn: str) -> None:
    """Make the database where it is missing; two processes may do so at once.

    Raises:
        psycopg2.OperationalError: the server does not take connections.
    """
    connection = psycopg2.connect(maintenance_dsn)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,))
            if cursor.rowcount == 0:
                with contextlib.suppress(errors.DuplicateDatabase, errors.UniqueViolation):
                    cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    finally:
        connection.close()
