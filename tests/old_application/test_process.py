"""The import as a process: killed, interrupted and started again; its memory."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from old_application.old_rows import MAX_DOCUMENT, RowKind
from old_application.source import PAGE
from tests.harness.cluster import Databases
from tests.harness.database_faults import foreign_lock
from tests.harness.importing import (
    APPROVED_BUT_NOT_OFFERED,
    Importing,
    ImportingFrom,
    ImportProcess,
    OldApplication,
    fill,
    old_application,
)
from tests.harness.scheduling import sql
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.integration

Held = Callable[..., AbstractContextManager[tuple[ImportProcess, ExitStack]]]
"""An import that has imported so many tasks. It waits to remember the next one, until the lock is closed."""
ROWS = 3 * PAGE
FEW, MANY = 2 * PAGE, 7 * PAGE
GROWTH_KIB = 6 * 1024
"""Growth of the peak from FEW to MANY rows: a page, and the allocator's overhead. All rows would be 17 MiB."""
MAX_KIB = 500 * 1024
"""SQLite's limit of long texts (`old_application/old_source.py`), and 70 MiB for a process that imports nothing."""
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
COUNTS = {
    "SELECT count(*) FROM accounts": 10,
    "SELECT count(*) FROM tasks WHERE status = 1": ROWS // 2,
    "SELECT count(*) FROM tasks WHERE status = 4": ROWS // 2,
    "SELECT count(*) FROM contents": ROWS // 2,
    "SELECT count(DISTINCT labels->>'old_task_id') FROM task_payloads": ROWS,
    "SELECT count(*) FROM publish_pool WHERE priority = 8": ROWS // 6,
}


@pytest.fixture(scope="module")
def source(databases: Databases) -> Iterator[str]:
    """A PostgreSQL source of ROWS tasks, which tests only read."""
    with databases.lent() as url:
        with old_application(url) as old:
            fill(old, ROWS)
        yield url


@pytest.fixture
def held(engine: sa.Engine, db_url: str, tmp_path: Path) -> Held:
    @contextmanager
    def held(source: str, rows: int = PAGE) -> Iterator[tuple[ImportProcess, ExitStack]]:
        row = f"INSERT INTO imported (source_id, kind, old_id, new_id) VALUES (1, {RowKind.TASK:d}, {rows + 1}, 0)"
        settings = {"DATABASE_URL": db_url, "CONTENTGEN_LOCK_TIMEOUT": "60s"}
        with ExitStack() as lock:
            lock.enter_context(foreign_lock(db_url, row))
            with ImportProcess(source, tmp_path, **settings) as process:
                wait_until(lambda: count(engine, WAITING), within=120, what="the import waits")
                assert count(engine) == rows
                yield process, lock

    return held


def count(engine: sa.Engine, query: str = "SELECT count(*) FROM tasks") -> int:
    ((number,),) = sql(engine, query)
    return int(number)


def check_the_rest_is_imported(engine: sa.Engine, importing: Importing, imported: int) -> None:
    assert importing() == 0
    assert importing.sums()["tasks"] == (ROWS - imported, imported, 0)
    assert {query: count(engine, query) for query in COUNTS} == COUNTS
    importing.check(but=APPROVED_BUT_NOT_OFFERED)


@pytest.mark.costly("an import runs as a process, twice", seconds=1)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_import_resumes_where_it_stopped(
    held: Held, engine: sa.Engine, source: str, importing_from: ImportingFrom, number: signal.Signals
) -> None:
    with held(source) as (cut_off, lock):
        cut_off.signal(number)
        lock.close()
        cut_off.ended(status=130 if number is signal.SIGINT else -number)
    assert count(engine) == PAGE
    assert ("run the same command again" in cut_off.text()) == (number is signal.SIGINT)
    check_the_rest_is_imported(engine, importing_from(source), PAGE)


def test_the_import_s_memory_does_not_grow_with_the_rows(held: Held, empty_db_url: str) -> None:
    with old_application(empty_db_url) as old:
        fill(old, MANY)
    with held(empty_db_url, FEW) as (process, lock):
        after_few = process.peak_kib
        lock.close()
        process.ended()
    assert process.peak_kib - after_few < GROWTH_KIB


@pytest.mark.costly("reads large rows, since the limit is one of size", seconds=3)
def test_the_import_s_memory_does_not_grow_with_the_texts_of_a_server(
    db_url: str, empty_db_url: str, tmp_path: Path
) -> None:
    with old_application(empty_db_url) as old:
        old.account()
        for number in range(1, 8):
            old.task(number)
        text = "repeat(repeat('a', 1024 * 1024), CASE id WHEN 1 THEN 40 ELSE 20 END) || '\U0001f600'"
        old.compute("content_generation_tasks", result=text)
    with ImportProcess(empty_db_url, tmp_path, DATABASE_URL=db_url) as process:
        process.ended(status=3)
    assert "left out: task 1: its row has more than 32 MiB\n" in process.out
    assert process.peak_kib < MAX_KIB


