"""The import as a process: killed, interrupted and started again; its memory."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from scheduler_svc.domain.old_rows import MAX_DOCUMENT
from tests.harness.cluster import Databases
from tests.harness.foreign_locks import foreign_lock
from tests.harness.import_process import ImportProcess, fill
from tests.harness.importing import APPROVED_BUT_NOT_OFFERED
from tests.harness.old_application import OldApplication, old_application
from tests.harness.scheduling import INVARIANTS
from tests.harness.waiting import wait_until

ROWS = 6_000
FEW, MANY = 2_000, 30_000
GROWTH_KIB = 12 * 1024
"""Growth of the peak from FEW to MANY rows: a page, and the allocator's overhead. All rows would be 200 MiB."""
MAX_KIB = 500 * 1024
"""SQLite's limit of long texts (`store/old_application/source.py`), and 70 MiB for a process that imports nothing."""

COUNTS = {
    "SELECT count(*) FROM accounts": 10,
    "SELECT count(*) FROM tasks WHERE status = 1": ROWS // 2,
    "SELECT count(*) FROM tasks WHERE status = 4": ROWS // 2,
    "SELECT count(*) FROM contents": ROWS // 2,
    "SELECT count(DISTINCT labels->>'old_task_id') FROM task_payloads": ROWS,
    "SELECT count(*) FROM publish_pool WHERE priority = 8": ROWS // 6,
}


@pytest.fixture
def source(empty_db_url: str) -> str:
    """A PostgreSQL source of ROWS tasks."""
    with old_application(empty_db_url) as old:
        fill(old, ROWS)
    return empty_db_url


def count(engine: sa.Engine, query: str = "SELECT count(*) FROM tasks") -> int:
    with engine.connect() as connection:
        return int(connection.execute(sa.text(query)).scalar_one())


def check_all_is_there_once(engine: sa.Engine) -> None:
    assert {query: count(engine, query) for query in COUNTS} == COUNTS
    with engine.connect() as connection:
        for what, query in INVARIANTS.items():
            assert what == APPROVED_BUT_NOT_OFFERED or connection.execute(sa.text(query)).fetchall() == [], what


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_import_resumes_where_it_stopped(
    engine: sa.Engine, db_url: str, source: str, tmp_path: Path, number: signal.Signals
) -> None:
    with ImportProcess(source, tmp_path, DATABASE_URL=db_url) as cut_off:
        wait_until(lambda: count(engine), within=30, what="some tasks are there")
        cut_off.signal(number)
        cut_off.ended(status=130 if number is signal.SIGINT else -number)
    there = count(engine)
    assert 0 < there < ROWS
    assert ("run the same command again" in cut_off.text()) == (number is signal.SIGINT)

    with ImportProcess(source, tmp_path, DATABASE_URL=db_url) as again:
        again.ended()
    taken, before, left_out = (int(text.replace(",", "")) for text in again.line("tasks").split()[-3:])
    assert (taken, before, left_out) == (ROWS - there, there, 0)
    check_all_is_there_once(engine)


def test_the_import_s_memory_does_not_grow_with_the_rows(databases: Databases, template: str, tmp_path: Path) -> None:
    peaks = []
    for rows in (FEW, MANY):
        with databases.lent() as source, databases.lent(template) as db_url:
            with old_application(source) as old:
                fill(old, rows)
            with ImportProcess(source, tmp_path, DATABASE_URL=db_url) as process:
                process.ended()
            peaks.append(process.peak_kib)
    assert peaks[1] - peaks[0] < GROWTH_KIB


@pytest.mark.parametrize(
    ("computed", "status"),
    [
        ("hex(zeroblob(15 * 1024 * 1024))", 0),
        ("zeroblob(30 * 1024 * 1024)", 0),
        ("hex(zeroblob(15 * 1024 * 1024)) || '\U0001f600'", 3),  # four bytes a character, for the sake of one
    ],
)
def test_the_import_s_memory_does_not_grow_with_the_texts(
    db_url: str, tmp_path: Path, computed: str, status: int
) -> None:
    source = f"sqlite:///{tmp_path}/old.db"
    with old_application(source) as old:
        old.account()
        for number in range(1, 13):
            old.task(number)
        old.sql("ALTER TABLE content_generation_tasks RENAME TO rows_of_tasks")
        old.sql(
            "CREATE VIEW content_generation_tasks AS"
            f" SELECT id, task_id, account_id, topic, {computed} AS result FROM rows_of_tasks"
        )
    with ImportProcess(source, tmp_path, DATABASE_URL=db_url) as process:
        process.ended(status=status)
    assert process.peak_kib < MAX_KIB


def test_the_import_s_memory_does_not_grow_with_the_texts_of_a_server(
    db_url: str, empty_db_url: str, tmp_path: Path
) -> None:
    with old_application(empty_db_url) as old:
        old.account()
        for number in range(1, 21):
            old.task(number)
        text = "repeat('a', CASE id WHEN 1 THEN 40 ELSE 20 END * 1024 * 1024) || '\U0001f600'"
        old.sql("ALTER TABLE content_generation_tasks RENAME TO some_rows")
        old.sql(
            "CREATE VIEW content_generation_tasks AS"
            f" SELECT id, task_id, account_id, topic, {text} AS result FROM some_rows"
        )
    with ImportProcess(empty_db_url, tmp_path, DATABASE_URL=db_url) as process:
        process.ended(status=3)
    assert process.line("left out") == "left out: task 1: its row has more than 32 MiB"
    assert process.peak_kib < MAX_KIB


