"""Fills a table with the rows of a query, as quickly as PostgreSQL can.

One session writes the rows into a pipe, another one copies them into the table, which it has emptied in the same
transaction: so they need no WAL (if `wal_level` is minimal), and stand there as if a vacuum had seen them long ago.
Indexes are dropped first, and made again of the whole.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2

_TELL_INTERVAL_S = 5.0
# One that a foreign key needs stays.
_INDEXES = """
    SELECT r.relname, c.oid IS NOT NULL, coalesce(pg_get_constraintdef(c.oid), pg_get_indexdef(i.indexrelid))
    FROM pg_index AS i JOIN pg_class AS r ON r.oid = i.indexrelid
        LEFT JOIN pg_constraint AS c ON c.conindid = i.indexrelid AND c.contype IN ('p', 'u')
    WHERE i.indrelid = %s::regclass
        AND NOT EXISTS (SELECT FROM pg_constraint AS f WHERE f.conindid = i.indexrelid AND f.contype = 'f')
    ORDER BY i.indexrelid
"""
_TYPES = """
    SELECT string_agg(format('CAST(c%%1$s AS %%2$s)', attnum, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum),
        string_agg('c' || attnum, ', ' ORDER BY attnum)
    FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
"""
_COPIED = "SELECT coalesce(max(tuples_processed), 0) FROM pg_stat_progress_copy WHERE relid = %s::regclass"

Say = Callable[[str], None]


class _Index(NamedTuple):
    name: str
    constraint: bool
    definition: str

    def drop(self, table: str) -> str:
        return f"ALTER TABLE {table} DROP CONSTRAINT {self.name}" if self.constraint else f"DROP INDEX {self.name}"

    def make(self, table: str) -> str:
        adding = f"ALTER TABLE {table} ADD CONSTRAINT {self.name} {self.definition}"
        return adding if self.constraint else self.definition


def copy_into(dsn: str, folder: Path, table: str, query: str, values: Mapping[str, Any], say: Say) -> int:
    """Returns how many rows it has copied. The server's user must be able to pass through `folder`."""
    pipe = folder / f"{table}.pipe"
    os.mkfifo(pipe)
    pipe.chmod(0o666)
    try:
        with closing(psycopg2.connect(dsn)) as target, target.cursor() as cursor:
            cursor.execute(_INDEXES, (table,))
            indexes = [_Index(*row) for row in cursor.fetchall()]
            for index in indexes:
                cursor.execute(index.drop(table))
            cursor.execute(f"TRUNCATE {table} CASCADE")
            rows = _copy(dsn, cursor, table, _typed(cursor, table, query), values, pipe, say)
            target.commit()
            _index(target, table, indexes, say)
            return rows
    finally:
        pipe.unlink()


def _typed(cursor: Any, table: str, query: str) -> str:
    """The rows of the query with the types of the table's columns, which a binary copy takes literally."""
    cursor.execute(_TYPES, (table,))
    types, names = cursor.fetchone()
    return f"SELECT {types} FROM ({query}) AS q({names})"


def _copy(dsn: str, cursor: Any, table: str, query: str, values: Mapping[str, Any], pipe: Path, say: Say) -> int:
    with closing(psycopg2.connect(dsn)) as source, source.cursor() as reading, ThreadPoolExecutor(2) as threads:
        both = {
            threads.submit(reading.execute, f"COPY ({query}) TO '{pipe}' (FORMAT binary)", values),
            threads.submit(cursor.execute, f"COPY {table} FROM '{pipe}' (FORMAT binary, FREEZE)"),
        }
        while (waited := wait(both, _TELL_INTERVAL_S, "FIRST_EXCEPTION")).not_done:
            if any(one.exception() for one in waited.done):
                source.cancel()  # else each of them waits for ever for the other end of the pipe
                cursor.connection.cancel()
            say(f"{table}: {_copied(dsn, table):,} rows")
        for one in both:
            one.result()
        return int(cursor.rowcount)


def _copied(dsn: str, table: str) -> int:
    with closing(psycopg2.connect(dsn)) as asking, asking.cursor() as cursor:
        cursor.execute(_COPIED, (table,))
        return int(cursor.fetchone()[0])


def _index(target: Any, table: str, indexes: Sequence[_Index], say: Say) -> None:
    with target.cursor() as cursor:
        for index in indexes:
            begin = time.monotonic()
            cursor.execute(index.make(table))
            target.commit()
            say(f"{index.name}: {time.monotonic() - begin:.0f} s")
