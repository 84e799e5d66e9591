"""The import of rows, accounts and whole sources, from SQLite and from PostgreSQL."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from old_application.sql import one_at_a_time
from tests.harness.importing import (
    APPROVED_BUT_NOT_OFFERED,
    LONG_AGO,
    SECRET,
    Importing,
    ImportingFrom,
    OldApplication,
    Sqlite,
    old_application,
)

pytestmark = pytest.mark.integration

OF_EITHER_KIND = pytest.mark.parametrize("old", ["sqlite"], indirect=True)
"""For tests of what becomes of rows that were read, however they were."""

S = timedelta(seconds=1)


def test_an_account_keeps_its_id_and_name_and_whether_it_is_active(importing: Importing, old: OldApplication) -> None:
    old.account(3, "科技号")
    old.account(7, "停用", is_active=False)
    old.account(8, " ", is_active=None)
    assert importing() == 0
    assert importing.sql("SELECT account_id, name, active, create_time FROM accounts ORDER BY account_id") == [
        (3, "科技号", True, LONG_AGO),
        (7, "停用", False, LONG_AGO),
        (8, "dir-8", True, LONG_AGO),
    ]
    assert importing.sums()["accounts"] == (3, 0, 0)
    (account,) = importing.sql(
        "INSERT INTO accounts (name, max_concurrent_tasks, weight) VALUES ('', 0, 1) RETURNING 1, *"
    )
    assert account.account_id == 9  # the next one that is made is no one's


def test_open_tasks_become_pending_and_may_be_claimed(importing: Importing, old: OldApplication) -> None:
    old.account()
    texts = {"topic": "人工智能", "keywords": "AI,技术", "requirements": "详细"}
    statuses = ["pending", "submitted", "PROCESSING", None]
    task_ids = [old.task(i, status, priority=8, submitted_at=LONG_AGO, **texts) for i, status in enumerate(statuses, 1)]
    assert importing() == 0
    for i, task_id in enumerate(task_ids, 1):
        task = importing.task(task_id)
        assert (task.status, task.priority, task.attempt, task.submit_time, task.end_time) == (1, 8, 0, None, None)
        assert (task.topic, task.keywords, task.requirements) == ("人工智能", "AI,技术", "详细")
        assert task.create_time == LONG_AGO + i * 60 * S
        assert task.timeout_ms == 30 * 60 * 1000
        ready = importing.sql("SELECT priority, attempt FROM ready WHERE task_key = :key", key=task.task_key)
        assert ready == [(8, 1)]
    importing.check()


@OF_EITHER_KIND
def test_imported_tasks_are_served_oldest_first(importing: Importing, old: OldApplication) -> None:
    old.account()
    newest = old.task(1, created_at=LONG_AGO + 3 * S)
    oldest = old.task(2, created_at=LONG_AGO)
    middle = old.task(3, created_at=LONG_AGO + 2 * S)
    assert importing() == 0
    order = importing.sql(
        """SELECT labels->>'old_task_id' FROM ready JOIN task_payloads USING (task_key)
            ORDER BY priority DESC, tag, task_key"""
    )
    assert [row[0] for row in order] == [oldest, middle, newest]


@OF_EITHER_KIND
def test_consumed_retries_stay_consumed(importing: Importing, old: OldApplication) -> None:
    old.account()
    task_id = old.task(1, retry_count=2, max_retries=5, error_message="网络超时")
    excessive = old.task(2, retry_count=9, max_retries=3)
    assert importing() == 0
    task = importing.task(task_id)
    assert (task.retry_count, task.max_retries, task.attempt) == (2, 5, 2)
    assert task.error == {"reason": "CREATOR_ERROR", "message": "网络超时", "details": {}}
    assert importing.sql("SELECT attempt FROM ready WHERE task_key = :key", key=task.task_key) == [(3,)]
    assert importing.task(excessive).retry_count == 3
    importing.check()


@OF_EITHER_KIND
@pytest.mark.parametrize(
    ("status", "number", "reason"),
    [("failed", 5, "CREATOR_ERROR"), ("timeout", 6, "TASK_TIMEOUT"), ("cancelled", 7, "CANCELLED_BY_CLIENT")],
)
def test_ended_tasks_keep_status_times_and_error(
    importing: Importing, old: OldApplication, status: str, number: int, reason: str
) -> None:
    old.account()
    times = {"submitted_at": LONG_AGO + S, "started_at": LONG_AGO + 2 * S, "completed_at": LONG_AGO + 3 * S}
    task_id = old.task(1, status, created_at=LONG_AGO, error_message="坏了", retry_count=1, **times)
    without_times = old.task(2, status, created_at=LONG_AGO)
    assert importing() == 0
    task = importing.task(task_id)
    assert (task.status, task.retry_count) == (number, 1)
    assert [task.create_time, task.submit_time, task.start_time, task.end_time] == [LONG_AGO + i * S for i in range(4)]
    assert task.error == {"reason": reason, "message": "坏了", "details": {}}
    assert importing.task(without_times).end_time == LONG_AGO
    assert importing.sql("SELECT * FROM ready") == []
    importing.check()


def test_a_completed_task_has_its_content_and_its_pool_entry(importing: Importing, old: OldApplication) -> None:
    old.account()
    times = {"submitted_at": LONG_AGO, "started_at": LONG_AGO, "completed_at": LONG_AGO + 9 * S}
    result = {"content": "x", "htmlContent": "<p>正文</p>", "images": ["ignored"], "qualityScore": 8.6}
    task_id = old.task(1, "completed", content_id=70, result=result, error_message="of a former attempt", **times)
    old.content(
        70, title="标题", content="正文" * 200, summary="摘要", category="科技", images=["a.jpg", {"url": "b.jpg"}],
        review_status="approved", review_comment="很好", created_at=LONG_AGO + 9 * S,
    )  # fmt: skip
    old.entry(70, 2, scheduled_at=LONG_AGO)
    assert importing() == 0
    task = importing.task(task_id)
    assert (task.status, task.error, task.labels["old_content_id"]) == (4, None, "70")
    (content,) = importing.sql("SELECT * FROM contents")
    assert (content.content_id, content.task_key, content.account_id) == (task.content_id, task.task_key, 1)
    assert (content.title, content.body, content.html_body) == ("标题", "正文" * 200, "<p>正文</p>")
    assert (content.summary, content.category, content.images) == ("摘要", "科技", ["a.jpg", "b.jpg"])
    assert (content.word_count, content.quality_score) == (400, 8.6)
    assert (content.review_status, content.review_comment) == (2, "很好")
    assert content.create_time == LONG_AGO + 9 * S
    (entry,) = importing.sql("SELECT * FROM publish_pool")
    assert (entry.content_id, entry.priority, entry.schedule_time, entry.status) == (task.content_id, 9, LONG_AGO, 1)
    assert importing.sums()["contents"] == (1, 0, 0)
    importing.check()


@OF_EITHER_KIND
def test_a_rejected_content_is_not_offered(importing: Importing, old: OldApplication) -> None:
    old.account()
    for number, status in enumerate(["pending", "rejected", "pending"], 1):
        old.completed(number)
        old.sql(f"UPDATE contents SET review_status = '{status}' WHERE id = {number}")
    old.entry(2)
    old.entry(3, status="failed", last_error="超时")
    assert importing() == 3
    assert importing.left_out == ["pool entry 2: its content 2 is rejected"]
    reviews = importing.sql("SELECT title, review_status FROM contents ORDER BY content_id")
    assert reviews == [("title 1", 1), ("title 2", 3), ("title 3", 2)]
    assert importing.sql("SELECT status, error, claim_id FROM publish_pool") == [(4, "超时", "")]
    importing.check(but=APPROVED_BUT_NOT_OFFERED)


@OF_EITHER_KIND
def test_a_content_without_a_task_is_imported(importing: Importing, old: OldApplication) -> None:
    old.account()
    old.content(5, generation_task_id="task-that-is-gone", images="no list", cover_image="cover.jpg")
    old.entry(5, 10)
    assert importing() == 0
    assert importing.sql("SELECT title, images, review_status FROM contents") == [("title 5", ["cover.jpg"], 2)]
    assert importing.sql("SELECT priority FROM publish_pool") == [(1,)]
    assert importing.sql("SELECT * FROM tasks") == []
    importing.check()


@OF_EITHER_KIND
def test_a_content_is_found_by_the_task_that_it_names(importing: Importing, old: OldApplication) -> None:
    old.account()
    old.content(5, generation_task_id="the-task")
    old.task(1, "completed", task_id="the-task", content_id=None)
    old.content(6, generation_task_id="another")
    old.task(2, "completed", task_id="another", content_id=666)
    assert importing() == 0
    contents = importing.sql(
        "SELECT t.content_id, c.title FROM tasks AS t JOIN contents AS c USING (task_key) ORDER BY 1"
    )
    assert [row.title for row in contents] == ["title 5", "title 6"]
    importing.check()


@OF_EITHER_KIND
def test_a_missing_content_is_made_from_the_task_s_result(importing: Importing, old: OldApplication) -> None:
    old.account()
    task_id = old.task(1, "completed", content_id=9, topic="题", result={"content": "paid for", "images": [1, "a.jpg"]})
    assert importing() == 0
    (content,) = importing.sql("SELECT * FROM contents")
    assert (content.title, content.body, content.images, content.review_status) == ("题", "paid for", ["a.jpg"], 1)
    assert importing.task(task_id).content_id == content.content_id
    importing.check()


def test_bad_rows_are_named_and_the_others_are_imported(importing: Importing, old: OldApplication) -> None:
    old.account()
    old.task(1, account_id=44)
    old.task(2, topic=" \n")
    old.task(3, "done")
    old.task(4, "completed", content_id=404)
    old.completed(5)
    old.task(6, "completed", content_id=5)
    old.completed(7)
    old.sql("UPDATE contents SET content = '  ' WHERE id = 7")
    old.content(8, account_id=44)
    old.entry(404)
    old.completed(9)
    old.entry(9, status="sold out")
    taken = old.task(100, topic="😀" * 500)
    assert importing() == 3
    assert importing.left_out == [
        "task 1: its account 44 is not there",
        "task 2: topic is empty",
        "task 3: status 'done' is none of pending, submitted, processing, completed, failed, timeout, cancelled",
        "task 4: it is completed, but content 404 is not there, and its result has no text",
        "task 6: its content 5 has been taken already",
        "task 7: its content 7: content is empty",
        "content 7: content is empty",
        "content 8: its account 44 is not there",
        "pool entry 9: status 'sold out' is none of pending, publishing, published, failed",
        "pool entry 404: its content 404 is not there",
    ]
    assert importing.sums() == {
        "accounts": (1, 0, 0),
        "tasks": (3, 0, 6),
        "contents": (2, 0, 2),
        "pool entries": (0, 0, 2),
    }
    assert importing.task(taken).topic == "😀" * 500
    importing.check(but=APPROVED_BUT_NOT_OFFERED)


def test_an_import_takes_no_secret_and_does_not_change_the_source(importing: Importing, old: OldApplication) -> None:
    old.account()
    old.completed(1)
    before = old.dump()
    assert SECRET in str(before)
    assert importing() == 0
    assert old.dump() == before
    assert SECRET not in str(importing.dump())


def test_columns_may_be_missing(importing_from: ImportingFrom, empty_db_url: str) -> None:
    importing = importing_from(empty_db_url)
    of_tasks = "content_id keywords priority auto_approve result error_message retry_count max_retries updated_at"
    lacking = {"accounts": "is_active", "contents": "review_status images", "publish_pool": "status"}
    with old_application(empty_db_url) as old:
        old.account()
        task_id = old.task(1)
        old.completed(2)
        old.entry(2, 3)
        old.completed(3)
        for table, columns in (lacking | {"content_generation_tasks": of_tasks}).items():
            for column in columns.split():
                old.sql(f"ALTER TABLE {table} DROP COLUMN {column}")
        assert importing() == 0
    task = importing.task(task_id)
    assert (task.priority, task.auto_approve, task.max_retries) == (5, True, 3)
    assert importing.sql("SELECT title, review_status FROM contents ORDER BY 1") == [("title 2", 2), ("title 3", 1)]
    assert importing.sql("SELECT priority, status FROM publish_pool") == [(8, 1)]
    importing.check()


@OF_EITHER_KIND
def test_a_million_rows_of_one_moment_get_distinct_keys(importing: Importing, old: OldApplication) -> None:
    old.account()
    old.task(1, created_at=LONG_AGO)
    importing.sql("SELECT setval('key_seq', 1)")
    assert importing() == 0
    old.task(2, created_at=LONG_AGO)
    importing.sql(f"SELECT setval('key_seq', {1 + (1 << 20) - 1000})")  # the numbers within a key wrap around
    assert importing() == 0
    assert importing.sql("SELECT count(DISTINCT task_key) FROM tasks") == [(2,)]


@OF_EITHER_KIND
def test_creation_times_in_the_future_become_now(importing: Importing, old: OldApplication) -> None:
    old.account()
    task_id = old.task(1, created_at=LONG_AGO + timedelta(days=3650))
    assert importing() == 0
    (row,) = importing.sql("SELECT create_time <= now() AS so FROM tasks")
    assert row.so
    assert importing.task(task_id).task_key >> 20 < (LONG_AGO + timedelta(days=3000)).timestamp() * 1000


# Ids of accounts are kept, or the import names the conflict and writes nothing.


IDS = "SELECT account_id, name FROM accounts ORDER BY account_id"


@pytest.fixture
def here(importing: Importing, old: OldApplication) -> Importing:
    """Accounts 1 and 2 are here already; the source has 1, 2 and 3 too, each with a task."""
    importing.sql(
        """INSERT INTO accounts (name, max_concurrent_tasks, weight)
            VALUES ('here 1', 0, 1), ('here 2', 0, 1) RETURNING account_id"""
    )
    for number in (1, 2, 3):
        old.account(number, f"old {number}")
        old.task(number, account_id=number)
    return importing


def accounts_of_tasks(importing: Importing) -> list[tuple[str, int]]:
    rows = importing.sql(
        "SELECT p.topic, t.account_id FROM tasks AS t JOIN task_payloads AS p USING (task_key) ORDER BY 1"
    )
    return [tuple(row) for row in rows]


@OF_EITHER_KIND
@pytest.mark.parametrize("arguments", [(), ("--dry-run",), ("--map-account", "1=1")])
def test_an_id_in_use_is_refused_naming_both_accounts(here: Importing, arguments: tuple[str, ...]) -> None:
    before = here.dump()
    assert here(*arguments) == 78
    assert 'account 2 "old 2" of the source, and account 2 "here 2"' in here.err
    assert ('account 1 "old 1" of the source, and account 1 "here 1"' in here.err) == (
        arguments[:1] != ("--map-account",)
    )
    assert "old 3" not in here.err
    assert "--map-account OLD=NEW" in here.err
    assert "--renumber" in here.err
    assert here.dump() == before


@OF_EITHER_KIND
def test_renumbered_accounts_get_new_ids_and_others_keep_theirs(here: Importing) -> None:
    assert here("--renumber") == 0
    assert here.sql(IDS) == [(1, "here 1"), (2, "here 2"), (3, "old 3"), (4, "old 1"), (5, "old 2")]
    assert accounts_of_tasks(here) == [("topic 1", 4), ("topic 2", 5), ("topic 3", 3)]
    assert here() == 0  # the choices are stored
    assert here.sums()["accounts"] == (0, 3, 0)
    here.check()


@OF_EITHER_KIND
def test_tasks_of_a_mapped_account_belong_to_its_target(here: Importing) -> None:
    assert here("--map-account", "1=2", "--map-account", "2=77") == 0
    assert here.sql(IDS) == [(1, "here 1"), (2, "here 2"), (3, "old 3"), (77, "old 2")]
    assert accounts_of_tasks(here) == [("topic 1", 2), ("topic 2", 77), ("topic 3", 3)]
    assert here("--map-account", "1=2") == 0
    assert here("--map-account", "1=3") == 78
    assert "account 1 was imported as 2" in here.err
    here.check()


@OF_EITHER_KIND
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--map-account", "9=1"), "the source has no account 9"),
        (("--map-account", "9"), "must be OLD=NEW"),
        (("--map-account", "1=0"), "must be OLD=NEW"),
        (("--map-account", "1=4", "--map-account", "1=5"), "account 1 is mapped to 4 too"),
        (("--force",), "--force: no such flag"),
    ],
)
def test_a_choice_that_can_t_be_applied_is_refused(here: Importing, arguments: tuple[str, ...], message: str) -> None:
    before = here.dump()
    assert here(*arguments) == 78
    assert message in here.err
    assert here.dump() == before


@OF_EITHER_KIND
def test_two_old_applications_are_two_sources(here: Importing, old: OldApplication) -> None:
    assert here("--renumber", "--source", "one") == 0
    assert here("--source", "another") == 78
    assert "say --source NAME: one\n" in here.err
    assert here("--source", "one") == 0
    assert here.sums()["tasks"] == (0, 3, 0)
    assert here("--source", "another", "--renumber") == 0
    assert here.sums()["tasks"] == (3, 0, 0)
    here.check()


@OF_EITHER_KIND
def test_an_account_added_later_is_imported_later(here: Importing, old: OldApplication) -> None:
    assert here("--renumber") == 0
    old.account(9, "old 9")
    old.task(9, account_id=9)
    assert here() == 0
    assert here.sums()["accounts"] == (1, 3, 0)
    assert here.sql(IDS)[-1] == (9, "old 9")


# Imports are idempotent, dry runs write nothing, and unreadable sources are refused.


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
    importing.sql("UPDATE import_sources SET import_time = now() - interval '1 day' RETURNING 1")
    assert importing() == 3
    assert importing.dump() == first
    used_now = "SELECT import_time > now() - interval '1 hour' FROM import_sources"
    assert importing.sql(used_now) == [(True,)], "what it imported is kept from then on"
    assert importing.left_out == left_out
    assert importing.sums() == {
        "accounts": (0, 1, 0),
        "tasks": (0, 5, 2),
        "contents": (0, 3, 0),
        "pool entries": (0, 2, 1),
    }
    importing.check()


@OF_EITHER_KIND
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


@OF_EITHER_KIND
def test_a_repaired_row_is_imported_the_next_time(importing: Importing, old: OldApplication) -> None:
    fill(old)
    assert importing() == 3
    old.sql("UPDATE content_generation_tasks SET status = 'pending' WHERE id = 4")
    old.sql("DELETE FROM content_generation_tasks WHERE id = 7")
    old.sql("DELETE FROM publish_pool WHERE id = 8")
    assert importing() == 0
    assert importing.sums()["tasks"] == (1, 5, 0)


@OF_EITHER_KIND
def test_cleaned_up_tasks_are_not_imported_again(importing: Importing, old: OldApplication) -> None:
    fill(old)
    assert importing() == 3
    importing.sql("DELETE FROM tasks WHERE status = 5 RETURNING 1")
    assert importing() == 3
    assert importing.sql("SELECT count(*) FROM tasks WHERE status = 5") == [(0,)]


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


def test_a_database_of_another_application_is_refused(
    importing_from: ImportingFrom, db_url: str, empty_db_url: str
) -> None:
    importing = importing_from(empty_db_url)
    assert importing() == 78
    assert "has no table accounts: it is no database of the old application" in importing.err
    with old_application(empty_db_url) as old:
        old.sql("ALTER TABLE content_generation_tasks DROP COLUMN task_id")
        assert importing() == 78
    assert "table content_generation_tasks has no column task_id" in importing.err
    own = importing_from(db_url)
    assert own() == 78
    assert "has no table content_generation_tasks" in own.err or "no column" in own.err


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "must be a SQLAlchemy URL"),
        ("postgresql://user:pass@word@host/name", "must be a SQLAlchemy URL"),
        ("postgresql://user:geheim@127.0.0.1:1/old", "can't read postgresql+psycopg2://user:***@127.0.0.1:1/old"),
        ("postgresql://user:geheim\udc80@127.0.0.1:1/old", "can't read postgresql+psycopg2://user:***@127.0.0.1:1/old"),
        ("postgresql://127.0.0.1:1/old?user=x&password=geheim", "can't read postgresql+psycopg2://127.0.0.1:1/old: "),
        ("mysql://user:geheim@127.0.0.1/old", "there is no driver for mysql URLs"),
        ("oracle+nothing://127.0.0.1/old", "there is no driver for oracle+nothing URLs"),
        ("sqlite:///{}/no.db", "there is no SQLite file"),
        (f"sqlite:///{{}}/{'x' * 5_000}", "there is no SQLite file"),
        ("sqlite:///{}/a\0b", "there is no SQLite file"),
        ("sqlite:///{}/no database.db", "can't read sqlite:///"),
        ("sqlite:///{}/unreadable.db", "can't read sqlite:///"),
    ],
)
def test_an_unreadable_source_is_refused(importing_from: ImportingFrom, tmp_path: Path, url: str, message: str) -> None:
    (tmp_path / "no database.db").write_bytes(b"something else, and more of it" * 100)
    (tmp_path / "unreadable.db").symlink_to("/proc/self/mem")  # not even by root, from its beginning
    importing = importing_from(url.format(tmp_path))
    assert importing() == 78
    assert message in importing.err
    assert "geheim" not in importing.err
    assert "Traceback" not in importing.err
    assert not (tmp_path / "no.db").exists()


@pytest.mark.parametrize(
    ("argument", "values", "message"),
    [
        ("--source", ["", "a\nb", "\udc80", "x" * 501], "must be 1 to 500 printable characters"),
        ("--source-timeout", ["0", "nan", "1e9"], "must be 1 to 86400 seconds"),
    ],
)
def test_an_argument_out_of_bounds_is_refused(sqlite: Sqlite, argument: str, values: list[str], message: str) -> None:
    importing = sqlite("old.db")
    for value in values:
        assert importing(argument, value) == 78
        assert message in importing.err


def test_a_second_import_at_the_same_time_is_refused(sqlite: Sqlite, db_url: str) -> None:
    importing = sqlite("old.db")
    with old_application(importing.source) as old:
        fill(old)
    engine = sa.create_engine(db_url, poolclass=sa.NullPool)
    with one_at_a_time(engine):
        assert importing() == 78
    assert "another import runs on this database" in importing.err
    assert importing() == 3
