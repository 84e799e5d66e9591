"""An autoscaler beside real processes: it asks ExternalScaler as KEDA does, and starts a job for each task."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from contentgen.v1 import task_pb2
from tests.harness.client import request
from tests.harness.scrape import CALL_TIMEOUT, Keda
from tests.harness.stack import Stack, Worker
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.e2e

TASKS, MAX_JOBS = 4, 2
JOB: dict[str, Any] = {"CONTENTGEN_RUN_ONE": "on", "CONTENTGEN_RUN_ONE_WAIT": "3"}


@pytest.mark.costly("a worker for each task", seconds=2)
def test_jobs_for_one_task_each_bring_the_demand_to_zero(stack: Stack) -> None:
    scheduler = stack.scheduler(lease_ttl=60, CONTENTGEN_SCALER_LISTEN="127.0.0.1:0").start()
    client = scheduler.client
    account_id = client.create_account()
    jobs: list[Worker] = []

    def scaled_to_zero() -> bool:
        """Starts the jobs that are missing, as KEDA's strategy `default` counts them."""
        running = sum(job.alive for job in jobs)
        demand, _ = scaler.metric()
        wanted = min(demand, MAX_JOBS)
        for _ in range(running, wanted):
            jobs.append(stack.quick_worker(f"job-{len(jobs)}", scheduler, **JOB).launch())
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
