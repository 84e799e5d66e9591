"""The import as a process: killed, interrupted and started again; its memory."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from old_application import old_source
from old_application.old_rows import MAX_DOCUMENT, RowKind, RowsUnreadable
from old_application.old_source import open_source, read_url
from old_application.source import PAGE
from tests.harness.cluster import Databases
from tests.harness.database_faults import foreign_lock
from tests.harness.importing import (
    APPROVED_BUT_NOT_OFFERED,
    Importing,
    ImportingFrom,
    ImportProcess,
    OldApplication,
    Sqlite,
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


# Hostile and damaged old databases: good rows are imported, the rest is named, and the import ends.


Remade = Callable[..., Importing]
LONG_COLUMNS = [
    "keywords", "category", "requirements", "tone", "status", "result", "error_message", "created_at", "updated_at",
]  # fmt: skip


@pytest.fixture
def remade(sqlite: Sqlite, tmp_path: Path) -> Remade:
    """The command, from a file with an account and two tasks, changed by statements; tables have no primary keys."""

    def make(*statements: str) -> Importing:
        importing = sqlite("old.db")
        with old_application(importing.source) as old:
            old.account()
            old.completed(1)
            old.task(2)
        with closing(sqlite3.connect(tmp_path / "old.db", isolation_level=None)) as database:
            for table in ("accounts", "content_generation_tasks", "contents"):
                database.execute(f"CREATE TABLE loose AS SELECT * FROM {table}")
                database.execute(f"DROP TABLE {table}")
                database.execute(f"ALTER TABLE loose RENAME TO {table}")
            for statement in statements:
                database.execute(statement)
        return importing

    return make


def copy_task(key: str) -> str:
    """Another task: a copy of task 2 with another key."""
    columns = "task_id, account_id, topic"
    inserted = f"INSERT INTO content_generation_tasks (id, {columns}) SELECT {key}, {columns}"
    return f"{inserted} FROM content_generation_tasks WHERE id = 2"


@pytest.mark.parametrize("key", ["NULL", "'x'", "1.5", "x'07'", str(2**63 - 1), str(-(10**18))])
def test_rows_without_a_valid_key_are_counted_and_skipped(remade: Remade, key: str) -> None:
    importing = remade(
        copy_task(key), copy_task(key), f"INSERT INTO accounts (id, name) VALUES ({key}, 'x')", copy_task("3")
    )
    assert importing() == 3
    assert importing.left_out == [
        "1 accounts: their ids are not whole numbers of at most 18 digits",
        "2 tasks: their ids are not whole numbers of at most 18 digits",
    ]
    assert importing.sums()["tasks"] == (3, 0, 2)
    importing.check()


def test_more_rows_without_a_key_than_a_page_are_skipped(remade: Remade) -> None:
    numbers = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 1100)"
    importing = remade(f"{numbers} INSERT INTO content_generation_tasks (id, account_id) SELECT NULL, 1 FROM n")
    assert importing() == 3
    assert importing.sums()["tasks"] == (2, 0, 1_100)


def test_rows_that_share_a_key_are_left_out(remade: Remade) -> None:
    importing = remade(copy_task("3"), copy_task("3"), "INSERT INTO contents SELECT * FROM contents")
    assert importing() == 3
    shared = "2 rows have this id, and others can't name one of them"
    assert importing.left_out == [f"task 1: its content 1: {shared}", f"task 3: {shared}", f"content 1: {shared}"]
    before = importing.dump()
    assert importing() == 3
    assert importing.dump() == before


def test_rows_that_share_a_key_are_named_so_whatever_else_is_wrong(remade: Remade) -> None:
    tables = {"accounts": "name", "content_generation_tasks": "status", "contents": "content"}
    importing = remade(
        *[f"INSERT INTO {table} SELECT * FROM {table} WHERE id = 1" for table in tables],
        *[f"UPDATE {table} SET {column} = 'a' || char(0) WHERE id = 1" for table, column in tables.items()],
        "INSERT INTO publish_pool (id, content_id, status) VALUES (7, 1, 'nonsense')",
        "CREATE TABLE entries AS SELECT * FROM publish_pool",
        "DROP TABLE publish_pool",
        "CREATE VIEW publish_pool AS SELECT * FROM entries UNION ALL SELECT * FROM entries",
    )
    assert importing() == 3
    shared = "2 rows have this id, and others can't name one of them"
    problems = dict(line.split(": ", 1) for line in importing.left_out)
    for row in ("account 1", "task 1", "content 1", "pool entry 7"):
        assert problems[row] == shared


def test_references_in_text_columns_are_resolved(remade: Remade) -> None:
    importing = remade(
        "DROP TABLE publish_pool",
        "CREATE TABLE publish_pool (id INTEGER, content_id TEXT)",
        "INSERT INTO publish_pool VALUES (1, 1)",
    )
    assert importing() == 0
    assert importing.sums()["pool entries"] == (1, 0, 0)


def test_a_view_that_never_ends_is_cancelled(remade: Remade) -> None:
    importing = remade(
        "DROP TABLE contents",
        "CREATE VIEW contents AS WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n)"
        " SELECT n AS id, n AS account_id, n AS title, n AS content FROM n",
    )
    assert importing("--source-timeout", "1") == 78
    assert "a statement took longer than 1 s, the --source-timeout" in importing.err


@pytest.mark.parametrize(
    ("table", "column", "label"),
    [("accounts", "directory_name", "account"), ("content_generation_tasks", "keywords", "task")],
)
def test_a_text_that_exceeds_the_memory_leaves_out_only_its_row(
    sqlite: Sqlite, table: str, column: str, label: str
) -> None:
    importing = sqlite("old.db")
    with old_application(importing.source) as old:
        for number in (1, 2):
            old.account(number)
            old.task(number)
        old.compute(table, **{column: "CASE id WHEN 2 THEN hex(zeroblob(400000000)) END"})
    assert importing() == 3
    assert importing.left_out == [f"{label} 2: string or blob too big"]


def test_rows_too_large_together_are_left_out_if_they_cannot_be_read_separately(remade: Remade) -> None:
    long = "UPDATE content_generation_tasks SET tone = hex(zeroblob(10 * 1024 * 1024)) WHERE id = 3"
    importing = remade(copy_task("3"), copy_task("3"), copy_task("4"), long)
    assert importing() == 3
    assert importing.left_out == ["task 3: its rows have more than 32 MiB together"]
    assert importing.sums()["tasks"] == (3, 0, 1)


def test_a_row_that_exceeds_sqlite_s_memory_leaves_out_only_itself(sqlite: Sqlite) -> None:
    importing = sqlite("old.db")
    with old_application(importing.source) as old:
        old.account()
        old.task(1)
        old.task(2)
        text = "hex(zeroblob(15 * 1024 * 1024 * (id = 2)))"
        old.compute("content_generation_tasks", **dict.fromkeys(LONG_COLUMNS, text))
    with open_source(read_url(importing.source), timeout=10) as source:
        with pytest.raises(RowsUnreadable), source.reading(rows=True) as connection:
            connection.exec_driver_sql("SELECT * FROM content_generation_tasks").fetchall()
        with source.reading() as connection:
            driver = connection.connection.dbapi_connection
            assert isinstance(driver, sqlite3.Connection)
            assert driver.in_transaction, "what follows is not of one moment"
    assert importing() == 3
    assert importing.left_out == ["task 2: SQLite would need more than 192 MiB of memory for it"]


def test_a_row_that_a_server_cannot_compute_leaves_out_only_itself(
    importing_from: ImportingFrom, empty_db_url: str
) -> None:
    importing = importing_from(empty_db_url)
    with old_application(empty_db_url) as old:
        old.account()
        for number in range(1, 5):
            old.task(number)
        old.compute("content_generation_tasks", keywords="(1 / (id - 2))::text")
    assert importing() == 3
    assert importing.left_out == ["task 2: division by zero"]
    assert importing.sums()["tasks"] == (3, 0, 1)


def test_times_outside_python_s_range_count_as_missing(importing_from: ImportingFrom, empty_db_url: str) -> None:
    importing = importing_from(empty_db_url)
    times = ("infinity", "-infinity", "4713-01-01 00:00:00 BC", "294276-12-31 23:59:59")
    with old_application(empty_db_url) as old:
        for number, time in enumerate(times, 1):
            old.account(number)
            old.task(number, account_id=number)
            for table in ("accounts", "content_generation_tasks"):
                old.sql(f"UPDATE {table} SET created_at = '{time}' WHERE id = {number}")
    assert importing() == 0
    assert importing.sums()["tasks"] == (4, 0, 0)


def test_a_page_of_long_texts_is_read_in_parts(remade: Remade, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(old_source, "_MAX_ROWS_BYTES", 100_000)
    long = [copy_task(str(key)) for key in range(3, 10)]
    importing = remade(
        *long, "UPDATE content_generation_tasks SET requirements = printf('%.*c', 19000, 'a') WHERE id > 1"
    )
    assert importing() == 0
    assert importing.sums()["tasks"] == (9, 0, 0)


def test_keys_out_of_order_end_the_import(remade: Remade) -> None:
    importing = remade(
        "CREATE INDEX some_index ON accounts (is_active DESC)",
        "INSERT INTO accounts (id, name, is_active) VALUES (2, 'x', 2), (3, 'x', 3), (4, 'x', 4)",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = 'CREATE INDEX some_index ON accounts (id)' WHERE name = 'some_index'",
    )
    assert importing() == 78
    assert "the rows of accounts are out of order: the database is damaged" in importing.err


def test_a_damaged_file_is_refused_with_advice(remade: Remade, tmp_path: Path) -> None:
    importing = remade()
    data = bytearray((tmp_path / "old.db").read_bytes())
    data[4_096:] = bytes(len(data) - 4_096)
    (tmp_path / "old.db").write_bytes(data)
    assert importing() == 78
    assert "sqlite3 FILE .recover" in importing.err


def test_names_cannot_control_the_terminal(remade: Remade) -> None:
    importing = remade("UPDATE accounts SET name = 'a' || char(27) || '[2J' || char(10) || 'b'")
    importing.sql("INSERT INTO accounts (name, max_concurrent_tasks, weight) VALUES ('here', 0, 1) RETURNING 1")
    assert importing() == 78
    assert r'account 1 "a\x1b[2J\nb" of the source' in importing.err
