"""Scenario 10: two schedulers on one database share the work, and one of them may go at any time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.harness.client import request
from tests.harness.quick_creator import quick_creator
from tests.harness.stack import EMBEDDED, Scheduler, Stack
from tests.harness.waiting import wait_until

TASKS = 120
"""More than twice what all workers hold at a time."""
LEASE = 30.0
"""Seconds: what a lease outlives, a worker has time to reconnect in."""


@pytest.fixture
def pair(stack: Stack) -> tuple[Scheduler, Scheduler]:
    """Two schedulers on one database."""
    schedulers = [stack.scheduler(name, lease_ttl=LEASE) for name in ("first", "second")]
    for scheduler in schedulers:
        scheduler.launch()
    for scheduler in schedulers:
        scheduler.wait_for("ready", within=20)
    return schedulers[0], schedulers[1]


def _id(scheduler: Scheduler) -> str:
    return str(scheduler.events("ready")[0]["scheduler_id"])


@pytest.mark.costly("two schedulers under load")
def test_each_task_runs_once_though_a_scheduler_is_killed_midway(
    stack: Stack, pair: tuple[Scheduler, Scheduler]
) -> None:
    first, second = pair
    cli = str(quick_creator(stack.folder))
    targets = {"a": (first, second), "b": (second, first), "c": (first, second), "d": (second, first)}
    for name, (home, refuge) in targets.items():
        target = f"{home.target},{refuge.target}"
        stack.worker(name, target, slots=3, CREATOR_CLI_PATH=cli, CONTENTGEN_QUEUE_SIZE="12").start()
    client = second.client
    account_id = client.create_account()
    assert {worker.scheduler_id for worker in client.workers().values()} == {_id(first), _id(second)}
    requests = [request(account_id, f"topic {n}") for n in range(TASKS)]
    task_ids = first.client.submit_all(requests[::2]) + client.submit_all(requests[1::2])

    wait_until(lambda: client.counts()["completed"] >= TASKS // 4, within=60, what="a quarter is done")
    first.kill()
    wait_until(lambda: client.counts()["completed"] == TASKS, within=60, what="all are done")

    assert sorted(create.task_id for create in stack.journal.creates()) == sorted(task_ids)
    assert sorted(content.task_id for content in client.contents()) == sorted(task_ids)
    assert len(client.publish_pool()) == TASKS
    tasks = client.tasks(task_ids)
    assert {task.worker_id for task in tasks} == set(targets)
    assert {task.retry_count for task in tasks} == {0}
    assert {worker.scheduler_id for worker in client.workers().values()} == {_id(second)}


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_worker_that_moves_to_the_other_replica_keeps_its_runs(
    stack: Stack, pair: tuple[Scheduler, Scheduler], how: str
) -> None:
    first, second = pair
    stack.worker("mover", f"ipv4:{first.target},{second.target}").start()
    home = first if first.client.workers()["mover"].scheduler_id == _id(first) else second
    refuge = second if home is first else first
    account_id = refuge.client.create_account()
    task_ids = refuge.client.submit_all(request(account_id, options={"demo-seconds": "4"}) for _ in range(3))
    refuge.client.wait_processing(*task_ids)

    getattr(home, how)()
    client = refuge.client
    wait_until(
        lambda: client.workers()["mover"].scheduler_id == _id(refuge), within=LEASE / 3, what="the worker has moved"
    )
    tasks = [client.wait_completed(task_id, within=15) for task_id in task_ids]
    assert [(task.worker_id, task.attempt) for task in tasks] == [("mover", 1)] * 3
    assert sorted(create.task_id for create in stack.journal.creates()) == sorted(task_ids)
    assert len(client.contents()) == 3


@pytest.mark.costly("an embedded server, and schedulers one after the other")
@pytest.mark.parametrize("how", ["stop", "kill_with_database"])
def test_the_embedded_server_outlives_the_scheduler_that_started_it(
    stack: Stack, embedded: Callable[..., Scheduler], how: str
) -> None:
    first = embedded(name="first").start()
    second = stack.scheduler("second", database_url=EMBEDDED, CONTENTGEN_DATA_DIR=str(first.data_dir)).start()
    stack.worker("a", second, CREATOR_DEMO_SECONDS="0.1").start()
    task_id = second.client.submit(second.client.create_account(), schedule_time=_in(seconds=3))
    getattr(first, how)()
    second.client.wait_completed_over_outage(task_id, within=30)


def _in(*, seconds: float) -> Timestamp:
    at = Timestamp()
    at.FromDatetime(datetime.now(UTC) + timedelta(seconds=seconds))
    return at
