"""A scheduler on a database with years of ended tasks, how that is filled, and how large its tables are.

It is filled past the scheduler, while that is stopped; `history` has the queries. One session writes their rows into a
pipe, another one copies them into the table, which it has emptied in the same transaction: so they need no WAL (if
`wal_level` is minimal), and stand there as if a vacuum had seen them long ago. Indexes are dropped first, and made of
the whole again. What a case has filled the next ones of the run find there.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2

from lab.benchmarks.measures import MAX_PENDING_TASKS
from lab.benchmarks.prose import prose
from lab.benchmarks.scale import history as past
from lab.benchmarks.scale.case import Case, Keep, Row, Size, Sizes, Value
from lab.benchmarks.scale.history import History
from lab.benchmarks.scale.steady import MIB
from lab.benchmarks.stack import Stack
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


# Whose database that is.


ACCOUNTS = 5
"""Of which the last one has few tasks."""
_DONE = "accounts.json"

FILL = {
    "tasks": Size((10_000_000,), (3_000,), "ended tasks; each has left four moves"),
    "contents": Size((4_000_000,), (3_000,), "the newest so many have their contents"),
    "gone": Size((0,), (0,), "tasks before these that are deleted, but not their contents"),
    "whole": Size((10**9,), (10**9,), "the oldest so many have moves, and of contents a publication"),
    "body": Size((100,), (2_000,), "bytes of an article"),
    "audit": Size((1_000_000,), (3_000,), "audit events"),
    "deliveries": Size((1_000_000,), (3_000,), "deliveries of webhooks"),
    "days": Size((1_000,), (1_000,), "days over which the tasks are spread"),
    "audit-days": Size((399,), (399,), "days over which the audit events are spread; they are kept for 400"),
    "delivery-hours": Size((48,), (48,), "hours over which the deliveries are spread; they are kept for 72"),
}


def years(sizes: Sizes, tasks: int | None = None) -> Years:
    """Returns what the options ask for; `tasks`: so many instead."""
    count = tasks or sizes.one("tasks")
    return Years(
        tasks=count,
        contents=min(count, sizes.one("contents")) + sizes.one("gone"),
        span=timedelta(days=sizes.one("days")),
        audit_span=timedelta(days=sizes.one("audit-days")),
        deliveries_span=timedelta(hours=sizes.one("delivery-hours")),
        **{name: sizes.one(name) for name in ("gone", "whole", "body", "audit", "deliveries")},
    )


@asynccontextmanager
async def filled(folder: Path, wanted: Years, **settings: str) -> AsyncIterator[Stack]:
    place = await fill_folder(folder, wanted)
    async with Stack(place, 0, max_queue_size=str(MAX_PENDING_TASKS), **settings) as stack:
        stack.accounts += await asyncio.to_thread(_accounts, place)
        # Those of the case before have the same names, which they hold for two minutes more.
        await asyncio.to_thread(stack.rows, "DELETE FROM workers")
        yield stack


async def fill_folder(folder: Path, wanted: Years) -> Path:
    """Returns the folder of such a database, which may be there already. Any other one is removed: for their size."""
    place = folder / "-".join(["years", *(str(part).replace(" ", "_") for part in wanted)])
    if not await asyncio.to_thread(_accounts, place):
        await asyncio.to_thread(_clear, folder, place)
        async with Stack(place, ACCOUNTS) as stack:
            accounts = stack.accounts
        await asyncio.to_thread(_seed, place, accounts, wanted)
    return place


def _clear(folder: Path, place: Path) -> None:
    for old_folder in folder.glob("years-*"):
        shutil.rmtree(old_folder)
    place.mkdir()
    place.chmod(0o711)


def _accounts(place: Path) -> list[int]:
    """Returns the account ids of a filled database. Returns an empty list if it is not filled."""
    done = place / _DONE
    return list(json.loads(done.read_text())) if done.exists() else []


def _seed(place: Path, accounts: list[int], ages: Years) -> None:
    begin = time.monotonic()

    def say(progress: str) -> None:
        print(f"{time.monotonic() - begin:8.0f} s  {progress}", file=sys.stderr)

    with EmbeddedPostgres(place / "data" / "postgres", settings=_SETTINGS) as server:
        fill(BulkCopy(server.dsn(), say), accounts, ages)
    (place / _DONE).write_text(json.dumps(accounts))


_GROWING = (
    *("tasks", "task_payloads", "task_labels", "task_events", "contents"),
    *("publish_pool", "publish_attempts", "audit_events", "webhook_deliveries"),
)
_SIZES = """
    SELECT c.relname, c.reltuples::bigint, pg_relation_size(c.oid), pg_indexes_size(c.oid), s.n_dead_tup,
        s.autovacuum_count
    FROM pg_class AS c JOIN pg_stat_user_tables AS s ON s.relid = c.oid
    WHERE c.relname IN ({}) ORDER BY array_position(ARRAY[{}], CAST(c.relname AS text))
"""


class TableSize(NamedTuple):
    """Of one table: bytes of it and of its indexes, rows as far as they were counted, and vacuums since it was made."""

    name: str
    rows: int
    table: int
    indexes: int
    dead: int
    vacuums: int


def sizes_of(stack: Stack, names: Sequence[str]) -> list[TableSize]:
    quoted = ", ".join(f"'{name}'" for name in names)
    return [TableSize(*row) for row in stack.rows(_SIZES.format(quoted, quoted))]


def sizes_at(stack: Stack, title: str, when: str, names: Sequence[str]) -> Row:
    sizes = sizes_of(stack, names)
    tables = {f"`{size.name}`, MiB": round((size.table + size.indexes) / MIB) for size in sizes}
    dead, vacuums = sum(size.dead for size in sizes), sum(size.vacuums for size in sizes)
    return Row(title, {"when": when, **tables, "dead rows": dead, "vacuums": vacuums})


async def measure_fill(folder: Path, sizes: Sizes, keep: Keep) -> None:
    async with filled(folder, years(sizes)) as stack:
        for size in await asyncio.to_thread(sizes_of, stack, _GROWING):
            values: dict[str, Value] = {"table": size.name, "rows": size.rows, "MiB": round(size.table / MIB)}
            values["its indexes, MiB"] = round(size.indexes / MIB)
            values["bytes a row, with indexes"] = round((size.table + size.indexes) / max(1, size.rows))
            keep(Row("fill: sizes", values))


FILL_CASE = Case("fill", "Years of ended tasks, by SQL past the scheduler.", "10 minutes, 13 GB", measure_fill, FILL)
