"""Scenario 11: a task that is cancelled by force, or times out, moves at once; what follows waits for its CLI's end."""

from __future__ import annotations

import time

from contentgen.v1 import task_pb2
from tests.harness.journal import Create
from tests.harness.stack import Stack
from tests.harness.waiting import wait_until

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


def test_a_timeout_bars_the_next_run_until_the_clis_end(stack: Stack) -> None:
    scheduler = stack.scheduler(lease_ttl=LEASE).start()
    client = scheduler.client
    for name in ("a", "b"):
        stack.worker(name, scheduler, slots=1).start()
    task_id = client.submit(client.create_account(), options=STUBBORN, timeout=TIMEOUT, auto_retry=False)
    client.wait_processing(task_id)
    create = stack.journal.running(task_id)

    timed_out = client.wait_for_status(task_id, task_pb2.TASK_STATUS_TIMEOUT, within=TIMEOUT + REAPED)
    assert timed_out.error.reason == "TASK_TIMEOUT"
    assert client.retry(task_id).status == task_pb2.TASK_STATUS_PENDING
    _assert_starts_only_after(stack, task_id, 2, create)

    task = client.wait_completed(task_id, within=10)
    assert (task.attempt, task.retry_count) == (2, 1)
    assert client.moves(task_id)[3:5] == [("timeout", "TASK_TIMEOUT"), ("pending", "RETRY_TASK")]
    assert len(client.contents()) == 1


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
