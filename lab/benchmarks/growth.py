"""What has to stay quick when there is much of it, measured past the scheduler, beside the plain way.

Looks at what ended, at workers, at moves; and connections that commit at the same time, with hints for other replicas:
in no way, in the commit, or after it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

import psycopg2
import sqlalchemy as sa

from contentgen import ContentGenerationClient
from lab.benchmarks.goals import Figure
from lab.benchmarks.stack import Stack
from scheduler_svc.database.notifications import PgNotifier
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.lifecycle import ENDED
from scheduler_svc.domain.task import TaskFilter
from scheduler_svc.retention import work as retention
from scheduler_svc.runtime.signals import CommitSignals, Notifier
from scheduler_svc.tasks.bulk import MAX_BATCH
from scheduler_svc.transactions import Database, Tx, make_engine
from scheduler_svc.watch import work as changes
from scheduler_svc.watch.work import Selection
from tests.harness.scheduling import COLUMNS, NO_OTHER_TEXTS

FLUSH_S = 0.002
ROUNDS = 3

_SETTINGS = f"SET commit_delay = {FLUSH_S * 1e6:.0f}; SET commit_siblings = 0"  # as on a disk that takes so long
_WRITE = "BEGIN; INSERT INTO count_deltas (account_id, kind, n) VALUES (0, 1, 0); COMMIT"
_WRITE_AND_NOTIFY = _WRITE.replace("COMMIT", "NOTIFY contentgen, '{}'; COMMIT")

Notification = Callable[[], None]


async def of_committers(url: str, committers: int) -> list[Figure]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    notifier = Notifier(PgNotifier(engine), "benchmark")
    notifier.start()
    ways: dict[str, tuple[str, Notification]] = {
        "no hint": (_WRITE, lambda: None),
        "NOTIFY in each": (_WRITE_AND_NOTIFY, lambda: None),
        "hints after them": (_WRITE, lambda: notifier.notify(CommitSignals(ready=True))),
    }
    rates = dict.fromkeys(ways, 0.0)
    try:
        for way in [*ways] * ROUNDS:
            rates[way] += await asyncio.to_thread(_rate, engine, committers, *ways[way]) / ROUNDS
    finally:
        await notifier.stop()
    plain = rates["no hint"]
    name = f"{committers} committers, {FLUSH_S * 1e3:g} ms a flush"
    return [
        Figure(f"{name}, {way}", rate, "commits/s", committers, note=f"{rate / plain:.2f} of those without")
        for way, rate in rates.items()
    ]


def _rate(engine: sa.Engine, committers: int, statement: str, notification: Notification) -> float:
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
    time.sleep(1.0)
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


LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)

_CANCELLED = """
    INSERT INTO tasks (task_key, account_id, status, priority, auto_approve, auto_retry, max_retries, timeout_ms,
        end_time)
    SELECT n, 1 + n % 4, 7, 5, true, true, 3, 60000, now() FROM generate_series(1, :count) AS n
"""
_WORKERS = """
    INSERT INTO workers (worker_id, session_key, folder_id, session_number, process_id, hostname, version, slots,
        labels, creator_path, creator_version, scheduler_id, connected, draining, connect_time, heartbeat_time,
        desired_drain)
    SELECT 'worker-' || n || '-of-some-host-name', n, 'f', 1, 'p', 'some-host-name', '1.0.0', 4,
        '{"zone": "a"}', 'content-creator', 'content-creator 3', 'a-scheduler', true, false, now(),
        now() + interval '1 h', false
    FROM generate_series(1, :count) AS n
"""
_MOVES = f"""
    WITH made AS (
        INSERT INTO tasks (task_key, account_id, status, priority, auto_approve, auto_retry, max_retries, timeout_ms)
        SELECT n, CASE WHEN n % 100 = 0 THEN 1 ELSE 2 END, 1, 5, true, true, 3, 60000
        FROM generate_series(1, :count) AS n RETURNING task_key
    ), payloads AS (
        INSERT INTO task_payloads ({COLUMNS}) SELECT task_key, 'a topic', {NO_OTHER_TEXTS} FROM made
    )
    INSERT INTO task_events (task_key, previous_status, status, attempt, reason)
    SELECT task_key, 0, 1, 0, '' FROM made ORDER BY task_key
