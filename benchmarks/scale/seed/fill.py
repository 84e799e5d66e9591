"""Fills a scheduler's database past the scheduler, while that is stopped: as years of work leave it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2

from benchmarks.prose import prose
from benchmarks.scale.seed import calls, lives
from benchmarks.scale.seed.bulk_copy import Say, fill
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


class Years(NamedTuple):
    """What there is to be. Times go back from now."""

    tasks: int
    span: timedelta
    contents: int
    """The newest so many tasks still have their contents."""
    body: int
    """Bytes of a body."""
    audit: int
    audit_span: timedelta
    deliveries: int
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
    values = {
        "tasks": years.tasks,
        "begin": end - years.span // timedelta(milliseconds=1),
        "end": end,
        "accounts": list(accounts),
        "contents": years.contents,
    }
    with _bodies(cursor, years.body):
        for table, query in lives.TABLES.items():
            say(f"{table}: {fill(dsn, folder, table, query, values, say):,} rows")
    for what, statement in lives.AFTERWARDS.items():
        _statement(cursor, what, statement, say)


def _calls(dsn: str, folder: Path, cursor: Any, accounts: Sequence[int], years: Years, say: Say) -> None:
    cursor.execute(calls.WEBHOOK, {"account": accounts[0]})
    values = {"accounts": list(accounts), "webhook": cursor.fetchone()[0]}
    for table, query, rows, span in (
        ("audit_events", calls.AUDIT, years.audit, years.audit_span),
        ("webhook_deliveries", calls.DELIVERIES, years.deliveries, years.deliveries_span),
    ):
        if rows:
            end = int(time.time() * 1000)
            times = {"rows": rows, "begin": end - span // timedelta(milliseconds=1), "end": end}
            say(f"{table}: {fill(dsn, folder, table, query, values | times, say):,} rows")
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
