"""Fills a scheduler's database past the scheduler, while that is stopped: as years of work leave it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2

from benchmarks.prose import prose
from benchmarks.scale.seed import calls, lives
from benchmarks.scale.seed.bulk_copy import Say, copy_into
from benchmarks.scale.seed.lives import History
from scheduler_svc.postgres import EmbeddedPostgres

BODIES = 1_000
"""Different bodies."""
_SETTINGS = (
    "wal_level=minimal",
    "max_wal_senders=0",
    "autovacuum=off",
    "maintenance_work_mem=1GB",
    "work_mem=256MB",
    "max_wal_size=8GB",
    "checkpoint_timeout=30min",
)
"""Of the server while it is filled: none of them stays."""
_MILLISECOND = timedelta(milliseconds=1)


class Years(NamedTuple):
    """What there is to be; the spans end now."""

    tasks: int
    contents: int
    """The newest so many tasks still have their contents."""
    body: int
    """Bytes of a body."""
    audit: int
    deliveries: int
    span: timedelta
    """Over which tasks are spread."""
    audit_span: timedelta
    deliveries_span: timedelta


def seed(folder: Path, accounts: Sequence[int], years: Years, say: Say) -> None:
    """Fills the database in `folder`, which a scheduler has made. The last of the accounts gets few tasks."""
    server = EmbeddedPostgres(folder / "data" / "postgres", settings=_SETTINGS)
    with server, closing(psycopg2.connect(server.dsn())) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            _tasks(server.dsn(), folder, cursor, accounts, years, say)
            _calls(server.dsn(), folder, cursor, accounts, years, say)
            _statement(cursor, "statistics", "ANALYZE", say)
            _statement(cursor, "a checkpoint", "CHECKPOINT", say)


def _tasks(dsn: str, folder: Path, cursor: Any, accounts: Sequence[int], years: Years, say: Say) -> None:
    end = int(time.time() * 1000) - 600_000
    history = History(years.tasks, 0, 0, end - years.span // _MILLISECOND, end, list(accounts), years.contents)
    with _bodies(cursor, years.body):
        for table, query in lives.TABLES.items():
            say(f"{table}: {copy_into(dsn, folder, table, query, history._asdict(), say):,} rows")
    for what, statement in lives.AFTERWARDS.items():
        _statement(cursor, what, statement, say)


def _calls(dsn: str, folder: Path, cursor: Any, accounts: Sequence[int], years: Years, say: Say) -> None:
    cursor.execute(calls.WEBHOOK, {"account": accounts[0]})
    values = {"accounts": list(accounts), "webhook": cursor.fetchone()[0]}
    for table, query, rows, span in (
        ("audit_events", calls.AUDIT, years.audit, years.audit_span),
        ("webhook_deliveries", calls.DELIVERIES, years.deliveries, years.deliveries_span),
    ):
        end = int(time.time() * 1000)
        times = {"rows": rows, "begin": end - span // _MILLISECOND, "end": end}
        say(f"{table}: {copy_into(dsn, folder, table, query, values | times, say):,} rows")
    cursor.execute(calls.AFTERWARDS)


@contextmanager
def _bodies(cursor: Any, length: int) -> Iterator[None]:
    """A table of articles, dropped at the end."""
    chance = random.Random(3)
    cursor.execute("CREATE TABLE seed_bodies (id integer PRIMARY KEY, body text NOT NULL)")
    try:
        bodies = [prose(chance, length) for _ in range(BODIES)]
        cursor.execute("INSERT INTO seed_bodies SELECT n - 1, b FROM unnest(%s) WITH ORDINALITY AS u(b, n)", (bodies,))
        yield
    finally:
        cursor.execute("DROP TABLE seed_bodies")


def _statement(cursor: Any, what: str, statement: str, say: Say) -> None:
    begin = time.monotonic()
    cursor.execute(statement)
    say(f"{what}: {time.monotonic() - begin:.0f} s")


def write_more(dsn: str, tasks: int, accounts: Sequence[int]) -> None:
    """Adds so many ended tasks of the last minutes to a database in use, without contents, as a scheduler would."""
    end = int(time.time() * 1000) - 200_000
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(lives.RESERVE, {"moves": 4 * tasks})
        (moves,) = cursor.fetchone()
        history = History(tasks, lives.LATER, moves, end - 400_000, end, list(accounts))
        for table, query in lives.OF_TASKS.items():
            cursor.execute(f"INSERT INTO {table} {query}", history._asdict())
        cursor.execute(lives.COUNT_MORE, history._asdict())
        connection.commit()
