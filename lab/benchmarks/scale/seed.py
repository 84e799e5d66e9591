"""Fills a scheduler's database past the scheduler, while that is stopped: as years of work leave it.

`history` has the queries.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2

from lab.benchmarks.prose import prose
from lab.benchmarks.scale import history as past
from lab.benchmarks.scale.bulk_copy import BulkCopy
from lab.benchmarks.scale.history import History
from scheduler_svc.postgres import EmbeddedPostgres

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
        fill(BulkCopy(server.dsn(), folder, say), accounts, years)


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
    """A table of articles, dropped at the end."""
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
