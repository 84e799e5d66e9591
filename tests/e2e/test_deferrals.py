"""A CLI that asks to come back later: the task waits, another runs in its slot, and nothing is used up."""

from __future__ import annotations

import pytest

from contentgen.v1 import task_pb2
from tests.harness.client import status_name
from tests.harness.stack import Stack

ONCE = {"demo-fail": "defer", "demo-fail-times": "1", "demo-seconds": "0.1"}
WITHIN = 30.0


@pytest.mark.parametrize("profile", ["json", "reference"])
def test_a_task_completes_after_the_pause_that_its_cli_asked_for(stack: Stack, profile: str) -> None:
    scheduler = stack.scheduler(lease_ttl=30).start()
    client = scheduler.client
    stack.worker("worker", scheduler, CREATOR_PROFILE=profile).start()
    options = {**ONCE, "demo-retry-after": "1"}
    task_id = client.submit(client.create_account(), options=options, max_retries=0)
    task = client.wait_completed(task_id, within=WITHIN)
    assert (task.attempt, task.retry_count, task.HasField("error")) == (2, 0, False)
    history = client.history(task_id)
    (deferred,) = [event for event in history if event.reason == "DEFERRED"]
    assert deferred.status == task_pb2.TASK_STATUS_PENDING
    assert deferred.message == "offered again in 1 s: demo creator: the model is over its quota"
    (again,) = [event for event in history if event.reason == "LEASED" and event.attempt == 2]
    assert again.event_time.ToNanoseconds() - deferred.event_time.ToNanoseconds() >= 1e9
    assert len(stack.journal.creates(task_id)) == 2


def test_the_slot_is_free_meanwhile_and_retry_task_takes_the_wait_away(stack: Stack) -> None:
    scheduler = stack.scheduler(lease_ttl=30).start()
    client = scheduler.client
    stack.worker("worker", scheduler, slots=1).start()
    account_id = client.create_account()
    waits = client.submit(account_id, options={**ONCE, "demo-retry-after": "3600"}, max_retries=0)
    other = client.submit(account_id, options={"demo-seconds": "0.1"})
    client.wait_completed(other, within=WITHIN)
    task = client.task(waits)
    assert status_name(task.status) == "pending"
    assert task.pending_reason == task_pb2.PENDING_REASON_BACKOFF
    client.retry(waits)
    assert client.wait_completed(waits, within=WITHIN).retry_count == 0


def test_the_configured_number_of_consecutive_deferrals_is_a_failure(stack: Stack) -> None:
    scheduler = stack.scheduler(lease_ttl=30, CONTENTGEN_MAX_DEFERRALS="2").start()
    client = scheduler.client
    worker = stack.worker("worker", scheduler).start()
    options = {"demo-fail": "defer", "demo-retry-after": "0"}
    task_id = client.submit(client.create_account(), options=options, auto_retry=False)
    task = client.wait(task_id, within=WITHIN)
    assert (status_name(task.status), task.error.reason) == ("failed", "DEFERRED")
    assert (task.attempt, task.retry_count) == (2, 0)
    assert "2 times in a row" in task.error.message
    assert worker.alive
