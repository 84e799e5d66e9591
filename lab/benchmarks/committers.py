"""Connections that commit at the same time, with hints for other replicas: in no way, in the commit, or after it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import closing

import psycopg2
import sqlalchemy as sa

from lab.benchmarks.goals import Figure
from scheduler_svc.database.notifications import PgNotifier
from scheduler_svc.runtime.signals import CommitSignals, Notifier

FLUSH_S = 0.002
ROUNDS = 3
ROUND_S = 1.0

_SETTINGS = f"SET commit_delay = {FLUSH_S * 1e6:.0f}; SET commit_siblings = 0"  # as on a disk that takes so long
_WRITE = "BEGIN; INSERT INTO count_deltas (account_id, kind, n) VALUES (0, 1, 0); COMMIT"
_WRITE_AND_NOTIFY = _WRITE.replace("COMMIT", "NOTIFY contentgen, '{}'; COMMIT")

Told = Callable[[], None]


async def figures(url: str, committers: int) -> list[Figure]:
    """The three ways in turn, several times, on the database of this URL."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    notifier = Notifier(PgNotifier(engine), "benchmark")
    notifier.start()
    ways: dict[str, tuple[str, Told]] = {
        "no hint": (_WRITE, lambda: None),
        "NOTIFY in each": (_WRITE_AND_NOTIFY, lambda: None),
        "hints after them": (_WRITE, lambda: notifier.notify(CommitSignals(ready=True))),
    }
    try:
        rates = await asyncio.to_thread(_rates, engine, committers, ways)
    finally:
        await notifier.stop()
    plain = rates["no hint"]
    name = f"{committers} committers, {FLUSH_S * 1e3:g} ms a flush"
    return [
        Figure(f"{name}, {way}", rate, "commits/s", committers, note=f"{rate / plain:.2f} of those without")
        for way, rate in rates.items()
    ]


def _rates(engine: sa.Engine, committers: int, ways: dict[str, tuple[str, Told]]) -> dict[str, float]:
    rates = dict.fromkeys(ways, 0.0)
    for _ in range(ROUNDS):
        for way, (statement, notification) in ways.items():
            rates[way] += _rate(engine, committers, statement, notification) / ROUNDS
    return rates


def _rate(engine: sa.Engine, committers: int, statement: str, notification: Told) -> float:
    """Commits a second of so many connections."""
    counts = [0] * committers
    barrier, end = threading.Barrier(committers + 1), threading.Event()

    def commit(number: int) -> None:
        with closing(_connection(engine)) as connection, connection.cursor() as cursor:
            barrier.wait()
            while not end.is_set():
                cursor.execute(statement)
                notification()
                counts[number] += 1

    threads = [threading.Thread(target=commit, args=(number,)) for number in range(committers)]
    for thread in threads:
        thread.start()
    barrier.wait()
    begin = time.monotonic()
    time.sleep(ROUND_S)
    committed, seconds = sum(counts), time.monotonic() - begin
    end.set()
    for thread in threads:
        thread.join()
    return committed / seconds


def _connection(engine: sa.Engine) -> psycopg2.extensions.connection:
    arguments, options = engine.dialect.create_connect_args(engine.url)
    connection: psycopg2.extensions.connection = psycopg2.connect(*arguments, **options)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(_SETTINGS)
    return connection
