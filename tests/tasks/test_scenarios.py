"""Tasks of real workers that fail, are cancelled, time out or are deferred."""

from __future__ import annotations

import time

import pytest

from contentgen.v1 import task_pb2
from tests.harness.client import request, status_name
from tests.harness.stack import Create, Stack
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.e2e

BAD = 30
SLOTS = 3
WITHIN = 120.0


@pytest.mark.costly("a scheduler, two workers and dozens of runs", seconds=2)
def test_thirty_tasks_that_fail_at_once_leave_the_workers_to_another_account(stack: Stack) -> None:
    scheduler = stack.scheduler().start()
    client = scheduler.client
    gate = stack.folder / "gate"
    workers = [stack.quick_worker(name, scheduler, slots=SLOTS).start() for name in ("one", "other")]
    good, bad = client.create_account(), client.create_account()
    # Each worker runs one of the good account's at least, and all the while: no success between hides the failures.
    long = client.submit_all([request(good, options={"until": str(gate)})] * (SLOTS + 1))
    client.wait_processing(*long)
    fails = request(bad, options={"status": "1"}, max_retries=0)
    failed = client.submit_all([fails] * BAD)

    wait_until(
        lambda: all(task.status == task_pb2.TASK_STATUS_FAILED for task in client.tasks(failed)),
        within=WITHIN,
        what="all of them have failed",
    )
    assert not [event for worker in workers for event in worker.events("worker.unhealthy")]
    client.wait_completed(client.submit(good), within=WITHIN)
    gate.touch()
    for task_id in long:
        client.wait_completed(task_id, within=WITHIN)


# Scenario 11: a task that is cancelled by force, or times out, moves at once; what follows waits for its CLI's end.


LEASE = 6.0
REAPED = LEASE / 6 + 2
"""Seconds until the scheduler sees by itself that a time is over, each half heartbeat interval, and a little."""
TIMEOUT = 1.5
STUBBORN = {"demo-fail": "ignore-term", "demo-fail-times": "1", "demo-seconds": "0.1"}
"""A first run that has to be killed, and a second one that is quick."""


def _assert_starts_only_after(stack: Stack, task_id: str, runs: int, first: Create) -> None:
    """The task's create number `runs` starts, and `first` is gone by then."""

    def started() -> bool:
        lived = bool(first.processes())  # looked at before the journal: a start that is seen then came later
        if len(stack.journal.creates(task_id)) < runs:
            return False
        assert not lived, "a run started beside one that should be gone"
        return True

    wait_until(started, within=LEASE + 10, what="the next run starts")


def test_a_forced_cancel_moves_at_once_and_frees_the_slot_with_the_clis_end(stack: Stack) -> None:
    scheduler = stack.scheduler(lease_ttl=LEASE).start()
    client = scheduler.client
    stack.worker("worker", scheduler, slots=1).start()
    account_id = client.create_account()
    task_id = client.submit(account_id, options=STUBBORN)
    client.wait_processing(task_id)
    create = stack.journal.running(task_id)
    next_id = client.submit(account_id, options={"demo-seconds": "0.1"})

    cancelled = client.cancel(task_id, force=True)
    assert cancelled.status == task_pb2.TASK_STATUS_CANCELLED
    assert cancelled.error.reason == "CANCELLED_BY_CLIENT"
    assert create.processes(), "the task does not wait for its CLI"
    assert client.task(next_id).status == task_pb2.TASK_STATUS_PENDING
    _assert_starts_only_after(stack, next_id, 1, create)

    client.wait_completed(next_id, within=10)
    assert client.task(task_id) == cancelled
    assert client.moves(task_id)[-1] == ("cancelled", "CANCELLED_BY_CLIENT")
    assert [content.task_id for content in client.contents()] == [next_id]


def test_a_timeout_moves_at_once_though_the_worker_is_frozen_and_its_cli_runs(stack: Stack) -> None:
    scheduler = stack.scheduler(lease_ttl=LEASE).start()
    client = scheduler.client
    frozen = stack.worker("frozen", scheduler).start()
    options = {"demo-fail": "hang", "demo-fail-times": "1", "demo-seconds": "0.1"}
    # Nothing times out in the first lease time of a scheduler, which may follow an outage.
    timeout = LEASE + 1
    task_id = client.submit(client.create_account(), options=options, timeout=timeout, auto_retry=False)
    client.wait_processing(task_id)
    create = stack.journal.running(task_id)
    stack.worker("other", scheduler).start()
    over_at = client.task(task_id).timeout_time.ToNanoseconds() / 1e9
    wait_until(lambda: time.time() > over_at - 0.4, within=timeout, what="its time is nearly over")
    frozen.freeze()

    client.wait_for_status(task_id, task_pb2.TASK_STATUS_TIMEOUT, within=REAPED)
    assert create.processes(), "the task does not wait for its CLI"
    client.retry(task_id)
    _assert_starts_only_after(stack, task_id, 2, create)
    task = client.wait_completed(task_id, within=10)
    assert (task.worker_id, task.attempt) == ("other", 2)
    frozen.thaw()


# A CLI that asks to come back later: the task waits, another runs in its slot, and nothing is used up.


ONCE = {"demo-fail": "defer", "demo-fail-times": "1", "demo-seconds": "0.1"}


@pytest.mark.parametrize("profile", ["json", "reference"])
def test_a_deferred_task_waits_while_others_run_in_its_slot(stack: Stack, profile: str) -> None:
    scheduler = stack.scheduler(lease_ttl=30, CONTENTGEN_MAX_DEFERRALS="2").start()
    client = scheduler.client
    worker = stack.worker("worker", scheduler, slots=1, CREATOR_PROFILE=profile).start()
    account_id = client.create_account()
    long = client.submit(account_id, options={**ONCE, "demo-retry-after": "3600"}, max_retries=0)
    short = client.submit(account_id, options={**ONCE, "demo-retry-after": "1"}, max_retries=0)
    never = client.submit(account_id, options={"demo-fail": "defer", "demo-retry-after": "0"}, auto_retry=False)

    task = client.wait_completed(short, within=WITHIN)
    assert (task.attempt, task.retry_count, task.HasField("error")) == (2, 0, False)
    history = client.history(short)
    (deferred,) = [event for event in history if event.reason == "DEFERRED"]
    assert deferred.status == task_pb2.TASK_STATUS_PENDING
    assert deferred.message == "offered again in 1 s: demo creator: the model is over its quota"
    (again,) = [event for event in history if event.reason == "LEASED" and event.attempt == 2]
    assert again.event_time.ToNanoseconds() - deferred.event_time.ToNanoseconds() >= 1e9
    assert len(stack.journal.creates(short)) == 2

    task = client.wait(never, within=WITHIN)
    assert (status_name(task.status), task.error.reason) == ("failed", "DEFERRED")
    assert (task.attempt, task.retry_count) == (2, 0)
    assert "2 times in a row" in task.error.message

    task = client.task(long)
    assert status_name(task.status) == "pending"
    assert task.pending_reason == task_pb2.PENDING_REASON_BACKOFF
    client.retry(long)
    assert client.wait_completed(long, within=WITHIN).retry_count == 0
    assert worker.alive
