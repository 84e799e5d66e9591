"""Locks that another session holds: a person at a prompt, a backup, a report that was left open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

APPLICATION = "another session"


@contextmanager
def foreign_lock(url: str, sql: str, **parameters: object) -> Iterator[int]:
    """Holds what `sql` locks within the block; yields the process id of the holding session."""
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"application_name": APPLICATION})
    with engine.connect() as connection:
        pid: int = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        connection.execute(sa.text(sql), parameters)
        yield pid


@contextmanager
def locked_rows(url: str, table: str, where: str = "true", **parameters: object) -> Iterator[int]:
    """Locks the rows of a table for which `where` holds."""
    with foreign_lock(url, f"SELECT FROM {table} WHERE {where} FOR UPDATE", **parameters) as pid:
        yield pid


@contextmanager
def locked_table(url: str, table: str) -> Iterator[int]:
    """Locks a whole table, for readers too."""
    with foreign_lock(url, f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE") as pid:
        yield pid
