"""Migrations of a database in use, and the check that they only expand."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from contentgen.service.settings import SettingsError
from scheduler_svc.domain.lifecycle import MOVES
from scheduler_svc.schema import migrate
from scheduler_svc.schema.alembic_folder import MigrationFolder
from scheduler_svc.schema.compatibility import UnsupportedSchema
from scheduler_svc.schema.migrate import MIGRATIONS, MigrationStuck, revisions, upgrade
from tests.harness.database_faults import NEWEST, LaterMigrations, execute
from tests.harness.process import Process, inherited
from tests.harness.waiting import PATIENCE_S, wait_until
from verification.generated.expansion import check

pytestmark = pytest.mark.integration

MIGRATE = [
    sys.executable,
    "-c",
    """import sys; from pathlib import Path; from scheduler_svc.schema import migrate
with migrate._engine(sys.argv[1], None) as engine: migrate.upgrade(engine, migrations=Path(sys.argv[2]))""",
]
BUILD = 'build_index("tasks_later", "tasks (create_time)")'


@pytest.fixture
def later(tmp_path: Path) -> LaterMigrations:
    return LaterMigrations(tmp_path)


@pytest.fixture
def engine(db_url: str) -> Iterator[sa.Engine]:
    """Of this version's schema; a connection is closed when it is released."""
    engine = sa.create_engine(db_url, poolclass=sa.NullPool)
    yield engine
    engine.dispose()


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as executor:
        yield executor


def test_the_names_of_the_files_begin_with_their_revisions_in_order() -> None:
    assert revisions() == [script.revision for script in MigrationFolder(MIGRATIONS).scripts()]


def sql(engine: sa.Engine, statement: str) -> list[Any]:
    """Runs a statement; returns the first column of its rows."""
    with engine.begin() as connection:
        result = connection.execute(sa.text(statement))
        return list(result.scalars()) if result.returns_rows else []


def revision(engine: sa.Engine) -> str:
    (revision,) = sql(engine, "SELECT version_num FROM alembic_version")
    return str(revision)


def columns(engine: sa.Engine, table: str) -> set[str]:
    return {column["name"] for column in sa.inspect(engine).get_columns(table)}


def index_validity(engine: sa.Engine) -> list[bool]:
    """Whether the index is valid; empty if there is none."""
    return sql(engine, "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('tasks_later')")


def blocked(engine: sa.Engine) -> list[int]:
    """Processes that wait for a lock."""
    waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pg_blocking_pids(pid) <> '{}'"
    return sql(engine, waiting)


def test_applied_migrations_stay_if_a_later_one_fails(engine: sa.Engine, later: LaterMigrations) -> None:
    later.add("0090", execute("ALTER TABLE workers ADD COLUMN later INTEGER"))
    later.add("0091", execute("ALTER TABLE leases ADD COLUMN later INTEGER; SELECT 1 / 0"), oldest_code="0090")
    with pytest.raises(sa.exc.DBAPIError, match="division by zero"):
        upgrade(engine, migrations=later.folder)
    assert revision(engine) == "0090"
    assert "later" in columns(engine, "workers")
    assert "later" not in columns(engine, "leases")
    assert sql(engine, "SELECT oldest_code FROM schema_compatibility") == [NEWEST]


def test_a_newer_schema_serves_the_code_that_it_declares(engine: sa.Engine, later: LaterMigrations) -> None:
    later.add("0090", execute("CREATE TABLE later ()"))
    assert upgrade(engine, migrations=later.folder) == ["0090"]
    with capture_logs() as logs:
        assert upgrade(engine) == []
    assert [event["schema"] for event in logs] == ["0090"]
    assert revision(engine) == "0090"


def test_a_newer_schema_that_does_not_support_this_code_is_refused(engine: sa.Engine, later: LaterMigrations) -> None:
    later.add("0090", execute("CREATE TABLE later ()"))
    later.add("0091", execute("DROP TABLE later"), oldest_code="0090")
    upgrade(engine, migrations=later.folder)
    with pytest.raises(UnsupportedSchema, match=rf"schema 0091, .*this one knows schema {NEWEST}: start such"):
        upgrade(engine)
    assert revision(engine) == "0091"


