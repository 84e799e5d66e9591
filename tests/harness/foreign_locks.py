"""Locks that a session of nobody's holds: a person at a prompt, a backup, a report that was left open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

APPLICATION = "a stranger"


@contextmanager
def foreign_lock(url: str, sql: str, **parameters: object) -> Iterator[int]:
    """What `sql` locks is held within the block; yields the process id of the session that holds it."""
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"application_name": APPLICATION})
    with engine.connect() as connection:
        pid: int = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        connection.execute(sa.text(sql), parameters)
        yield pid


@contextmanager
def locked_rows(url: str, table: str, where: str = "true", **parameters: object) -> Iterator[int]:
    """Rows of a table, for which `where` holds."""
    with foreign_lock(url, f"SELECT FROM {table} WHERE {where} FOR UPDATE", **parameters) as pid:
        yield pid


@contextmanager
def locked_table(url: str, table: str) -> Iterator[int]:
    """The table as a whole: not even readers get at it."""
    with foreign_lock(url, f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE") as pid:
        yield pid
