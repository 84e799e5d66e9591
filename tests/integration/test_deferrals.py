"""Deferred attempts: the task waits and consumes no retry; too many deferrals in a row are a failure."""

from __future__ import annotations

import pytest

from scheduler_svc.domain.change import TaskChange
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import AttemptAccepted, AttemptDeferred, AttemptStarted, Change, Outcome
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import BACKOFF, PendingReason
from scheduler_svc.tasks.query import explain_task
from tests.harness.scheduling import DEFERRED, FAILURE, MAX_DEFERRALS, RESULT, TTL, Scheduling, released


def wait(scheduling: Scheduling, key: int) -> float:
    """Seconds until a delayed task is due."""
    ((seconds,),) = scheduling.sql(
        "SELECT extract(epoch FROM due_time - now())::float8 FROM delayed WHERE task_key = :key", key=key
    )
    return float(seconds)


def defer_again(scheduling: Scheduling, key: int) -> LeaseRef:
    """Ends the wait, and defers the next attempt too."""
    scheduling.wait_is_over(key)
    (ref,) = scheduling.claim()
    assert scheduling.report(ref, AttemptAccepted(), AttemptStarted(), DEFERRED)[-1] is Outcome.COMMITTED
    return ref


def deferrals(scheduling: Scheduling) -> int:
    ((count,),) = scheduling.sql("SELECT deferrals FROM tasks")
    return int(count)


def test_a_deferred_attempt_waits_and_consumes_nothing(scheduling: Scheduling) -> None:
    ref = scheduling.start(auto_retry=False, max_retries=0)
    assert scheduling.end(ref, DEFERRED) is Outcome.COMMITTED
    key = ref.task_key
    task, reason = scheduling.run(explain_task, key, TTL)
    assert (task.status, task.retry_count, task.attempt, task.error) == (Status.PENDING, 0, 1, None)
    assert (task.lease_id, task.end_time, reason) == ("", None, PendingReason.BACKOFF)
    assert scheduling.path(key) == ["pending", "submitted", "processing", "pending"]
    event = scheduling.events(key)[-1]
    assert (event.reason, event.attempt, event.worker_id) == ("DEFERRED", 1, "w")
    assert event.message.endswith("the model is over its quota")
    assert scheduling.place(key) == "delayed"
    assert 19 < wait(scheduling, key) <= 22
    assert [(stop.reason, stop.status) for signals in scheduling.told for stop in signals.stopped] == [
        ("DEFERRED", Status.PENDING)
    ]
    scheduling.check()
    scheduling.wait_is_over(key)
    (again,) = scheduling.claim()
    assert again.attempt == 2
    assert scheduling.end(again, RESULT) is Outcome.COMMITTED


def test_a_deferral_without_a_known_start_counts_too(scheduling: Scheduling) -> None:
    """As if `create` itself is deferred, before any update said that the CLI has started."""
    key = scheduling.submit_one()
    (ref,) = scheduling.claim()
    assert scheduling.report(ref, AttemptAccepted(), DEFERRED) == [Outcome.COMMITTED] * 2
    assert scheduling.path(key) == ["pending", "submitted", "pending"]


def test_a_deferred_task_loses_its_place_in_the_order(scheduling: Scheduling) -> None:
    """Else an account whose model is over its quota would be served before others each time."""
    ref = scheduling.start()
    scheduling.end(ref, DEFERRED)
    assert scheduling.sql("SELECT tag, cause FROM delayed") == [(None, BACKOFF)]


@pytest.mark.parametrize(("asked", "least", "most"), [(0, 0, 1.1), (-7, 0, 1.1), (1e9, 86_399, 95_040)])
def test_the_wait_of_a_deferral_is_bounded(scheduling: Scheduling, asked: float, least: float, most: float) -> None:
    ref = scheduling.start()
    scheduling.end(ref, AttemptDeferred(asked))
    assert least < wait(scheduling, ref.task_key) <= most


def test_retry_task_ends_the_wait_of_a_deferral(scheduling: Scheduling) -> None:
    ref = scheduling.start(max_retries=0)
    scheduling.end(ref, DEFERRED)
    task = scheduling.retry(ref.task_key)
    assert (task.status, task.retry_count) == (Status.PENDING, 0)
    assert scheduling.place(ref.task_key) == "ready"


def test_consecutive_deferrals_become_a_failure(scheduling: Scheduling) -> None:
    ref = scheduling.start(max_retries=1)
    scheduling.end(ref, DEFERRED)
    key = ref.task_key
    for _ in range(MAX_DEFERRALS - 2):
        defer_again(scheduling, key)
    assert scheduling.task(key).retry_count == 0
    last = defer_again(scheduling, key)
    task = scheduling.task(key)
    assert (task.status, task.retry_count) == (Status.PENDING, 1)
    assert task.error is not None
    assert (task.error.reason, deferrals(scheduling)) == ("DEFERRED", 0)
    assert [event.reason for event in scheduling.events(key)[-2:]] == ["DEFERRED", "AUTO_RETRY"]
    assert scheduling.end(last, DEFERRED) is Outcome.ALREADY_COMMITTED
    for _ in range(MAX_DEFERRALS):
        defer_again(scheduling, key)
    assert scheduling.task(key).status is Status.FAILED
    assert scheduling.retry(key, reset=True).status is Status.PENDING
    scheduling.check()


@pytest.mark.parametrize(("change", "count"), [(FAILURE, 0), (released(started=True), 1), (released(), 1)])
def test_other_ends_reset_the_count_of_deferrals(scheduling: Scheduling, change: Change, count: int) -> None:
    ref = scheduling.start()
    scheduling.end(ref, DEFERRED)
    scheduling.wait_is_over(ref.task_key)
    (again,) = scheduling.claim()
    scheduling.end(again, change)
    assert deferrals(scheduling) == count


def test_retry_task_resets_the_count_of_deferrals(scheduling: Scheduling) -> None:
    ref = scheduling.start()
    scheduling.end(ref, DEFERRED)
    while scheduling.task(ref.task_key).status is not Status.FAILED:  # by losses, which do not reset the count
        scheduling.wait_is_over(ref.task_key)
        scheduling.lose(*scheduling.claim())
    assert deferrals(scheduling) == 1
    scheduling.retry(ref.task_key)
    assert deferrals(scheduling) == 0


def test_a_watcher_sees_a_deferral(scheduling: Scheduling) -> None:
    ref = scheduling.start()
    scheduling.end(ref, DEFERRED)
    change: TaskChange = scheduling.changes()[-1]
    assert (change.previous_status, change.task.status) == (Status.PROCESSING, Status.PENDING)
    assert not change.will_retry
    assert (change.task.retry_count, change.task.error, change.task.end_time) == (0, None, None)