@pytest.mark.parametrize("revision_before_the_release", ["0001", "0020"])
def test_a_schema_from_before_the_first_release_is_refused(empty_db_url: str, revision_before_the_release: str) -> None:
    """Their numbers are used again, so the declaration tells them apart."""
    engine = sa.create_engine(empty_db_url, poolclass=sa.NullPool)
    sql(engine, "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
    sql(engine, f"INSERT INTO alembic_version VALUES ('{revision_before_the_release}')")
    sql(engine, "CREATE TABLE compatibility (oldest_code TEXT, migrated_by TEXT)")
    sql(engine, "INSERT INTO compatibility VALUES ('0001', '0.1.0')")
    message = rf"schema {revision_before_the_release} without a declaration .*before the first release"
    with pytest.raises(UnsupportedSchema, match=message):
        upgrade(engine)
    assert revision(engine) == revision_before_the_release
    engine.dispose()


def test_callers_behind_a_waiting_migration_are_served(
    engine: sa.Engine, later: LaterMigrations, executor: ThreadPoolExecutor
) -> None:
    """A transaction holds the table; the migration waits for it, and readers must not wait behind the migration."""
    later.add("0090", execute("ALTER TABLE workers ADD COLUMN later INTEGER"))
    read = sa.text("SELECT count(*) FROM workers")
    with capture_logs() as logs, engine.connect() as holder, engine.connect() as reader:
        holder.execute(read)
        reader.execute(sa.text("SET lock_timeout = '10s'"))
        migrated = executor.submit(upgrade, engine, migrations=later.folder)

        def served_and_tried_twice() -> bool:
            reader.execute(read)
            reader.commit()
            return len(logs) >= 2

        wait_until(served_and_tried_twice, within=PATIENCE_S, what="the migration has tried twice")
        assert "later" not in columns(engine, "workers")
        holder.rollback()
        assert migrated.result(PATIENCE_S) == ["0090"]
    assert "lock timeout" in logs[0]["error"]
    assert "later" in columns(engine, "workers")


def test_a_migration_that_cannot_get_its_lock_gives_up_and_names_the_holder(
    engine: sa.Engine, later: LaterMigrations
) -> None:
    later.add("0090", execute("ALTER TABLE workers ADD COLUMN later INTEGER"))
    with engine.connect() as holder:
        holder.execute(sa.text("SET application_name = 'a report'"))
        holder.commit()
        pid = holder.scalar(sa.text("SELECT pg_backend_pid() FROM (SELECT count(*) FROM workers) AS held"))
        with pytest.raises(MigrationStuck, match=rf"to schema 0090 .*process {pid} \(a report\)"):
            upgrade(engine, migrations=later.folder, timeout=0)
    assert upgrade(engine, migrations=later.folder) == ["0090"]


def test_an_index_whose_build_was_interrupted_is_built_again(
    engine: sa.Engine, later: LaterMigrations, executor: ThreadPoolExecutor
) -> None:
    later.add("0090", BUILD)
    with engine.connect() as writer:
        writer.execute(sa.text("LOCK TABLE tasks IN ROW EXCLUSIVE MODE"))
        migrating = executor.submit(upgrade, engine, migrations=later.folder)
        interrupt(engine, "pg_terminate_backend")
        with pytest.raises(sa.exc.SQLAlchemyError):
            migrating.result(PATIENCE_S)
    assert (index_validity(engine), revision(engine)) == ([False], NEWEST)
    assert upgrade(engine, migrations=later.folder) == ["0090"]
    assert (index_validity(engine), revision(engine)) == ([True], "0090")


def test_a_cancelled_index_build_is_repeated(
    engine: sa.Engine, later: LaterMigrations, executor: ThreadPoolExecutor
) -> None:
    later.add("0090", BUILD)
    with capture_logs() as logs, engine.connect() as writer:
        writer.execute(sa.text("LOCK TABLE tasks IN ROW EXCLUSIVE MODE"))
        migrating = executor.submit(upgrade, engine, migrations=later.folder)
        interrupt(engine, "pg_cancel_backend")
        wait_until(lambda: logs, within=PATIENCE_S, what="the build was cancelled")
        assert index_validity(engine) == [False]
        writer.rollback()
        assert migrating.result(PATIENCE_S) == ["0090"]
    assert index_validity(engine) == [True]


def test_a_killed_process_lets_the_next_one_migrate_while_its_build_still_waits(
    db_url: str, engine: sa.Engine, later: LaterMigrations, executor: ThreadPoolExecutor
) -> None:
    """The successor names it. Its session ends though the transaction that its build waits for stays open."""
    later.add("0090", BUILD)
    migrating = Process("migrate", [*MIGRATE, db_url, later.folder], later.folder / "log", inherited())
    with engine.connect() as writer:
        writer.execute(sa.text("LOCK TABLE tasks IN ROW EXCLUSIVE MODE"))
        with migrating as killed, capture_logs() as logs:
            (builder,) = wait_until(lambda: blocked(engine), within=PATIENCE_S, what="the build waits for the writer")
            successor = executor.submit(upgrade, engine, migrations=later.folder)
            wait_until(lambda: logs, within=PATIENCE_S, what="the successor waits")
            assert logs[0]["holder"].startswith(f"session {builder} (contentgen-migrate), connected since 20")
            killed.kill()
            wait_until(lambda: blocked(engine) not in ([], [builder]), within=PATIENCE_S, what="the successor builds")
        writer.rollback()
        assert successor.result(PATIENCE_S) == ["0090"]
    assert index_validity(engine) == [True]


def test_a_wait_for_another_process_names_it_when_it_gives_up(engine: sa.Engine, later: LaterMigrations) -> None:
    later.add("0090", BUILD)
    with engine.connect() as other:
        other.exec_driver_sql("SET application_name = 'another'")
        pid = other.scalar(sa.text("SELECT pg_backend_pid() FROM pg_advisory_lock(x'636f6e74656e7467'::bigint)"))
        other.commit()
        with pytest.raises(MigrationStuck, match=rf"session {pid} \(another\), connected since .*pg_terminate_backend"):
            upgrade(engine, migrations=later.folder, timeout=0)


def test_a_migration_tells_what_it_waits_for(
    engine: sa.Engine, later: LaterMigrations, executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "WAIT_LIMIT", 0.1)
    monkeypatch.setattr(migrate, "LOOK_INTERVAL", 0.1)
    later.add("0090", BUILD)
    with capture_logs() as logs, engine.connect() as writer:
        writer.execute(sa.text("LOCK TABLE tasks IN ROW EXCLUSIVE MODE"))
        pid = writer.scalar(sa.text("SELECT pg_backend_pid()"))
        migrating = executor.submit(upgrade, engine, migrations=later.folder)
        wait_until(lambda: logs, within=PATIENCE_S, what="it tells what it waits for")
        writer.rollback()
        assert migrating.result(PATIENCE_S) == ["0090"]
    assert logs[0]["waits_for"] == f"the transactions of sessions {pid}"


def interrupt(engine: sa.Engine, function: str) -> None:
    """Ends the build that waits for the writer."""
    (builder,) = wait_until(lambda: blocked(engine), within=PATIENCE_S, what="the build waits for the writer")
    sql(engine, f"SELECT {function}({builder})")


def test_an_index_that_was_built_but_not_recorded_stays(engine: sa.Engine, later: LaterMigrations) -> None:
    later.add("0090", BUILD)
    sql(engine, "CREATE INDEX tasks_later ON tasks (create_time)")
    built = sql(engine, "SELECT CAST('tasks_later' AS regclass)::oid")
    upgrade(engine, migrations=later.folder)
    assert sql(engine, "SELECT CAST('tasks_later' AS regclass)::oid") == built


def test_a_check_that_was_widened_but_not_recorded_is_widened_again(engine: sa.Engine, later: LaterMigrations) -> None:
    """As after a replica was killed while it checked existing rows."""
    later.add("0090", 'widen_check("pauses", "later", "account_id < 7")')
    sql(engine, "INSERT INTO pauses (account_id) VALUES (5)")
    sql(engine, "ALTER TABLE pauses ADD CONSTRAINT later CHECK (account_id < 7) NOT VALID")
    upgrade(engine, migrations=later.folder)
    assert sql(engine, "SELECT convalidated FROM pg_constraint WHERE conname = 'later'") == [True]


def test_replicas_that_start_together_migrate_once_and_wait_for_one_another(
    empty_db_url: str, later: LaterMigrations, executor: ThreadPoolExecutor
) -> None:
    """With an index that is built concurrently, which waits for the snapshots of the others' statements."""
    later.add("0090", BUILD)
    engine = sa.create_engine(empty_db_url, poolclass=sa.NullPool)
    starts = [executor.submit(upgrade, engine, migrations=later.folder) for _ in range(4)]
    applied = [start.result(PATIENCE_S) for start in starts]
    assert sum(map(bool, applied)) == 1
    assert max(applied)[-1] == "0090"
    assert index_validity(engine) == [True]


# The check of `make verify` that migrations only expand: what it rejects, and what it accepts.


_LEGAL = ", ".join(str(source * 10 + target) for source, target in sorted(MOVES))
_MOVES = "status BETWEEN 0 AND 9 AND previous_status * 10 + status"
_WIDENED = "widens constraint task_events task_events_legal_move and keeps everyone"
_CHANGED = "changes constraint task_events task_events_legal_move"
_CHECK = "ALTER TABLE task_events DROP CONSTRAINT task_events_legal_move, ADD CONSTRAINT task_events_legal_move CHECK ("
FOUND = [
    ("ALTER TABLE workers DROP COLUMN version", "removes column workers version"),
    ("ALTER TABLE workers RENAME COLUMN labels TO tags", "removes column workers labels"),
    ("ALTER TABLE workers ALTER COLUMN draining DROP NOT NULL", "changes column workers draining from 'boolean NOT"),
    ("ALTER TABLE workers ADD COLUMN later TEXT NOT NULL", "adds column workers later, which the version before"),
    ("ALTER TABLE workers ALTER COLUMN slots TYPE BIGINT", "rewrites table workers"),
    ("ALTER TABLE pauses ADD CONSTRAINT later CHECK (account_id < 7)", "adds constraint pauses later, which may"),
    ("DROP TABLE pauses CASCADE", "removes column pauses account_id"),
    ("DROP INDEX tasks_by_status", "removes index tasks tasks_by_status"),
    ("CREATE INDEX later ON tasks (create_time)", "adds index tasks later and keeps writers out"),
    ("CREATE UNIQUE INDEX unique_later ON contents (title)", "adds the unique index contents unique_later"),
    ("DROP INDEX ready_order; CREATE INDEX ready_order ON ready (priority)", "changes index ready ready_order"),
    ("ALTER SEQUENCE poll_seq INCREMENT 2", "changes sequence poll_seq bigint"),
    ("ALTER TABLE tasks SET (fillfactor = 50)", "changes options tasks r from 'fillfactor=80"),
    (f"{_CHECK} {_MOVES} IN ({_LEGAL}, 99))", _WIDENED),  # one more move
    (f"{_CHECK} {_MOVES} IN (1, 12))", _CHANGED),  # fewer moves
    (f"{_CHECK} {_MOVES} IN ({_LEGAL}))", _WIDENED),  # more moves than those two
    (f"{_CHECK} {_MOVES} NOT IN ({_LEGAL}, 99))", _CHANGED),  # the opposite of a longer list
    (f"{_CHECK} {_MOVES} IN ({_LEGAL}))", _CHANGED),  # the opposite again
    (f"{_CHECK} attempt > 0 AND {_MOVES} IN ({_LEGAL}, 99))", _CHANGED),  # one more move, and another condition
]
"""Changes, one after the other, and what is found of each."""
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


def faults(db_url: str, later: LaterMigrations) -> list[str]:
    """The problems of the added migrations, on a database with all others."""
    return check(sa.create_engine(db_url, poolclass=sa.NullPool), later.folder, NEWEST)


def test_the_cell_of_a_database_is_fixed_by_the_first_start(db_url: str, engine: sa.Engine) -> None:
    migrate.migrate(db_url, cell=1_023)
    migrate.migrate(db_url, cell=1_023)
    insert = "INSERT INTO accounts (name, max_concurrent_tasks, weight) VALUES ('a', 0, 1) RETURNING account_id"
    assert sql(engine, insert) == sql(engine, "SELECT nextval('content_seq')") == [(1_023 << 43) + 1]
    with pytest.raises(SettingsError, match="CONTENTGEN_CELL must be 1023, which this database was made with, is 0"):
        migrate.migrate(db_url, cell=0)


def test_changes_that_break_the_previous_version_are_found(db_url: str, later: LaterMigrations) -> None:
    for number, (change, _) in enumerate(FOUND, 100):
        later.add(f"0{number}", execute(change))
    findings = faults(db_url, later)
    missing = {
        change: fault
        for number, (change, fault) in enumerate(FOUND, 100)
        if not any(finding.startswith(f"0{number}_") and fault in finding for finding in findings)
    }
    assert missing == {}, findings


def test_each_migration_declares_which_code_may_still_run_and_builds_indexes_alone(
    db_url: str, later: LaterMigrations
) -> None:
    """A build beside other changes, repeated after an interruption, would fail on the objects that it has made."""
    column = execute("ALTER TABLE tasks ADD COLUMN later TEXT")
    later.add("0090", f"{column}; build_index('tasks_later', 'tasks (later)')")
    for revision, oldest_code in (("0091", ""), ("0092", "0000"), ("0093", "0093")):
        later.add(revision, execute("SELECT 1"), oldest_code=oldest_code)
    build, missing, too_old, its_own = faults(db_url, later)
    assert "does more than to build indexes" in build
    assert "declares no" in missing
    assert "is 0000; it" in too_old
    assert "is 0093; it" in its_own


def test_additions_pass(db_url: str, later: LaterMigrations) -> None:
    for number, body in enumerate(LET_PASS):
        later.add(f"009{number}", body.replace("later", f"later_{number}"))
    assert faults(db_url, later) == []


def test_a_contraction_may_remove_objects_that_no_supported_version_uses(db_url: str, later: LaterMigrations) -> None:
    """A view that reads them is dropped before and created after, as docs/development says: else it is refused."""
    view = "SELECT worker_id FROM leases"
    drop, create = "DROP VIEW v_running, v_stuck", f"CREATE VIEW v_running AS {view}; CREATE VIEW v_stuck AS {view}"
    later.add("0090", execute("ALTER TABLE workers ADD COLUMN later TEXT"))
    later.add("0091", execute("ALTER TABLE workers DROP COLUMN last_error"), oldest_code="0090")
    later.add("0092", execute(f"{drop}; ALTER TABLE leases DROP COLUMN timeout_ms; {create}"), oldest_code="0091")
    assert faults(db_url, later) == []
