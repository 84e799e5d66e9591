"""A worker that is told to end: what runs may finish, the rest goes back at once, and no retry is consumed."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
import sqlalchemy as sa

from contentgen.v1 import task_pb2
from tests.harness.client import Client, request
from tests.harness.frozen_backends import frozen_backends
from tests.harness.process import STOP_LIMIT
from tests.harness.stack import Scheduler, Stack, Worker
from tests.harness.waiting import wait_until, wait_until_gone

LEASE = 60.0
SPOOLED_TIMEOUT = 15.0
"""Seconds that a worker without a scheduler is promised to take at most, once nothing runs."""
WAITING = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'tasks'::regclass")


def _one_running_two_queued(stack: Stack) -> tuple[Scheduler, Worker, list[str]]:
    scheduler = stack.scheduler(lease_ttl=LEASE).start()
    client = scheduler.client
    worker = stack.worker("leaving", scheduler, slots=1, CONTENTGEN_QUEUE_SIZE="2", CREATOR_DEMO_SECONDS="3").start()
    account_id = client.create_account()
    task_ids = client.submit_all(request(account_id) for _ in range(3))
    client.wait_processing(task_ids[0])
    for task_id in task_ids[1:]:
        client.wait_for_status(task_id, task_pb2.TASK_STATUS_SUBMITTED, within=5)
    return scheduler, worker, task_ids


def _finished_elsewhere(stack: Stack, client: Client, task_ids: list[str]) -> None:
    tasks = [client.wait_completed(task_id, within=15) for task_id in task_ids]
    assert [(task.worker_id, task.attempt, task.retry_count) for task in tasks] == [("other", 2, 0)] * len(tasks)


@contextmanager
def _waiting_for_a_table(scheduler: Scheduler, db_url: str) -> Iterator[Future[str]]:
    """Somebody holds the tasks: a submit, and with it a drain, comes to no end for as long as the test wants."""
    account_id = scheduler.client.create_account()
    engine = sa.create_engine(db_url, poolclass=sa.NullPool)
    with engine.begin() as holder, ThreadPoolExecutor(1) as caller:
        holder.exec_driver_sql("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
        submitted = caller.submit(scheduler.client.submit, account_id)
        wait_until(lambda: holder.scalar(WAITING), within=10, what="the submit waits for the table")
        yield submitted


def test_a_draining_worker_finishes_what_runs_and_gives_the_rest_back_at_once(stack: Stack) -> None:
    scheduler, leaving, (running, *queued) = _one_running_two_queued(stack)
    client = scheduler.client
    cli = stack.journal.running(running).processes()
    for process in cli:
        process.suspend()  # it runs on for as long as this takes
    stack.worker("other", scheduler, CREATOR_DEMO_SECONDS="0.1").start()
    leaving.signal(signal.SIGTERM)
    _finished_elsewhere(stack, client, queued)
    assert client.task(running).status == task_pb2.TASK_STATUS_PROCESSING, "the queued ones waited for the running one"
    for process in cli:
        process.resume()
    task = client.wait_completed(running, within=10)
    assert (task.worker_id, task.attempt) == ("leaving", 1)
    assert client.moves(queued[0])[1:3] == [("submitted", "LEASED"), ("pending", "DRAINING")]
    leaving.ended()
    assert len(stack.journal.creates()) == 3


def test_a_second_term_stops_the_cli_and_gives_its_task_back_uncounted(stack: Stack) -> None:
    scheduler, leaving, task_ids = _one_running_two_queued(stack)
    client = scheduler.client
    create = stack.journal.running(task_ids[0])
    leaving.signal(signal.SIGTERM)
    leaving.wait_for("worker.draining", within=5)
    leaving.signal(signal.SIGTERM)
    leaving.ended()
    wait_until_gone(create.processes, within=1, what="its CLI is gone")
    assert [client.task(task_id).status for task_id in task_ids] == [task_pb2.TASK_STATUS_PENDING] * 3
    assert client.moves(task_ids[0])[3:] == [("failed", "WORKER_LOST"), ("pending", "REQUEUED")]
    stack.worker("other", scheduler, CREATOR_DEMO_SECONDS="0.1").start()
    _finished_elsewhere(stack, client, task_ids)


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_worker_that_is_told_to_end_while_the_scheduler_is_gone_leaves_its_results_in_the_spool(
    stack: Stack, how: str
) -> None:
    scheduler = stack.scheduler(lease_ttl=LEASE).start()
    client = scheduler.client
    worker = stack.worker("worker", scheduler).start()
    task_id = client.submit(client.create_account(), options={"demo-seconds": "3"})
    client.wait_processing(task_id)
    scheduler.kill() if how == "killed" else scheduler.freeze()
    worker.signal(signal.SIGTERM)
    wait_until(lambda: stack.journal.ended(task_id), within=15, what="the CLI has ended by itself")
    worker.ended(within=SPOOLED_TIMEOUT)

    [left] = worker.events("spool.left")
    assert (left["results"], left["tasks"]) == (1, [task_id])
    assert len(worker.spooled()) == 1
    scheduler.start() if how == "killed" else scheduler.thaw()
    worker.start()
    task = scheduler.client.wait_completed(task_id, within=15)
    assert (task.attempt, task.retry_count) == (1, 0)
    assert len(stack.journal.creates()) == 1


def test_a_scheduler_that_is_told_twice_does_not_wait(stack: Stack, db_url: str) -> None:
    scheduler = stack.scheduler(lease_ttl=LEASE).start()
    stack.worker("worker", scheduler).start()
    task_id = scheduler.client.submit(scheduler.client.create_account(), options={"demo-seconds": "2"})
    scheduler.client.wait_processing(task_id)
    with _waiting_for_a_table(scheduler, db_url):
        scheduler.signal(signal.SIGTERM)
        scheduler.wait_for("drain", within=5)
        scheduler.signal(signal.SIGTERM)
        scheduler.ended()
    assert scheduler.events("stop")[0]["why"] == "a second signal"
    client = scheduler.start().client
    assert client.wait_completed(task_id, within=STOP_LIMIT + 10).attempt == 1
    wait_until(lambda: len(client.contents(task_id)) == 1, within=1, what="its content is there")


def test_a_scheduler_whose_database_answers_nothing_more_ends_in_time_all_the_same(
    stack: Stack, db_url: str, engine: sa.Engine
) -> None:
    scheduler = stack.scheduler().start()
    with _waiting_for_a_table(scheduler, db_url) as submitted, frozen_backends(engine):
        scheduler.signal(signal.SIGTERM)
        scheduler.ended()
        with pytest.raises(grpc.RpcError) as refused:
            submitted.result()
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert scheduler.events("stop")[0]["why"] == "time-out"


def test_a_scheduler_that_can_t_keep_a_part_running_ends_and_says_so(stack: Stack) -> None:
    scheduler = stack.scheduler()
    scheduler.command = [sys.executable, "-m", "tests.e2e.broken_reaper"]
    scheduler.start()
    wait_until(lambda: not scheduler.alive, within=STOP_LIMIT, what="the scheduler has ended")
    assert scheduler.exit_status == 1
    given_up = [event for event in scheduler.events("supervise") if event["level"] == "critical"]
    assert [event["part"] for event in given_up] == ["reap"]
