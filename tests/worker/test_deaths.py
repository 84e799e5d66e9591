"""Workers and schedulers that die, stand still or drain, as real processes."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
import sqlalchemy as sa

from contentgen.v1 import task_pb2
from tests.harness.client import Client, request
from tests.harness.database_faults import frozen_backends
from tests.harness.process import STOP_LIMIT
from tests.harness.stack import SHORT_LEASE, Create, Scheduler, Stack
from tests.harness.waiting import PATIENCE_S, wait_until, wait_until_gone

pytestmark = pytest.mark.e2e


# Scenarios 2, 4 and 8: a worker that is killed or stopped takes its CLIs with it, and its tasks go on elsewhere.

REQUEUED = ("pending", "REQUEUED")


def _forked(stack: Stack, client: Client) -> tuple[str, Create]:
    """A task that is processed, and its create, whose three children (one in its group, two that called setsid) run.

    Only the first create of the task leaves children.
    """
    options = {"demo-fail": "fork", "demo-fail-times": "1"}
    task_id = client.submit(client.create_account(), options=options)

    def forked() -> Create | None:
        creates = stack.journal.creates(task_id)
        return creates[0] if creates and len(creates[0].children) == 3 else None

    create = wait_until(forked, within=10, what="the CLI and its children run")
    assert create is not None
    assert len(create.processes()) == 4
    client.wait_processing(task_id)
    return task_id, create


def test_a_killed_workers_task_runs_elsewhere_once_its_lease_is_over(stack: Stack) -> None:
    scheduler = stack.scheduler().start()
    client = scheduler.client
    victim = stack.worker("victim", scheduler, CREATOR_DEMO_SECONDS="60").start()
    task_id, create = _forked(stack, client)
    stack.worker("heir", scheduler, CREATOR_DEMO_SECONDS="0.2").start()

    victim.kill()
    killed_at = time.time()
    # The guard's grace between TERM and KILL is 3 s.
    wait_until_gone(create.processes, within=4, what="the CLI and its children are gone")
    wait_until(lambda: len(stack.journal.creates(task_id)) == 2, within=SHORT_LEASE + 5, what="it runs elsewhere")
    assert stack.journal.creates(task_id)[1].time - killed_at <= SHORT_LEASE + 5

    task = client.wait_completed(task_id, within=10)
    assert (task.worker_id, task.attempt, task.retry_count) == ("heir", 2, 0)
    assert client.moves(task_id)[3:5] == [("failed", "WORKER_LOST"), REQUEUED]
    assert len(client.contents()) == len(client.publish_pool()) == 1
    (stopped,) = scheduler.events("attempt.stopped")
    keys = ("task_id", "attempt", "worker_id", "reason", "status")
    assert [stopped[key] for key in keys] == [task_id, 1, "victim", "WORKER_LOST", "pending"]
    assert stopped["lease_id"].startswith("lease-")


def test_a_killed_workers_task_runs_at_once_when_the_worker_comes_back(stack: Stack) -> None:
    scheduler = stack.scheduler(lease_ttl=120).start()
    client = scheduler.client
    worker = stack.worker("worker", scheduler, CREATOR_DEMO_SECONDS="60").start()
    task_id, create = _forked(stack, client)

    worker.kill()
    worker.start(CREATOR_DEMO_SECONDS="0.2")
    assert not create.processes(), "a new session began beside an old CLI"
    task = client.wait_completed(task_id, within=15)
    assert (task.attempt, task.retry_count) == (2, 0)
    assert client.moves(task_id)[3:5] == [("failed", "WORKER_LOST"), REQUEUED]
    assert len(stack.journal.creates(task_id)) == 2
    assert len(client.contents()) == len(client.publish_pool()) == 1


def test_a_frozen_worker_loses_its_tasks_and_its_late_result_changes_nothing(stack: Stack) -> None:
    scheduler = stack.scheduler().start()
    client = scheduler.client
    account_id = client.create_account()
    frozen = stack.worker("frozen", scheduler, CREATOR_DEMO_SECONDS="60").start()
    endless = client.submit(account_id, "endless")
    endless_create = stack.journal.running(endless)
    # Long enough to be frozen in the middle of, short enough to end before the lease does.
    brief = client.submit(account_id, "brief", options={"demo-seconds": "1.2"})
    client.wait_processing(brief)
    frozen.freeze()
    wait_until(lambda: stack.journal.ended(brief), within=5, what="a CLI ends while its worker is frozen")
    wait_until_gone(endless_create.processes, within=SHORT_LEASE, what="the guard has ended the CLI")
    assert client.moves(endless)[-1] == ("processing", "STARTED"), "the CLI is gone before the lease is"

    other = stack.worker("other", scheduler, CREATOR_DEMO_SECONDS="0.2").start()
    done = [client.wait_completed(task_id, within=SHORT_LEASE + 10) for task_id in (endless, brief)]
    assert [(task.worker_id, task.attempt) for task in done] == [("other", 2), ("other", 2)]
    histories = [client.history(task.task_id) for task in done]
    contents = client.contents()
    other.stop()

    frozen.thaw()
    key = brief.removeprefix("task-")
    late = wait_until(
        lambda: [event for event in frozen.events("lease.answered") if key in event["lease_id"]],
        within=10,
        what="the late result is answered",
    )
    assert late[0]["outcome"] == "lease_lost"
    assert [event["task_id"] for event in frozen.events("lease.completed")] == [brief], "it was paid for, so it is told"
    assert client.tasks([endless, brief]) == [client.task(task.task_id) for task in done] == done
    assert [client.history(task.task_id) for task in done] == histories
    assert client.contents() == contents
    assert len(contents) == 2
    next_one = client.submit(account_id, "the next one", options={"demo-seconds": "0.2"})
    assert client.wait_completed(next_one, within=15).worker_id == "frozen"


# A worker that is told to end: what runs may finish, the rest goes back at once, and no retry is consumed.

LEASE = 60.0
WAITING = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'tasks'::regclass")


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


def test_a_draining_worker_gives_what_waits_back_at_once_and_what_runs_at_a_second_term(stack: Stack) -> None:
    scheduler = stack.scheduler(lease_ttl=LEASE).start()
    client = scheduler.client
    leaving = stack.worker("leaving", scheduler, slots=1, CONTENTGEN_QUEUE_SIZE="2", CREATOR_DEMO_SECONDS="3").start()
    account_id = client.create_account()
    running, *queued = client.submit_all(request(account_id) for _ in range(3))
    client.wait_processing(running)
    for task_id in queued:
        client.wait_for_status(task_id, task_pb2.TASK_STATUS_SUBMITTED, within=PATIENCE_S)
    create = stack.journal.running(running)
    for process in create.processes():
        process.suspend()  # it runs on for as long as this takes
    stack.worker("other", scheduler, CREATOR_DEMO_SECONDS="0.1").start()
    leaving.signal(signal.SIGTERM)
    _finished_elsewhere(stack, client, queued)
    assert client.task(running).status == task_pb2.TASK_STATUS_PROCESSING, "the queued ones waited for the running one"
    assert client.moves(queued[0])[1:3] == [("submitted", "LEASED"), ("pending", "DRAINING")]
    leaving.signal(signal.SIGTERM)
    leaving.ended()
    wait_until_gone(create.processes, within=PATIENCE_S, what="its CLI is gone")
    _finished_elsewhere(stack, client, [running])
    assert client.moves(running)[3:5] == [("failed", "WORKER_LOST"), REQUEUED]
    assert len(stack.journal.creates()) == 4


def test_a_scheduler_that_is_told_twice_does_not_wait(stack: Stack, db_url: str) -> None:
    scheduler = stack.scheduler(lease_ttl=LEASE).start()
    stack.worker("worker", scheduler).start()
    task_id = scheduler.client.submit(scheduler.client.create_account(), options={"demo-seconds": "2"})
    scheduler.client.wait_processing(task_id)
    with _waiting_for_a_table(scheduler, db_url):
        scheduler.signal(signal.SIGTERM)
        scheduler.wait_for("drain", within=PATIENCE_S)
        scheduler.signal(signal.SIGTERM)
        scheduler.ended()
    assert scheduler.events("stop")[0]["why"] == "a second signal"
    client = scheduler.start().client
    assert client.wait_completed(task_id, within=STOP_LIMIT + 10).attempt == 1
    assert len(client.contents(task_id)) == 1


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
    scheduler.command = [sys.executable, "-m", "tests.harness.broken_reaper"]
    scheduler.start()
    wait_until(lambda: not scheduler.alive, within=STOP_LIMIT, what="the scheduler has ended")
    assert scheduler.exit_status == 1
    given_up = [event for event in scheduler.events("supervise") if event["level"] == "critical"]
    assert [event["part"] for event in given_up] == ["reap"]
