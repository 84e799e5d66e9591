"""Fills a scheduler's database past the scheduler, while that is stopped: as years of work leave it.

`history` has the queries. One session writes their rows into a pipe, another one copies them into the table, which it
has emptied in the same transaction: so they need no WAL (if `wal_level` is minimal), and stand there as if a vacuum had
seen them long ago. Indexes are dropped first, and made again of the whole.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2

from lab.benchmarks.prose import prose
from lab.benchmarks.scale import history as past
from lab.benchmarks.scale.history import History
from scheduler_svc.postgres import EmbeddedPostgres
from tests.harness.cluster import rows_of

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


class _Index(NamedTuple):
    name: str
    constraint: bool
    definition: str

    def drop(self, table: str) -> str:
        return f"ALTER TABLE {table} DROP CONSTRAINT {self.name}" if self.constraint else f"DROP INDEX {self.name}"

    def make(self, table: str) -> str:
        adding = f"ALTER TABLE {table} ADD CONSTRAINT {self.name} {self.definition}"
        return adding if self.constraint else self.definition


@dataclass(frozen=True, slots=True)
class BulkCopy:
    """Of one database; `say` is told how far it has come."""

    dsn: str
    say: Callable[[str], None]

    def fill(self, table: str, query: str, values: Mapping[str, Any]) -> None:
        """Replaces the rows of a table; what refers to them goes, too."""
        with closing(psycopg2.connect(self.dsn)) as target, target.cursor() as cursor:
            indexes = [_Index(*row) for row in rows_of(target, _INDEXES, table)]
            for index in indexes:
                cursor.execute(index.drop(table))
            cursor.execute(f"TRUNCATE {table} CASCADE")
            self._copy(cursor, table, cursor.mogrify(_typed(cursor, table, query), values).decode())
            target.commit()
            for index in indexes:
                begin = time.monotonic()
                cursor.execute(index.make(table))
                target.commit()
                self.say(f"{index.name}: {time.monotonic() - begin:.0f} s")

    def _copy(self, target: Any, table: str, query: str) -> None:
        """Copies by two sessions. Raises ExceptionGroup: where one of them fails the pipe breaks for the other one."""
        reading, writing = os.pipe()
        with (
            closing(psycopg2.connect(self.dsn)) as connection,
            connection.cursor() as source,
            ThreadPoolExecutor(2) as threads,
        ):
            both = [
                threads.submit(_through, source, f"COPY ({query}) TO STDOUT (FORMAT binary)", writing, "wb"),
                threads.submit(_through, target, f"COPY {table} FROM STDIN (FORMAT binary, FREEZE)", reading, "rb"),
            ]
        if errors := [error for copy in both if isinstance(error := copy.exception(), Exception)]:
            raise ExceptionGroup(f"{table} was not copied", errors)
        self.say(f"{table}: {target.rowcount:,} rows")


def _through(cursor: Any, statement: str, end: int, mode: str) -> None:
    with open(end, mode) as pipe:
        cursor.copy_expert(statement, pipe, 1 << 16)


def _typed(cursor: Any, table: str, query: str) -> str:
    """Returns the rows of the query with the types of the table's columns, which a binary copy takes literally."""
    cursor.execute(_TYPES, (table,))
    types, names = cursor.fetchone()
    return f"SELECT {types} FROM ({query}) AS q({names})"


_SETTINGS = (
    *("wal_level=minimal", "max_wal_senders=0", "autovacuum=off", "maintenance_work_mem=1GB", "work_mem=256MB"),
    *("max_wal_size=8GB", "checkpoint_timeout=30min"),
)
"""Of the server while it is filled: none of them stays."""
_MILLISECOND = timedelta(milliseconds=1)


class Years(NamedTuple):
    """What there is to be; the spans end now."""

    tasks: int
    gone: int
    """So many tasks before these are deleted, but not their contents."""
    contents: int
    """The newest so many tasks of all have their contents."""
    whole: int
    """The oldest so many tasks have their moves, and the oldest so many contents were published."""
    body: int
    audit: int
    deliveries: int
    span: timedelta
    """Over which tasks are spread. Those that are gone came before it."""
    audit_span: timedelta
    deliveries_span: timedelta


def seed(folder: Path, accounts: Sequence[int], years: Years, say: Callable[[str], None]) -> None:
    """Fills the database in `folder`, which a scheduler has made. The last of the accounts gets few tasks."""
    with EmbeddedPostgres(folder / "data" / "postgres", settings=_SETTINGS) as server:
        fill(BulkCopy(server.dsn(), say), accounts, years)


def fill(copy: BulkCopy, accounts: Sequence[int], years: Years) -> None:
    with closing(psycopg2.connect(copy.dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        _fill_tasks(copy, cursor, accounts, years)
        _fill_calls(copy, cursor, accounts, years)
        for statement in ("ANALYZE", "CHECKPOINT"):
            copy.say(statement)
            cursor.execute(statement)


def _fill_tasks(copy: BulkCopy, cursor: Any, accounts: Sequence[int], years: Years) -> None:
    end = int(time.time() * 1000) - 600_000
    begin = end - years.span // _MILLISECOND
    history = History(
        years.tasks, years.gone, 0, begin, end, list(accounts), whole=years.whole, contents=years.contents
    )
    with _bodies(cursor, years.body):
        for table, query in past.TABLES.items():
            copy.fill(table, query, history._asdict())
    for step, statement in past.AFTERWARDS.items():
        copy.say(step)
        cursor.execute(statement)


def _fill_calls(copy: BulkCopy, cursor: Any, accounts: Sequence[int], years: Years) -> None:
    cursor.execute(past.WEBHOOK, {"account": accounts[0]})
    values = {"accounts": list(accounts), "webhook": cursor.fetchone()[0]}
    for table, query, rows, span in (
        ("audit_events", past.AUDIT, years.audit, years.audit_span),
        ("webhook_deliveries", past.DELIVERIES, years.deliveries, years.deliveries_span),
    ):
        end = int(time.time() * 1000)
        copy.fill(table, query, values | {"rows": rows, "begin": end - span // _MILLISECOND, "end": end})
    cursor.execute(past.AFTER_CALLS)


@contextmanager
def _bodies(cursor: Any, length: int) -> Iterator[None]:
    """Yields a table of articles, dropped at the end."""
    chance = random.Random(3)
    cursor.execute("CREATE TABLE seed_bodies (id integer PRIMARY KEY, body text NOT NULL)")
    try:
        bodies = [prose(chance, length) for _ in range(1_000)]
        cursor.execute("INSERT INTO seed_bodies SELECT n - 1, b FROM unnest(%s) WITH ORDINALITY AS u(b, n)", (bodies,))
        yield
    finally:
        cursor.execute("DROP TABLE seed_bodies")


def write_more(dsn: str, tasks: int, accounts: Sequence[int]) -> None:
    """Adds so many ended tasks of the last minutes to a database in use, without contents, as a scheduler would."""
    end = int(time.time() * 1000) - 200_000
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(past.RESERVE, {"moves": 4 * tasks})
        (moves,) = cursor.fetchall()[0]
        history = History(tasks, past.LATER, moves, end - 400_000, end, list(accounts), whole=tasks)
        for table, query in past.OF_TASKS.items():
            cursor.execute(f"INSERT INTO {table} {query}", history._asdict())
        cursor.execute(past.COUNT_MORE, history._asdict())
        connection.commit()
