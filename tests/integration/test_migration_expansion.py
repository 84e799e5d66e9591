"""The check of `make verify` that migrations only expand: what it rejects, and what it accepts."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from scheduler_svc.domain.lifecycle import MOVES
from tests.harness.later_migrations import NEWEST, LaterMigrations, execute
from verification.generated.expansion import BASELINE, check

_LEGAL = ", ".join(str(source * 10 + target) for source, target in sorted(MOVES))
_MOVES = "status BETWEEN 0 AND 9 AND previous_status * 10 + status"
_CHECK = "ALTER TABLE task_events DROP CONSTRAINT task_events_legal_move, ADD CONSTRAINT task_events_legal_move CHECK ("
FOUND = [
    ("ALTER TABLE workers DROP COLUMN labels", "removes column workers labels"),
    ("ALTER TABLE workers RENAME COLUMN labels TO tags", "removes column workers labels"),
    ("DROP TABLE pauses CASCADE", "removes column pauses account_id"),
    ("DROP INDEX tasks_by_status", "removes index tasks tasks_by_status"),
    ("ALTER TABLE workers ALTER COLUMN draining DROP NOT NULL", "changes column workers draining from 'boolean NOT"),
    ("ALTER TABLE workers ADD COLUMN later TEXT NOT NULL", "adds column workers later, which the version before"),
    ("ALTER TABLE pauses ADD CONSTRAINT later CHECK (account_id < 7)", "adds constraint pauses later, which may"),
    ("ALTER TABLE workers ALTER COLUMN slots TYPE BIGINT", "rewrites table workers"),
    ("CREATE INDEX later ON tasks (create_time)", "adds index tasks later and keeps writers out"),
    ("CREATE UNIQUE INDEX later ON contents (title)", "adds the unique index contents later"),
    ("DROP INDEX ready_order; CREATE INDEX ready_order ON ready (priority)", "changes index ready ready_order"),
    ("ALTER SEQUENCE poll_seq INCREMENT 2", "changes sequence poll_seq bigint"),
    ("ALTER TABLE tasks SET (fillfactor = 50)", "changes options tasks r from 'fillfactor=80"),
    (f"{_CHECK} {_MOVES} IN (1, 12))", "changes constraint task_events task_events_legal_move"),
    (
        f"{_CHECK} {_MOVES} IN ({_LEGAL}, 99))",
        "widens constraint task_events task_events_legal_move and keeps everyone",
    ),
    (f"{_CHECK} {_MOVES} NOT IN ({_LEGAL}, 99))", "changes constraint task_events task_events_legal_move"),
    (f"{_CHECK} attempt > 0 AND {_MOVES} IN ({_LEGAL}, 99))", "changes constraint task_events task_events_legal_move"),
]
LET_PASS = [
    execute("ALTER TABLE workers ADD COLUMN later TEXT, ADD COLUMN later_too INTEGER NOT NULL DEFAULT 7"),
    execute("CREATE TABLE later (n INTEGER PRIMARY KEY, t TEXT NOT NULL); CREATE UNIQUE INDEX later_t ON later (t)"),
    'build_index("later", "tasks (create_time)")',
    execute(
        "ALTER TABLE ready SET (autovacuum_vacuum_threshold = 7); ALTER TABLE pauses SET (autovacuum_enabled = true)"
    ),
    execute("DROP VIEW v_running; CREATE VIEW v_running AS SELECT 1 AS later"),
    f'widen_check("task_events", "task_events_legal_move", "{_MOVES} IN ({_LEGAL}, 99)")',
]


@pytest.fixture
def later(tmp_path: Path) -> LaterMigrations:
    return LaterMigrations(tmp_path)


def faults(db_url: str, later: LaterMigrations) -> list[str]:
    """The problems of the added migrations, on a database with all others."""
    return check(sa.create_engine(db_url, poolclass=sa.NullPool), later.folder, NEWEST)


def test_this_version_s_migrations_only_expand(empty_db_url: str, later: LaterMigrations) -> None:
    assert check(sa.create_engine(empty_db_url, poolclass=sa.NullPool), later.folder, BASELINE) == []


@pytest.mark.parametrize(("sql", "fault"), FOUND)
def test_changes_that_break_the_previous_version_are_found(
    db_url: str, later: LaterMigrations, sql: str, fault: str
) -> None:
    later.add("0090", execute(sql))
    findings = faults(db_url, later)
    assert [finding for finding in findings if fault in finding], findings


def test_an_index_build_combined_with_other_changes_is_found(db_url: str, later: LaterMigrations) -> None:
    """Repeated after an interruption, it would fail on the objects that it has made."""
    column = execute("ALTER TABLE tasks ADD COLUMN later TEXT")
    later.add("0090", f"{column}; build_index('tasks_later', 'tasks (later)')")
    (finding,) = faults(db_url, later)
    assert "does more than to build indexes" in finding


def test_additions_pass(db_url: str, later: LaterMigrations) -> None:
    for number, body in enumerate(LET_PASS):
        later.add(f"009{number}", body.replace("later", f"later_{number}"))
    assert faults(db_url, later) == []


def test_a_contraction_may_remove_objects_that_no_supported_version_uses(db_url: str, later: LaterMigrations) -> None:
    later.add("0090", execute("ALTER TABLE workers ADD COLUMN later TEXT"))
    later.add("0091", execute("ALTER TABLE workers DROP COLUMN labels"), oldest_code="0090")
    assert faults(db_url, later) == []


def test_a_view_that_reads_a_removed_column_is_dropped_before_and_created_after(
    db_url: str, later: LaterMigrations
) -> None:
    """As docs/development.md says; without that PostgreSQL refuses."""
    view = "SELECT worker_id FROM leases"
    drop, create = "DROP VIEW v_running, v_stuck", f"CREATE VIEW v_running AS {view}; CREATE VIEW v_stuck AS {view}"
    later.add("0090", execute("SELECT 1"))
    later.add("0091", execute(f"{drop}; ALTER TABLE leases DROP COLUMN timeout_ms; {create}"), oldest_code="0090")
    assert faults(db_url, later) == []


@pytest.mark.parametrize(
    ("oldest_code", "fault"), [("", "declares no"), ("0090", "is 0090; it"), ("0000", "is 0000; it")]
)
def test_each_migration_declares_which_code_may_still_run(
    db_url: str, later: LaterMigrations, oldest_code: str, fault: str
) -> None:
    later.add("0090", execute("SELECT 1"), oldest_code=oldest_code)
    (finding,) = faults(db_url, later)
    assert fault in finding
