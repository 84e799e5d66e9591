"""The way over, beside a running scheduler on its embedded PostgreSQL: what was imported runs at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from contentgen.v1 import content_service_pb2 as content_pb
from tests.harness.client import Client, Status
from tests.harness.importing import ImportProcess, old_application
from tests.harness.stack import EMBEDDED, Scheduler, Stack

pytestmark = pytest.mark.e2e

WITHIN = 15.0


@pytest.fixture
def source(stack: Stack) -> str:
    """The URL of an old database with a bit of everything."""
    url = f"sqlite:///{stack.folder}/old.db"
    with old_application(url) as old:
        old.account(7, "科技号")
        for number, status in enumerate(["pending", "submitted", "processing"], 1):
            old.task(number, status, account_id=7, topic="人工智能的未来发展", priority=number)
        old.task(4, "failed", account_id=7, error_message="网络超时", retry_count=1)
        old.completed(5, account_id=7)
        old.sql("UPDATE contents SET account_id = 7")
        old.entry(5, 2)
    return url


def import_into(scheduler: Scheduler, source: str, *arguments: str) -> ImportProcess:
    return ImportProcess(source, scheduler.data_dir.parent, *arguments, CONTENTGEN_DATA_DIR=str(scheduler.data_dir))


def by_old_id(client: Client, number: int) -> str:
    """The id of a task by the one that it had."""
    (task,) = client.list_tasks(labels={"old_task_id": f"task-{number:012x}"})
    return task.task_id


def test_imported_tasks_run_on_connected_workers(stack: Stack, embedded: Callable[..., Scheduler], source: str) -> None:
    scheduler = embedded().start()
    stack.worker("a", scheduler, CREATOR_DEMO_SECONDS="0.1").start()
    client = scheduler.client
    with import_into(scheduler, source) as process:
        process.ended()
    for number in (1, 2, 3):
        task = client.wait_completed(by_old_id(client, number), within=WITHIN)
        assert (task.account_id, task.priority, task.attempt) == (7, number, 1)
        assert client.moves(task.task_id)[0] == ("pending", "IMPORTED")
        assert client.content(task.content_id).review_status == content_pb.REVIEW_STATUS_APPROVED

    failed = client.task(by_old_id(client, 4))
    assert (failed.status, failed.error.message) == (Status.TASK_STATUS_FAILED, "网络超时")
    client.retry(failed.task_id)
    assert client.wait_completed(failed.task_id, within=WITHIN).retry_count == 2

    completed = client.task(by_old_id(client, 5))
    assert completed.status == Status.TASK_STATUS_COMPLETED
    assert client.content(completed.content_id).title == "title 5"
    assert {entry.content_id: entry.priority for entry in client.publish_pool()}[completed.content_id] == 9
    assert client.counts()["completed"] == 5
    assert client.create_account() == 8


@pytest.mark.costly("an embedded server is made, and starts twice", seconds=3)
def test_an_import_may_come_before_the_first_scheduler(stack: Stack, source: str) -> None:
    scheduler = stack.scheduler(database_url=EMBEDDED)
    with import_into(scheduler, source, "--dry-run") as process:
        process.ended()
    with import_into(scheduler, source) as process:
        process.ended()
    client = scheduler.start().client
    assert dict(client.counts())["pending"] == 3
    stack.worker("a", scheduler, CREATOR_DEMO_SECONDS="0.1").start()
    client.wait_completed(by_old_id(client, 3), within=WITHIN)
