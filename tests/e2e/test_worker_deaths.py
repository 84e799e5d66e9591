"""Scenarios 2, 4 and 8: a worker that is killed or stopped takes its CLIs with it, and its tasks go on elsewhere.

So does one whose guard is stopped, which then can end nothing.
"""

from __future__ import annotations

import time

import psutil

from contentgen.v1 import task_pb2
from tests.harness.journal import Create
from tests.harness.stack import SHORT_LEASE, Stack, Worker
from tests.harness.waiting import wait_until, wait_until_gone
from tests.harness.wires import cable_to

GUARD_TIMEOUT = 4.0
"""Seconds in which a guard has ended everything: its grace between TERM and KILL, and a little for a busy machine."""
REQUEUED = ("pending", "REQUEUED")


def _with_children(stack: Stack, task_id: str) -> Create:
    """The task's create, once its three children (one in its group, two that called setsid) have told of themselves."""

    def found() -> Create | None:
        creates = stack.journal.creates(task_id)
        return creates[0] if creates and len(creates[0].children) == 3 else None

    create = wait_until(found, within=10, what="the CLI and its children run")
    assert create is not None
    assert len(create.processes()) == 4
    return create


def test_a_killed_workers_task_runs_elsewhere_once_its_lease_is_over(stack: Stack) -> None:
    scheduler = stack.scheduler().start()
    client = scheduler.client
    victim = stack.worker("victim", scheduler, CREATOR_DEMO_SECONDS="60").start()
    options = {"demo-fail": "fork", "demo-fail-times": "1"}
    task_id = client.submit(client.create_account(), options=options)
    create = _with_children(stack, task_id)
    client.wait_processing(task_id)
    stack.worker("heir", scheduler, CREATOR_DEMO_SECONDS="0.2").start()

    victim.kill()
    killed_at = time.time()
    wait_until_gone(create.processes, within=GUARD_TIMEOUT, what="the CLI and its children are gone")
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
    options = {"demo-fail": "fork", "demo-fail-times": "1"}
    task_id = client.submit(client.create_account(), options=options)
    create = _with_children(stack, task_id)
    client.wait_processing(task_id)

    worker.kill()
    worker.start(CREATOR_DEMO_SECONDS="0.2")
    assert not create.processes(), "a new session began beside an old CLI"
    task = client.wait_completed(task_id, within=15)
    assert (task.attempt, task.retry_count) == (2, 0)
    assert client.moves(task_id)[3:5] == [("failed", "WORKER_LOST"), REQUEUED]
    assert len(stack.journal.creates(task_id)) == 2
    assert len(client.contents()) == len(client.publish_pool()) == 1


def test_a_task_that_kills_its_worker_each_time_stays_failed_in_the_end(stack: Stack) -> None:
    scheduler = stack.scheduler(lease_ttl=120, CONTENTGEN_MAX_WORKER_LOSSES="3").start()
    client = scheduler.client
    cli = stack.folder / "killer"
    cli.write_text('#!/bin/sh\n[ "$1" = --version ] || kill -9 $(ps -o ppid= -p $PPID)\n')
    cli.chmod(0o755)
    worker = stack.worker("worker", scheduler, CREATOR_CLI_PATH=str(cli))
    task_id = client.submit(client.create_account())
    for _ in range(3):
        worker.launch()
        wait_until(lambda: not worker.alive, within=15, what="the task has killed its worker")
    worker.start()
    task = client.wait(task_id, within=5)
    assert (task.status, task.error.reason) == (task_pb2.TASK_STATUS_FAILED, "WORKER_LOST")
    assert (task.attempt, task.retry_count) == (3, 0)


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
    late = _answered(frozen, brief)
    assert [event["task_id"] for event in frozen.events("lease.completed")] == [brief], "it was paid for, so it is told"
    assert late["outcome"] == "lease_lost"
    assert client.tasks([endless, brief]) == [client.task(task.task_id) for task in done] == done
    assert [client.history(task.task_id) for task in done] == histories
    assert client.contents() == contents
    assert len(contents) == 2
    next_one = client.submit(account_id, "the next one", options={"demo-seconds": "0.2"})
    assert client.wait_completed(next_one, within=15).worker_id == "frozen"


def test_a_worker_that_is_cut_off_ends_what_its_frozen_guard_cannot(stack: Stack) -> None:
    scheduler = stack.scheduler().start()
    client = scheduler.client
    with cable_to(scheduler.port) as cable:
        cut_off = stack.worker("cut-off", cable.target, CREATOR_DEMO_SECONDS="60").start()
        options = {"demo-fail": "fork", "demo-fail-times": "1"}
        task_id = client.submit(client.create_account(), options=options)
        create = _with_children(stack, task_id)
        client.wait_processing(task_id)
        [guard] = psutil.Process(cut_off.pid).children()
        guard.suspend()
        cable.cut()
        wait_until_gone(create.processes, within=SHORT_LEASE, what="the CLI and its children are gone")
        assert client.moves(task_id)[-1] == ("processing", "STARTED"), "they are gone before the lease is"
        wait_until(lambda: not cut_off.alive, within=GUARD_TIMEOUT, what="a worker without a guard ends")
        assert cut_off.exit_status == 1
        assert "killed: it had not ended run" in cut_off.events("guard.lost")[0]["event"]

    stack.worker("heir", scheduler, CREATOR_DEMO_SECONDS="0.2").start()
    task = client.wait_completed(task_id, within=SHORT_LEASE + 10)
    assert (task.worker_id, task.attempt) == ("heir", 2)


def _answered(worker: Worker, task_id: str) -> dict[str, str]:
    """What the worker logs of the answer to a result that was not needed any more."""
    key = task_id.removeprefix("task-")

    def answered() -> list[dict[str, str]]:
        return [event for event in worker.events("lease.answered") if key in event["lease_id"]]

    return wait_until(answered, within=10, what="the late result is answered")[0]


def test_a_run_that_was_handed_over_is_adopted_by_the_next_attempt(stack: Stack) -> None:
    scheduler = stack.scheduler().start()
    client = scheduler.client
    victim = stack.worker("victim", scheduler, CREATOR_PROFILE="reference").start()
    task_id = client.submit(client.create_account(), options={"demo-seconds": "8"})
    client.wait_processing(task_id)
    stack.worker("heir", scheduler, CREATOR_PROFILE="reference").start()

    victim.kill()
    wait_until(lambda: client.task(task_id).attempt == 2, within=SHORT_LEASE + 5, what="it is leased again")
    task = client.wait_completed(task_id, within=20)
    assert (task.worker_id, task.attempt, task.retry_count) == ("heir", 2, 0)
    assert len(stack.journal.creates(task_id)) == 1
    assert len(client.contents()) == 1
