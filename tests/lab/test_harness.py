"""What tests and benchmarks stand on: forked services, shared databases, seeded ones."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa
from psycopg2.extensions import make_dsn
from sqlalchemy import URL

from lab.benchmarks.scale.filled import BulkCopy, Years, fill, write_more
from scheduler_svc.domain.lifecycle import ENDED
from scheduler_svc.domain.task import TaskFilter
from scheduler_svc.tasks.bulk import MAX_BATCH, delete_batch
from scheduler_svc.transactions import Tx
from tests.harness.cluster import SharedDatabase, SharedDatabases
from tests.harness.fork_server import can_fork, fork_server, forked_by
from tests.harness.process import Process, inherited, installed
from tests.harness.processes import new_children
from tests.harness.scheduling import ALWAYS, RESULT, Scheduling
from tests.harness.waiting import PATIENCE_S

pytestmark = pytest.mark.integration


# A service that is forked is the one that its command starts.


WRONG = {"CONTENTGEN_LEASE_TTL": "soon", "CONTENTGEN_LOG_FORMAT": "console"}


def service(folder: Path, command: str, *arguments: str, **settings: str) -> Process:
    return Process(command, [installed(command), *arguments], folder / "log", inherited() | settings)


@pytest.mark.parametrize("command", ["contentgen-scheduler", "contentgen-worker"])
def test_both_end_alike_and_say_the_same(tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = []
    for by_fork in (True, False):
        monkeypatch.setattr(Process, "by_fork", by_fork)
        with service(tmp_path, command, CONTENTGEN_SLOTS="none", **WRONG) as started:
            started.ended(PATIENCE_S, status=78)
        outputs.append(started.text())
    assert outputs[0] == outputs[1] != ""


def test_it_is_a_process_of_its_own_in_its_folder_and_is_missed_if_it_stays(tmp_path: Path) -> None:
    fork_server()
    left = new_children()
    with service(tmp_path, "contentgen-scheduler", CONTENTGEN_DATA_DIR=str(tmp_path / "data")) as started:
        process = psutil.Process(started.pid)
        assert process.ppid() == forked_by()
        assert process.cwd() == str(tmp_path)
        assert os.getsid(started.pid) == started.pid
        assert left() == {started.pid}
        with pytest.raises(subprocess.TimeoutExpired):
            started.popen.wait(0)
        started.signal(signal.SIGKILL)
        assert started.popen.wait(PATIENCE_S) == -signal.SIGKILL
    assert left() == set()


def test_what_counts_before_a_service_runs_needs_its_command() -> None:
    scheduler = [str(installed("contentgen-scheduler"))]
    assert can_fork(scheduler, {"PATH": "/bin"})
    assert not can_fork(scheduler, {"PYTHONPROFILEIMPORTTIME": "1"})
    assert not can_fork(["/usr/bin/contentgen-scheduler"], {})
    assert not can_fork(["sh", "-c", "exec contentgen-scheduler"], {})


# The database that tests share: what one leaves, no other sees.


_OTHERS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
_TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1"
_SEQUENCES = "SELECT sequencename, last_value FROM pg_sequences WHERE cache_size = 1 ORDER BY 1"


def content(database: SharedDatabase) -> dict[str, list[object]]:
    """The rows of each table, and where the sequences are."""
    with database.engine.connect() as connection:
        read = {table: f"SELECT * FROM {table}" for table in connection.exec_driver_sql(_TABLES).scalars()}
        read["sequences"] = _SEQUENCES
        return {what: list(map(tuple, connection.exec_driver_sql(query))) for what, query in read.items()}


def run(database: SharedDatabase, statement: str) -> None:
    engine = sa.create_engine(database.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)


def test_each_finds_it_as_the_migrations_have_left_it(shared_databases: SharedDatabases) -> None:
    with shared_databases.lent() as database:
        url, before = database.url, content(database)
        scheduling = Scheduling(database.engine)
        scheduling.end(scheduling.start(labels={"a": "b"}), RESULT)
        run(database, "UPDATE search_index SET indexed_to = 42; UPDATE count_floor SET xact = 42")
        assert content(database) != before
    with shared_databases.lent() as again:
        assert (again.url, content(again)) == (url, before)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE tasks ADD COLUMN more text",
        "ALTER TABLE tasks DROP COLUMN attempt CASCADE",
        "ALTER TABLE tasks ALTER COLUMN attempt SET DEFAULT 7",
        "CREATE INDEX more ON tasks (attempt, task_key)",
        "DROP VIEW v_waiting CASCADE",
        "CREATE FUNCTION seven() RETURNS integer LANGUAGE sql AS 'SELECT 7'",
        "ANALYZE accounts",
        "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET work_mem = 1234'; END $$",
        "INSERT INTO unique_keys SELECT 1, n || repeat('x', 500), n, now() FROM generate_series(1, 10000) AS n",
        f"SELECT pg_terminate_backend(pid) FROM ({_OTHERS}) AS others",
    ],
)
def test_one_that_is_more_than_refilled_is_replaced(shared_databases: SharedDatabases, change: str) -> None:
    with shared_databases.lent() as database:
        run(database, change)
    with shared_databases.lent() as other:
        assert other.url != database.url
        assert not Scheduling(other.engine).tasks()


# What benchmarks seed a database with is what a scheduler would have left there.


TASKS = 2_000
YEARS = Years(
    tasks=TASKS,
    gone=0,
    contents=TASKS,
    whole=TASKS,
    body=100,
    audit=1_000,
    deliveries=1_000,
    span=timedelta(days=30),  # rollups by the hour are kept for 40
    audit_span=timedelta(days=30),
    deliveries_span=timedelta(days=2),
)


@pytest.fixture
def unchecked(db_url: str) -> Iterator[Scheduling]:
    """For what no scheduler leaves."""
    with closing(Scheduling(db_url)) as scheduling:
        yield scheduling


@pytest.fixture
def seeded(scheduling: Scheduling) -> Scheduling:
    """Each test ends with a check of all invariants, of the counts among them."""
    fill_years(scheduling, YEARS)
    return scheduling


def fill_years(scheduling: Scheduling, years: Years) -> None:
    accounts = [1, *(scheduling.make_account() for _ in range(2))]
    fill(BulkCopy(dsn(scheduling), lambda _: None), accounts, years)
    scheduling.sql("UPDATE search_index SET indexed_to = 0")  # the contents are not in it


def dsn(scheduling: Scheduling) -> str:
    url: URL = scheduling.engine.url
    return make_dsn(host=url.query["host"], user=url.username, dbname=url.database)


def count(scheduling: Scheduling, table: str) -> int:
    ((number,),) = scheduling.sql(f"SELECT count(*) FROM {table}")
    return int(number)


def test_a_completed_task_has_left_what_a_real_one_leaves(seeded: Scheduling) -> None:
    assert count(seeded, "tasks") == count(seeded, "task_payloads") == TASKS
    assert count(seeded, "task_events") == 4 * TASKS - 2 * TASKS // 50  # a cancelled one has two moves less
    assert count(seeded, "audit_events") == count(seeded, "webhook_deliveries") == 1_000
    real = seeded.start()
    seeded.end(real, RESULT)
    (completed,) = seeded.sql("SELECT task_key FROM tasks WHERE status = 4 ORDER BY task_key LIMIT 1")
    moves = [[(move.status, move.reason) for move in seeded.events(key)] for key in (completed[0], real.task_key)]
    assert moves[0] == moves[1]


def test_contents_may_be_older_than_all_tasks(scheduling: Scheduling) -> None:
    fill_years(scheduling, YEARS._replace(gone=1_000, contents=TASKS + 1_000, whole=TASKS + 1_000))
    assert count(scheduling, "tasks") == TASKS
    assert count(scheduling, "contents WHERE task_key IN (SELECT task_key FROM tasks)") == TASKS * 959 // 1_000
    assert count(scheduling, "contents WHERE task_key NOT IN (SELECT task_key FROM tasks)") == 959


def test_the_younger_ones_may_have_left_less(unchecked: Scheduling) -> None:
    fill_years(unchecked, YEARS._replace(whole=1_000))
    assert count(unchecked, "tasks") == TASKS
    whole = "task_key IN (SELECT task_key FROM task_events)"
    assert count(unchecked, f"tasks WHERE {whole}") == 1_000
    assert count(unchecked, "publish_pool") == count(unchecked, f"contents WHERE {whole} AND review_status = 2") == 958


def test_cleanup_deletes_what_was_seeded_and_what_was_written_later(seeded: Scheduling) -> None:
    write_more(dsn(seeded), 1_000, [1, 2, 3])
    assert count(seeded, "tasks") == TASKS + 1_000
    assert seeded.sql(ALWAYS["the counts are the truth"]) == []
    after: int | None = 0
    while after is not None:
        after = seeded.run(delete_some, after)
    for table in ("tasks", "task_payloads", "task_labels", "task_events"):
        assert count(seeded, table) == 0


def delete_some(tx: Tx, after: int) -> int | None:
    return delete_batch(tx, TaskFilter(statuses=ENDED), tx.now, after, MAX_BATCH).last
