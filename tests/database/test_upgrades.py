"""The version before this one and this one on one database: schedulers and workers are replaced under load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from scheduler_svc.schema import compatibility
from scheduler_svc.schema.migrate import upgrade
from tests.harness.client import Client, request
from tests.harness.database_faults import NEWEST, LaterMigrations, execute
from tests.harness.load import Callers
from tests.harness.stack import Previous, Scheduler, Stack, running_stack
from tests.harness.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.e2e

LEASE = 30.0
"""Seconds: what a lease outlives, a worker has time to reconnect in."""
LATER = "0090"
OLD_SCHEMA = "0001"
"""Of the previous version."""


@pytest.fixture
def stack(empty_db_url: str) -> Iterator[Stack]:
    """A stack on a database that no version has migrated yet."""
    with running_stack(empty_db_url) as stack:
        yield stack


class Load(Callers):
    """Submits, and waits for each task to complete, in a thread of its own. A call that fails fails the test."""

    def __init__(self, target: str, account_id: int) -> None:
        super().__init__(target)
        self.completed: list[str] = []
        self._account_id = account_id
        self.go("load", lambda: closing(Client(target)), self._run)

    def more(self, count: int) -> None:
        """Waits until so many more tasks are completed."""
        wanted = len(self.completed) + count
        enough = f"{count} more are completed"
        wait_until(lambda: self.wrong or len(self.completed) >= wanted, within=PATIENCE_S, what=enough)

    def _run(self, client: Client) -> None:
        while not self.over.is_set():
            task_id = client.submit(self._account_id, options={"seconds": "0.1"})
            client.wait_completed(task_id, within=PATIENCE_S)
            self.completed.append(task_id)


EVERY_TABLE_GROWS = """
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('ALTER TABLE %I ADD COLUMN later TEXT, ADD COLUMN later_too INTEGER NOT NULL DEFAULT 7', name);
    END LOOP;
END $$
"""


def schema(url: str) -> str | None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return compatibility.revision(connection)


def quick_worker(stack: Stack, name: str, *schedulers: Scheduler, program: Path | None = None) -> None:
    target = ",".join(scheduler.target for scheduler in schedulers)
    worker = stack.quick_worker(name, target, CONTENTGEN_QUEUE_SIZE="12")
    if program:
        worker.command = [str(program)]
    worker.start()


@pytest.fixture
def old(stack: Stack, previous: Previous) -> Scheduler:
    """A scheduler of the version before."""
    scheduler = stack.scheduler("old", lease_ttl=LEASE)
    scheduler.command = [str(previous.scheduler)]
    return scheduler


@pytest.mark.release("services of the version before run under load")
def test_both_versions_serve_one_database_while_it_is_migrated(
    stack: Stack, previous: Previous, old: Scheduler, empty_db_url: str, tmp_path: Path
) -> None:
    """By this version, and then by one to come."""
    old.start()
    before = schema(empty_db_url)
    assert before is not None
    new = stack.scheduler("new", lease_ttl=LEASE)
    account_id = old.client.create_account()
    quick_worker(stack, "old-on-old", old, new, program=previous.worker)
    quick_worker(stack, "new-on-old", old, new)
    with Load(old.target, account_id) as first:
        first.more(10)
        new.start()
        assert schema(empty_db_url) == NEWEST
        quick_worker(stack, "old-on-new", new, old, program=previous.worker)
        with Load(new.target, account_id) as second:
            first.more(10)
            second.more(10)
            migrate_later(empty_db_url, tmp_path, oldest_code=before)
            first.more(10)
            second.more(10)
            everywhere = new.client.submit_all(request(account_id, options={"seconds": "0.3"}) for _ in range(45))
            ran_on = {new.client.wait_completed(task_id, within=PATIENCE_S).worker_id for task_id in everywhere}
    assert ran_on == {"old-on-old", "new-on-old", "old-on-new"}
    old.stop()
    old.start()
    with Load(old.target, account_id) as third:
        third.more(10)
    task_ids = everywhere + first.completed + second.completed + third.completed
    client = new.client
    assert client.counts() == {**dict.fromkeys(client.counts(), 0), "completed": len(task_ids)}
    assert sorted(create.task_id for create in stack.journal.creates()) == sorted(task_ids)
    assert sorted(content.task_id for content in client.contents()) == sorted(task_ids)
    assert schema(empty_db_url) == LATER


@pytest.mark.costly("services of two versions", seconds=3)
def test_the_version_before_goes_on_with_a_task_that_was_deferred(stack: Stack, old: Scheduler) -> None:
    old.start()
    new = stack.scheduler("new", lease_ttl=LEASE).start()
    task_id = new.client.submit(
        new.client.create_account(), options={"demo-fail": "defer", "demo-fail-times": "1", "demo-retry-after": "3600"}
    )
    worker = stack.worker("newer", new).start()
    wait_until(
        lambda: [event for event in new.client.history(task_id) if event.reason == "DEFERRED"],
        within=PATIENCE_S,
        what="the task is deferred",
    )
    worker.stop()
    new.stop()
    assert old.client.moves(task_id)[-1] == ("pending", "DEFERRED")
    stack.worker("older", old).start()
    old.client.retry(task_id)
    assert old.client.wait_completed(task_id, within=PATIENCE_S).attempt == 2


@pytest.mark.costly("a scheduler starts twice under load", seconds=3)
def test_this_version_runs_on_and_starts_again_on_a_schema_that_was_expanded(
    stack: Stack, empty_db_url: str, tmp_path: Path
) -> None:
    """Each table gets columns while it is used: plans that were prepared before have to go on too."""
    scheduler = stack.scheduler(lease_ttl=LEASE).start()
    quick_worker(stack, "worker", scheduler)
    account_id = scheduler.client.create_account()
    with Load(scheduler.target, account_id) as load:
        load.more(10)
        migrate_later(empty_db_url, tmp_path, oldest_code=NEWEST)
        load.more(10)
    scheduler.stop()
    scheduler.start()
    with Load(scheduler.target, account_id) as load:
        load.more(10)
    assert schema(empty_db_url) == LATER


@pytest.mark.costly("schedulers of two versions", seconds=3)
def test_a_schema_that_needs_newer_code_is_refused(
    stack: Stack, old: Scheduler, empty_db_url: str, tmp_path: Path
) -> None:
    upgrade(sa.create_engine(empty_db_url, poolclass=sa.NullPool))
    migrate_later(empty_db_url, tmp_path, oldest_code=LATER)
    for scheduler, known_schema in ((old, OLD_SCHEMA), (stack.scheduler("new"), NEWEST)):
        scheduler.launch().ended(within=PATIENCE_S, status=78)
        refusal = scheduler.tail()
        assert f"the database has schema {LATER}, made by contentgen" in refusal
        assert f"and this one knows schema {known_schema}" in refusal


def migrate_later(url: str, folder: Path, *, oldest_code: str) -> None:
    """As the scheduler of a version to come would."""
    later = LaterMigrations(folder)
    later.add(LATER, execute(EVERY_TABLE_GROWS), oldest_code=oldest_code)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    assert upgrade(engine, migrations=later.folder) == [LATER]