"""

R = TypeVar("R")


@contextmanager
def _filled(url: str, statement: str, count: int) -> Iterator[Database]:
    engine = make_engine(url, 1, hot=True)
    with engine.connect() as connection:
        connection.execute(sa.text(statement), {"count": count})
        connection.exec_driver_sql("ANALYZE")
    database = Database(engine, lambda _: None, lambda _: None)
    try:
        yield database
    finally:
        database.dispose()


def of_retention(url: str, count: int) -> list[Figure]:
    """Measures a look for what is older than a year, where all is of today."""
    with _filled(url, _CANCELLED, count) as database:
        due = TaskFilter(statuses=ENDED, deletable_since=database.run(lambda tx: tx.now - YEAR))
        sweep = retention.ended_tasks(YEAR)

        def look_at_due(position: datetime, tx: Tx) -> datetime | None:
            swept = retention.sweep_exclusively(tx, sweep, position)
            return swept.position if swept and swept.more and isinstance(swept.position, datetime) else None

        plain = _walked(database, lambda after, tx: tx.task_reads.find(due, after, MAX_BATCH).last, 0)
        quick = _walked(database, look_at_due, LONG_AGO)
    return _compared(f"retention, {count:,} ended, none due", count, {"looking at all": plain, "at what is due": quick})


def of_workers(stack: Stack, count: int) -> list[Figure]:
    """Measures the whole pool by the client, however many pages that is."""
    with _filled(stack.url, _WORKERS, count), ContentGenerationClient(stack.target) as client:
        client.get_worker_pool_status()  # it connects
        begin = time.monotonic()
        statuses = len(client.get_worker_pool_status()["worker_statuses"])
        ms = (time.monotonic() - begin) * 1e3
    return [Figure(f"the pool of {count:,} workers", ms, "ms", statuses, note="all pages, by the Python client")]


def of_moves(url: str, count: int) -> list[Figure]:
    """Measures an account's moves from the first one on, among those of others."""
    with _filled(url, _MOVES, count) as database:
        last = database.run(lambda tx: tx.changes.last())

        def read_all(after: int, tx: Tx) -> int | None:
            page, _ = changes.read_all(tx, after, last, lambda _, account_id: account_id == 1)
            return page.end if page.end < last else None

        def read_own(after: int, tx: Tx) -> int | None:
            page = changes.read_selected(tx, Selection(scope=Scope.of(1)), after, last, changes.MAX_PAGE)
            return page.end if page.end < last else None

        ways = {"reading all": _walked(database, read_all, 0), "in chunks": _walked(database, read_own, 0)}
    return _compared(f"watch of an account with 1% of {count:,} moves", count, ways)


def _walked(database: Database, look: Callable[[R, Tx], R | None], start: R) -> tuple[float, int]:
    """Goes on where each look ended, to the end; returns the milliseconds and the transactions that took."""
    begin = time.monotonic()
    position: R | None = start
    transactions = 0
    while position is not None:
        position = database.run(partial(look, position))
        transactions += 1
    return (time.monotonic() - begin) * 1e3, transactions


def _compared(name: str, count: int, ways: dict[str, tuple[float, int]]) -> list[Figure]:
    (plain, (plain_ms, plain_pages)), (quick, (quick_ms, quick_pages)) = ways.items()
    note = f"{quick_pages}, {quick_ms / plain_ms:.3f} of the time"
    return [
        Figure(f"{name}: {plain}", plain_ms, "ms", count, note=f"{plain_pages} transactions"),
        Figure(f"{name}: {quick}", quick_ms, "ms", count, note=note),
    ]
