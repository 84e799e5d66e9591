"""What benchmarks seed a database with is what a scheduler would have left there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from psycopg2.extensions import make_dsn
from sqlalchemy import URL

from benchmarks.folders import make_folder
from benchmarks.scale.seed.bulk_copy import BulkCopy
from benchmarks.scale.seed.database import Years, fill, write_more
from scheduler_svc.domain.lifecycle import ENDED
from scheduler_svc.domain.task_filter import TaskFilter
from scheduler_svc.tasks.bulk import MAX_BATCH, delete_batch
from scheduler_svc.transactions import Tx
from tests.harness.scheduling import ALWAYS, RESULT, Scheduling

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
def folder() -> Iterator[Path]:
    path = make_folder(Path(tempfile.gettempdir()), "contentgen-seed-")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def unchecked(db_url: str) -> Iterator[Scheduling]:
    """For what no scheduler leaves."""
    with closing(Scheduling(db_url)) as made:
        yield made


@pytest.fixture
def seeded(scheduling: Scheduling, folder: Path) -> Scheduling:
    """Each test ends with a check of all invariants, of the counts among them."""
    fill_years(scheduling, folder, YEARS)
    return scheduling


def fill_years(scheduling: Scheduling, folder: Path, years: Years) -> None:
    accounts = [1, *(scheduling.make_account() for _ in range(2))]
    fill(BulkCopy(dsn(scheduling), folder, lambda _: None), accounts, years)
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


def test_contents_may_be_older_than_all_tasks(scheduling: Scheduling, folder: Path) -> None:
    fill_years(scheduling, folder, YEARS._replace(gone=1_000, contents=TASKS + 1_000, whole=TASKS + 1_000))
    assert count(scheduling, "tasks") == TASKS
    assert count(scheduling, "contents WHERE task_key IN (SELECT task_key FROM tasks)") == TASKS * 959 // 1_000
    assert count(scheduling, "contents WHERE task_key NOT IN (SELECT task_key FROM tasks)") == 959


def test_the_younger_ones_may_have_left_less(unchecked: Scheduling, folder: Path) -> None:
    fill_years(unchecked, folder, YEARS._replace(whole=1_000))
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
