"""Imports are idempotent, dry runs write nothing, and unreadable sources are refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from scheduler_svc.importing.sql import one_at_a_time
from tests.harness.importing import Importing, ImportingFrom, Sqlite
from tests.harness.old_application import LONG_AGO, OldApplication, old_application


def fill(old: OldApplication) -> None:
    old.account()
    for number, status in enumerate(["pending", "failed", "cancelled", "nonsense"], 1):
        old.task(number, status)
    for number in (5, 6):
        old.completed(number)
        old.entry(number)
    old.task(7, "completed", content_id=5)
    old.content(8, review_status="rejected")
    old.entry(8)


def test_a_second_import_changes_nothing(importing: Importing, old: OldApplication) -> None:
    fill(old)
    assert importing() == 3
    first, left_out = importing.dump(), importing.left_out
    assert importing() == 3
    assert importing.dump() == first
    assert importing.left_out == left_out
    assert importing.sums() == {
        "accounts": (0, 1, 0),
        "tasks": (0, 5, 2),
        "contents": (0, 3, 0),
        "pool entries": (0, 2, 1),
    }
    importing.check()


def test_a_dry_run_prints_the_same_and_writes_nothing(importing: Importing, old: OldApplication) -> None:
    fill(old)
    before = importing.dump()
    assert importing("--dry-run") == 3
    assert "Nothing was written." in importing.out
    report = importing.left_out, importing.sums()
    assert importing.dump() == before
    assert importing() == 3
    assert (importing.left_out, importing.sums()) == report
    assert importing("--dry-run") == 3
    assert importing.sums()["tasks"] == (0, 5, 2)


def test_a_repaired_row_is_imported_the_next_time(importing: Importing, old: OldApplication) -> None:
    fill(old)
    assert importing() == 3
    old.sql("UPDATE content_generation_tasks SET status = 'pending' WHERE id = 4")
    old.sql("DELETE FROM content_generation_tasks WHERE id = 7")
    old.sql("DELETE FROM publish_pool WHERE id = 8")
    assert importing() == 0
    assert importing.sums()["tasks"] == (1, 5, 0)


def test_cleaned_up_tasks_are_not_imported_again(importing: Importing, old: OldApplication) -> None:
    fill(old)
    assert importing() == 3
    importing.sql("DELETE FROM tasks WHERE status = 5 RETURNING 1")
    assert importing() == 3
    assert importing.sql("SELECT count(*) FROM tasks WHERE status = 5") == [(0,)]


def test_times_of_sqlite_are_utc_whatever_their_form(sqlite: Sqlite, tmp_path: Path) -> None:
    importing = sqlite("old.db")
    forms = ["2025-03-01 08:30:00", "2025-03-01T08:30:00.000000", "2025-03-01T16:30:00+08:00", "2025-03-01T08:30:00Z"]
    with old_application(importing.source) as old:
        old.account()
        for number, form in enumerate([*forms, "yesterday"], 1):
            old.task(number, "failed", created_at=None)
            old.sql(f"UPDATE content_generation_tasks SET completed_at = '{form}' WHERE id = {number}")
    assert importing() == 0
    times = importing.sql("SELECT end_time FROM tasks JOIN task_payloads USING (task_key) ORDER BY topic")
    assert [row[0] for row in times[:4]] == [LONG_AGO] * 4
    assert times[4][0] > LONG_AGO


def test_wrong_types_in_sqlite_columns_are_judged_row_by_row(sqlite: Sqlite, tmp_path: Path) -> None:
    importing = sqlite("old.db")
    with old_application(importing.source) as old:
        old.account()
        for number in range(1, 8):
            old.task(number)
        for assignment, number in (
            ("topic = CAST(x'ff41' AS TEXT)", 1),
            ("topic = 'a' || char(0)", 2),
            ("priority = 'high'", 3),
            ("account_id = '1'", 4),
            ("priority = 8.0", 5),
            ("retry_count = 1e300", 6),
            (f"topic = '{'x' * 4001}'", 7),
        ):
            old.sql(f"UPDATE content_generation_tasks SET {assignment} WHERE id = {number}")
    assert importing() == 3
    assert importing.left_out == [
        "task 1: topic holds NUL or bytes that are no UTF-8, which can't be stored",
        "task 2: topic holds NUL or bytes that are no UTF-8, which can't be stored",
        "task 3: priority should be a whole number of 18 digits at most, is 'high'",
        "task 6: retry_count should be a whole number of 18 digits at most, is 1e+300",
        "task 7: topic has 4,001 characters, and may have 4,000",
    ]
    assert importing.sums()["tasks"] == (2, 0, 5)
    importing.check()


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_sqlite_file_is_not_changed_and_gets_no_file_beside_it(sqlite: Sqlite, tmp_path: Path, mode: str) -> None:
    importing = sqlite("old #1 %.db")
    with old_application(importing.source) as old:
        old.sql(f"PRAGMA journal_mode = {mode}")
        fill(old)
    file = tmp_path / "old #1 %.db"
    before = file.read_bytes()
    assert importing() == 3
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert file.read_bytes() == before


def test_a_sqlite_file_that_is_in_use_is_read_as_it_is_now(sqlite: Sqlite, tmp_path: Path) -> None:
    importing = sqlite("old.db")
    with old_application(importing.source) as old:
        fill(old)
    user = sqlite3.connect(tmp_path / "old.db")
    user.execute("PRAGMA journal_mode = wal")
    user.execute("UPDATE content_generation_tasks SET status = 'pending' WHERE id = 4")
    user.commit()
    try:
        assert importing() == 3
        assert importing.sums()["tasks"] == (6, 0, 1)
    finally:
        user.close()


@pytest.mark.parametrize("name", ["no.db", "no database.db"])
def test_a_missing_or_invalid_sqlite_file_is_refused(sqlite: Sqlite, tmp_path: Path, name: str) -> None:
    (tmp_path / "no database.db").write_bytes(b"something else, and more of it" * 100)
    importing = sqlite(name)
    assert importing() == 78
    assert importing.err.startswith("there is no SQLite file" if name == "no.db" else "can't read sqlite:///")
    assert not (tmp_path / "no.db").exists()


def test_a_database_of_another_application_is_refused(
    importing_from: ImportingFrom, db_url: str, empty_db_url: str
) -> None:
    importing = importing_from(empty_db_url)
    assert importing() == 78
    assert "has no table accounts: it is no database of the old application" in importing.err
    with old_application(empty_db_url, ["content_generation_tasks.task_id"]):
        assert importing() == 78
    assert "table content_generation_tasks has no column task_id" in importing.err
    own = importing_from(db_url)
    assert own() == 78
    assert "has no table content_generation_tasks" in own.err or "no column" in own.err


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "must be a SQLAlchemy URL"),
        ("postgresql://user:pass@word@host/name", "must be a SQLAlchemy URL"),
        ("postgresql://user:geheim@127.0.0.1:1/old", "can't read postgresql+psycopg2://user:***@127.0.0.1:1/old"),
        ("mysql://user:geheim@127.0.0.1/old", "there is no driver for mysql URLs"),
        ("oracle+nothing://127.0.0.1/old", "there is no driver for oracle+nothing URLs"),
    ],
)
def test_an_unreadable_source_is_refused(importing_from: ImportingFrom, url: str, said: str) -> None:
    importing = importing_from(url)
    assert importing() == 78
    assert said in importing.err
    assert "geheim" not in importing.err
    assert "Traceback" not in importing.err


def test_a_second_import_at_the_same_time_is_refused(sqlite: Sqlite, db_url: str) -> None:
    importing = sqlite("old.db")
    with old_application(importing.source) as old:
        fill(old)
    engine = sa.create_engine(db_url, poolclass=sa.NullPool)
    with one_at_a_time(engine):
        assert importing() == 78
    assert "another import runs on this database" in importing.err
    assert importing() == 3
