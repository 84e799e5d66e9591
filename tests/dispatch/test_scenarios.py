"""Priorities that rise with the wait, and an autoscaler, beside real processes."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
import sqlalchemy as sa

from contentgen.v1 import task_pb2
from tests.harness.client import Client, request
from tests.harness.creators import quick_creator
from tests.harness.scrape import CALL_TIMEOUT, Keda
from tests.harness.stack import Stack, Worker
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.e2e

WITHIN = 60.0
FIRST = 4
"""Tasks of the stream that are served before the other one is old."""


def grow_old(db_url: str, seconds: float) -> None:
    """What is ready has been so for that much longer."""
    engine = sa.create_engine(db_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE ready SET ready_time = ready_time - make_interval(secs => :s)"), {"s": seconds}
        )


class Stream:
    """Tasks of priority 8, of which some wait at any time: where one has ended another comes."""

    def __init__(self, client: Client, account_id: int) -> None:
        self._client = client
        self._account_id = account_id
        self._open = [self._submit() for _ in range(4)]

    def _submit(self) -> str:
        return self._client.submit(self._account_id, priority=8, options={"seconds": "0.1"})

    def serve_one(self) -> None:
        self._open.append(self._submit())
        self._client.wait_completed(self._open.pop(0), within=WITHIN)

    def waits(self) -> bool:
        return any(task.status == task_pb2.TASK_STATUS_PENDING for task in self._client.tasks(self._open))


def test_a_stream_of_a_higher_priority_does_not_starve_a_task(stack: Stack, db_url: str) -> None:
    scheduler = stack.scheduler(lease_ttl=30, CONTENTGEN_PRIORITY_AGING="15m").start()
    client = scheduler.client
    account_id = client.create_account()
    stream = Stream(client, account_id)
    low = client.submit(account_id, priority=1, options={"seconds": "0.1"})
    stack.worker("worker", scheduler, slots=1, CREATOR_CLI_PATH=str(quick_creator(stack.folder))).start()
    for _ in range(FIRST):
        stream.serve_one()
    assert client.task(low).status == task_pb2.TASK_STATUS_PENDING
    grow_old(db_url, 9 * 15 * 60)
    for _ in range(FIRST + 2):
        stream.serve_one()
    assert client.task(low).status == task_pb2.TASK_STATUS_COMPLETED
    assert client.task(low).priority == 1
    assert stream.waits()


# An autoscaler beside real processes: it asks ExternalScaler as KEDA does, and starts a job for each task.


TASKS, MAX_JOBS = 4, 2
JOB: dict[str, Any] = {"CONTENTGEN_RUN_ONE": "on", "CONTENTGEN_RUN_ONE_WAIT": "3"}


@pytest.mark.costly("a worker for each task")
def test_jobs_for_one_task_each_bring_the_demand_to_zero(stack: Stack) -> None:
    scheduler = stack.scheduler(lease_ttl=60, CONTENTGEN_SCALER_LISTEN="127.0.0.1:0").start()
    client = scheduler.client
    account_id = client.create_account()
    cli = str(quick_creator(stack.folder))
    jobs: list[Worker] = []

    def scaled_to_zero() -> bool:
        """Starts the jobs that are missing, as KEDA's strategy `default` counts them."""
        running = sum(job.alive for job in jobs)
        demand, _ = scaler.metric()
        wanted = min(demand, MAX_JOBS)
        for _ in range(running, wanted):
            jobs.append(stack.worker(f"job-{len(jobs)}", scheduler, CREATOR_CLI_PATH=cli, **JOB).launch())
        return wanted == 0 and running == 0

    (ready,) = scheduler.events("ready")
    with grpc.insecure_channel(ready["scaler_listen"]) as channel:
        scaler = Keda(channel, target=1)
        assert scaled_to_zero()
        task_ids = client.submit_all(request(account_id, options={"seconds": "1"}) for _ in range(TASKS))
        wait_until(scaler.active, within=CALL_TIMEOUT, what="the tasks are seen")
        wait_until(scaled_to_zero, within=90, what="all tasks are done, and no job runs")
    tasks = client.tasks(task_ids)
    assert {(task.status, task.attempt) for task in tasks} == {(task_pb2.TASK_STATUS_COMPLETED, 1)}
    assert len({task.worker_id for task in tasks}) == TASKS, "a job runs one task"
    assert {job.exit_status for job in jobs} == {0}
    assert not any(job.spooled() for job in jobs)