def with_long_accounts(old: OldApplication) -> None:
    """Fourteen of 30 MiB each, of which only the beginning is imported."""
    for number in range(1, 15):
        old.account(number, name="")
    old.compute("accounts", directory_name="hex(zeroblob(15 * 1024 * 1024))")


def with_long_results(old: OldApplication) -> None:
    """Of 30 MiB each, as texts and as blobs: all of them together are more than the limit."""
    old.account()
    for number in range(1, 9):
        old.task(number)
    result = "CASE id % 2 WHEN 0 THEN hex(zeroblob(15 * 1024 * 1024)) ELSE zeroblob(30 * 1024 * 1024) END"
    old.compute("content_generation_tasks", result=result)


def with_one_content_that_is_too_long(old: OldApplication) -> None:
    """Of the first of many tasks, whose result is long too: the page is halved until it holds only that one."""
    old.account()
    for number in range(1, 129):
        old.completed(number)
    text = "hex(zeroblob(7 * 1024 * 1024))"
    result = f"""'{{"content": "' || {text} || '\\ud83d\\ude00"}}'"""  # four times as large when it is read
    old.compute("content_generation_tasks", result=f"CASE id WHEN 1 THEN {result} ELSE result END")
    old.compute("contents", content="CASE id WHEN 1 THEN hex(zeroblob(20 * 1024 * 1024)) ELSE content END")


def with_a_document_of_many_values(old: OldApplication) -> None:
    """The largest result that is parsed: nested lists."""
    old.account()
    nested = "[" * 40 + "]" * 40
    old.task(1, result=[])
    many = MAX_DOCUMENT // (len(nested) + 1) - 1
    old.sql(
        f"UPDATE content_generation_tasks SET result = '[' || replace(hex(zeroblob({many})), '00', '{nested},') || '0]'"
    )


@pytest.mark.costly("reads large rows, since the limit is one of size", seconds=2)
@pytest.mark.parametrize(
    ("spoil", "status", "most"),
    [
        (with_long_accounts, 0, MAX_KIB),
        (with_long_results, 0, 300 * 1024),
        (with_one_content_that_is_too_long, 3, MAX_KIB),
        (with_a_document_of_many_values, 0, MAX_KIB),
    ],
)
def test_an_import_frees_the_rows_that_it_has_read(
    db_url: str, tmp_path: Path, spoil: Callable[[OldApplication], None], status: int, most: int
) -> None:
    source = f"sqlite:///{tmp_path}/old.db"
    with old_application(source) as old:
        spoil(old)
    with ImportProcess(source, tmp_path, DATABASE_URL=db_url) as process:
        process.ended(status=status)
    assert process.peak_kib < most


def test_a_slow_source_keeps_no_lock_waiting(engine: sa.Engine, db_url: str, empty_db_url: str, tmp_path: Path) -> None:
    """Accounts can be made meanwhile, and the server has no idle transaction to end."""
    with old_application(empty_db_url) as old:
        old.account()
        old.sql(
            "CREATE FUNCTION slow() RETURNS text STABLE LANGUAGE plpgsql"
            " AS 'BEGIN PERFORM pg_advisory_lock_shared(1); RETURN ''dir''; END'"
        )
        old.compute("accounts", directory_name="slow()")
    name = sa.make_url(empty_db_url).database
    waits = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND wait_event = 'advisory'"
    with ExitStack() as stack:
        with foreign_lock(empty_db_url, "SELECT pg_advisory_lock(1)"):
            process = stack.enter_context(ImportProcess(empty_db_url, tmp_path, DATABASE_URL=db_url))
            wait_until(lambda: count(engine, waits), within=30, what="the import waits for its source")
            assert count(engine, "SELECT count(*) FROM pg_locks WHERE relation = 'accounts'::regclass") == 0
        process.ended()
    assert count(engine, "SELECT count(*) FROM accounts") == 1


def test_a_lost_database_is_named_and_the_rest_is_imported_later(
    held: Held, engine: sa.Engine, source: str, importing_from: ImportingFrom
) -> None:
    ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'contentgen'"
    with held(source) as (process, _):
        sql(engine, "UPDATE pg_database SET datallowconn = false WHERE datname = current_database()")
        assert count(engine, ended) >= 1
        process.ended(status=1)
    assert "the database of the schedulers can't be used" in process.text()
    assert "run the same command again" in process.text()
    sql(engine, "UPDATE pg_database SET datallowconn = true WHERE datname = current_database()")
    check_the_rest_is_imported(engine, importing_from(source), PAGE)


def test_a_lost_source_is_named_and_the_rest_is_imported_later(
    held: Held, engine: sa.Engine, source: str, importing_from: ImportingFrom
) -> None:
    with held(source) as (process, lock):
        name = sa.make_url(source).database
        cut = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'"
        assert count(engine, cut) == 1
        lock.close()
        process.ended(status=78)
    assert process.text().startswith("can't read postgresql+psycopg2://")
    imported = 2 * PAGE  # the second page had been read
    assert count(engine) == imported < ROWS
    check_the_rest_is_imported(engine, importing_from(source), imported)