def with_long_accounts(old: OldApplication) -> None:
    """Twenty of 30 MiB each, of which only the beginning is imported."""
    for number in range(1, 21):
        old.account(number, name="")
    old.sql("ALTER TABLE accounts RENAME TO some_rows")
    old.sql("CREATE VIEW accounts AS SELECT id, name, hex(zeroblob(15 * 1024 * 1024)) AS directory_name FROM some_rows")


def with_one_content_that_is_too_long(old: OldApplication) -> None:
    """Of the first of many tasks, whose result is long too: the page is halved until it holds only that one."""
    old.account()
    for number in range(1, 129):
        old.completed(number)
    text = "hex(zeroblob(7 * 1024 * 1024))"
    result = f"""'{{"content": "' || {text} || '\\ud83d\\ude00"}}'"""  # four times as large when it is read
    for table, column, value in (
        ("content_generation_tasks", "result", result),
        ("contents", "content", "hex(zeroblob(20 * 1024 * 1024))"),
    ):
        others = ", ".join(name for name in old.columns(table) if name != column)
        old.sql(f"ALTER TABLE {table} RENAME TO some_{table}")
        computed = f"CASE id WHEN 1 THEN {value} ELSE {column} END AS {column}"
        old.sql(f"CREATE VIEW {table} AS SELECT {others}, {computed} FROM some_{table}")


def with_a_document_of_many_values(old: OldApplication) -> None:
    """The largest result that is parsed: nested lists."""
    old.account()
    nested = "[" * 40 + "]" * 40
    old.task(1, result=[])
    many = MAX_DOCUMENT // (len(nested) + 1) - 1
    old.sql(
        f"UPDATE content_generation_tasks SET result = '[' || replace(hex(zeroblob({many})), '00', '{nested},') || '0]'"
    )


@pytest.mark.parametrize(
    ("spoil", "status"),
    [(with_long_accounts, 0), (with_one_content_that_is_too_long, 3), (with_a_document_of_many_values, 0)],
)
def test_an_import_frees_the_rows_that_it_has_read(
    db_url: str, tmp_path: Path, spoil: Callable[[OldApplication], None], status: int
) -> None:
    source = f"sqlite:///{tmp_path}/old.db"
    with old_application(source) as old:
        spoil(old)
    with ImportProcess(source, tmp_path, DATABASE_URL=db_url) as process:
        process.ended(status=status)
    assert process.peak_kib < MAX_KIB


def test_a_slow_source_keeps_no_lock_waiting(engine: sa.Engine, db_url: str, empty_db_url: str, tmp_path: Path) -> None:
    """Accounts can be made meanwhile, and the server has no idle transaction to end."""
    with old_application(empty_db_url) as old:
        old.account()
        old.sql(
            "CREATE FUNCTION slow() RETURNS text STABLE LANGUAGE plpgsql"
            " AS 'BEGIN PERFORM pg_advisory_lock_shared(1); RETURN ''dir''; END'"
        )
        old.sql("ALTER TABLE accounts RENAME TO some_rows")
        old.sql("CREATE VIEW accounts AS SELECT id, name, slow() AS directory_name FROM some_rows")
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
    engine: sa.Engine, db_url: str, source: str, tmp_path: Path
) -> None:
    ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'contentgen'"
    with ImportProcess(source, tmp_path, DATABASE_URL=db_url) as process:
        wait_until(lambda: count(engine), within=30, what="some tasks are there")
        with engine.connect() as connection:
            refused = "UPDATE pg_database SET datallowconn = false WHERE datname = current_database()"
            connection.execute(sa.text(refused))
            connection.commit()
        assert count(engine, ended) >= 1
        process.ended(status=1)
    assert "the database of the schedulers can't be used" in process.text()
    assert "run the same command again" in process.text()
    with engine.connect() as connection:
        connection.execute(sa.text("UPDATE pg_database SET datallowconn = true WHERE datname = current_database()"))
        connection.commit()
    with ImportProcess(source, tmp_path, DATABASE_URL=db_url) as again:
        again.ended()
    check_all_is_there_once(engine)


def test_a_lost_source_is_named_and_the_rest_is_imported_later(
    engine: sa.Engine, db_url: str, source: str, tmp_path: Path
) -> None:
    with ImportProcess(source, tmp_path, DATABASE_URL=db_url) as process:
        wait_until(lambda: count(engine), within=30, what="some tasks are there")
        name = sa.make_url(source).database
        cut = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'"
        assert count(engine, cut) == 1
        process.ended(status=78)
    assert process.text().startswith("can't read postgresql+psycopg2://")
    assert count(engine) < ROWS
    with ImportProcess(source, tmp_path, DATABASE_URL=db_url) as again:
        again.ended()
    check_all_is_there_once(engine)
