"""Tasks that are not started in time, and tasks whose CLI asks to come back later."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from scheduler_svc.domain.change import TaskChange
from scheduler_svc.domain.errors import InvalidArgument
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import AttemptAccepted, AttemptStarted, Outcome, Release
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import BACKOFF, PendingReason
from scheduler_svc.replica import timed_loops as recovery
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.tasks.change import expire_tasks
from scheduler_svc.tasks.submit import SubmitItem
from tests.harness.cluster import Databases
from tests.harness.scheduling import DEFERRED, FAILURE, MAX_DEFERRALS, RESULT, Scheduling, later, new_task, released

pytestmark = pytest.mark.integration


class Aborted(Exception):
    """Ends a transaction without a commit."""


def expired(scheduling: Scheduling, *keys: int) -> int:
    """How many tasks the loop cancels once the time of these has passed."""
    scheduling.pass_expire_time(*keys)
    count = scheduling.expire_waiting().count
    scheduling.check()
    return count


@pytest.mark.parametrize(("hours", "place"), [(None, "ready"), (0.5, "delayed")])
def test_a_task_that_was_not_started_by_then_is_cancelled(
    scheduling: Scheduling, hours: float | None, place: str
) -> None:
    scheduling.hook()
    key = scheduling.submit_one(expire_time=later(), schedule_time=None if hours is None else later(hours))
    assert scheduling.place(key) == place
    assert scheduling.expire_waiting().count == 0
    assert expired(scheduling, key) == 1
    task = scheduling.task(key)
    assert (task.status, task.ended, scheduling.place(key)) == (Status.CANCELLED, True, "")
    assert task.error is not None
    assert task.error.reason == "EXPIRED"
    last = scheduling.events(key)[-1]
    assert (last.previous_status, last.status, last.reason) == (Status.PENDING, Status.CANCELLED, "EXPIRED")
    assert any(signals.ended == [key] for signals in scheduling.signals), "those who wait for it are told"
    assert scheduling.sql("SELECT data->>'reason' FROM webhook_deliveries WHERE event_type = 'task.ended'") == [
        ("EXPIRED",)
    ]


@pytest.mark.parametrize("aging", [0.0, 60.0])
def test_a_claim_starts_no_task_whose_time_has_passed(databases: Databases, template: str, aging: float) -> None:
    """Nor does it stop at one: what comes behind it is leased."""
    with databases.lent(template) as url:
        scheduling = Scheduling(url, aging=aging)
        late = [scheduling.submit_one(expire_time=later(), priority=9) for _ in range(5)]
        scheduling.pass_expire_time(*late)
        in_time = scheduling.submit_one(expire_time=later())
        plain = scheduling.submit_one()
        assert {ref.task_key for ref in scheduling.claim(2)} == {in_time, plain}
        assert scheduling.claim(10) == []
        assert scheduling.expire_waiting().count == len(late)
        scheduling.check()
        scheduling.close()


@pytest.mark.parametrize("change", [FAILURE, DEFERRED])
def test_a_task_of_which_an_attempt_has_begun_does_not_expire(scheduling: Scheduling, change: object) -> None:
    ref = scheduling.start(expire_time=later())
    assert expired(scheduling, ref.task_key) == 0
    scheduling.end(ref, change)  # type: ignore[arg-type]
    assert scheduling.place(ref.task_key) == "delayed"
    assert expired(scheduling, ref.task_key) == 0
    scheduling.wait_is_over(ref.task_key)
    assert expired(scheduling, ref.task_key) == 0
    assert [again.task_key for again in scheduling.claim()] == [ref.task_key]
    assert scheduling.task(ref.task_key).expire_time is not None


def test_what_was_lost_is_run_again_after_its_time(scheduling: Scheduling) -> None:
    ref = scheduling.claim_of_new(expire_time=later())
    scheduling.lose(ref)
    assert expired(scheduling, ref.task_key) == 0
    assert scheduling.place(ref.task_key) == "ready"


@pytest.mark.parametrize("reason", [Release.DRAINING, Release.REFUSED])
def test_a_lease_that_was_released_unstarted_is_no_attempt_that_began(scheduling: Scheduling, reason: Release) -> None:
    ref = scheduling.claim_of_new(expire_time=later())
    assert expired(scheduling, ref.task_key) == 0, "a worker holds it"
    scheduling.end(ref, released(reason))
    scheduling.check()
    assert expired(scheduling, ref.task_key) == 1
    assert scheduling.task(ref.task_key).status is Status.CANCELLED


def test_a_lease_released_after_an_attempt_that_began_changes_nothing(scheduling: Scheduling) -> None:
    ref = scheduling.start(expire_time=later())
    scheduling.end(ref, FAILURE)
    scheduling.wait_is_over(ref.task_key)
    (again,) = scheduling.claim()
    scheduling.end(again, released())
    assert expired(scheduling, ref.task_key) == 0
    assert scheduling.place(ref.task_key) == "ready"


def test_a_refused_task_that_is_offered_again_still_expires(scheduling: Scheduling) -> None:
    ref = scheduling.claim_of_new(expire_time=later())
    scheduling.end(ref, released(Release.REFUSED))
    scheduling.retry(ref.task_key)
    assert scheduling.place(ref.task_key) == "ready"
    assert expired(scheduling, ref.task_key) == 1


def test_a_scheduled_task_keeps_its_time_when_it_becomes_due(scheduling: Scheduling) -> None:
    key = scheduling.submit_one(expire_time=later(), schedule_time=later(0.5))
    scheduling.wait_is_over(key)
    assert scheduling.place(key) == "ready"
    assert expired(scheduling, key) == 1


def test_a_time_that_has_passed_is_refused_but_a_repeat_is_answered(scheduling: Scheduling) -> None:
    past = later(-1)
    with pytest.raises(InvalidArgument, match="expire_time: must be in the future"):
        scheduling.submit(new_task(expire_time=past))
    (answer,) = scheduling.submit_group(SubmitItem((new_task(), new_task(expire_time=past)), batch=True))
    assert isinstance(answer, InvalidArgument)
    assert [violation.field for violation in answer.violations] == ["requests[1].expire_time"]
    near = new_task(expire_time=datetime.now(UTC) + timedelta(seconds=0.2), request_id="once")
    (first,) = scheduling.submit(near)
    deadline = threading.Event()
    while not scheduling.sql("SELECT FROM ready WHERE expire_time <= now()"):
        deadline.wait(0.02)
    scheduling.expire_waiting()
    (again,) = scheduling.submit(near)
    assert (again.task_key, again.status) == (first.task_key, Status.CANCELLED)


def test_an_expired_task_is_no_start_of_its_account(scheduling: Scheduling) -> None:
    account = scheduling.make_account(max_starts_per_minute=1)
    key = scheduling.submit_one(account_id=account, expire_time=later())
    scheduling.admit()
    assert expired(scheduling, key) == 1
    other = scheduling.submit_one(account_id=account)
    scheduling.admit()
    assert [ref.task_key for ref in scheduling.claim()] == [other]


def test_locked_tasks_are_left_for_later(scheduling: Scheduling) -> None:
    keys = [scheduling.submit_one(expire_time=later()) for _ in range(3)]
    scheduling.pass_expire_time(*keys)
    with scheduling.transaction() as tx:
        tx.tasks.lock([keys[0]])
        assert scheduling.expire_waiting().count == 2
    with suppress(Aborted), scheduling.transaction() as tx:
        tx.waiting.remove([keys[0]])
        assert scheduling.expire_waiting().count == 0
        raise Aborted
    assert scheduling.expire_waiting().count == 1


def test_each_task_expires_once_over_several_replicas(scheduling: Scheduling) -> None:
    keys = [task.task_key for task in scheduling.submit(*[new_task(expire_time=later())] * 1_000)]
    scheduling.pass_expire_time(*keys)
    with ThreadPoolExecutor(3) as threads:
        counts = [0]
        while sum(counts) < len(keys):
            counts += threads.map(lambda _: scheduling.run(expire_tasks).count, range(3))
    assert sum(counts) == len(keys)


async def test_the_loop_sleeps_until_the_next_task_expires(scheduling: Scheduling, calls: Calls) -> None:
    expire = recovery.expiry(calls)
    assert await expire() == recovery.MAX_DUE_INTERVAL
    scheduling.submit_one(expire_time=datetime.now(UTC) + timedelta(seconds=5))
    assert scheduling.signals[-1].due, "the commit wakes the loop"
    assert 3 < (await expire() or 0) <= 5


# Deferred attempts: the task waits and consumes no retry; too many deferrals in a row are a failure.


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
    task, reason, _ = scheduling.explain(key)
    assert (task.status, task.retry_count, task.attempt, task.error) == (Status.PENDING, 0, 1, None)
    assert (task.lease_id, task.end_time, reason) == ("", None, PendingReason.BACKOFF)
    assert scheduling.path(key) == ["pending", "submitted", "processing", "pending"]
    event = scheduling.events(key)[-1]
    assert (event.reason, event.attempt, event.worker_id) == ("DEFERRED", 1, "w")
    assert event.message.endswith("the model is over its quota")
    ((tag, cause, due),) = scheduling.sql(
        "SELECT tag, cause, extract(epoch FROM due_time - now())::float8 FROM delayed"
    )
    assert (tag, cause) == (None, BACKOFF), "else an account whose model is over its quota would be served first again"
    assert 19 < due <= 22
    assert [(stop.reason, stop.status) for signals in scheduling.signals for stop in signals.stopped] == [
        ("DEFERRED", Status.PENDING)
    ]
    scheduling.check()
    scheduling.wait_is_over(key)
    (again,) = scheduling.claim()
    assert again.attempt == 2
    assert scheduling.end(again, RESULT) is Outcome.COMMITTED


def test_a_deferral_without_a_known_start_counts_too(scheduling: Scheduling) -> None:
    """As if `create` itself is deferred, before any update said that the CLI has started."""
    ref = scheduling.claim_of_new()
    assert scheduling.report(ref, AttemptAccepted(), DEFERRED) == [Outcome.COMMITTED] * 2
    assert scheduling.path(ref.task_key) == ["pending", "submitted", "pending"]


def test_consecutive_deferrals_become_a_failure(scheduling: Scheduling) -> None:
    key = scheduling.start_and_end(DEFERRED, max_retries=1)
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


def test_retry_task_resets_the_count_of_deferrals(scheduling: Scheduling) -> None:
    key = scheduling.start_and_end(DEFERRED)
    while scheduling.task(key).status is not Status.FAILED:  # by losses, which do not reset the count
        scheduling.wait_is_over(key)
        scheduling.lose(*scheduling.claim())
    assert deferrals(scheduling) == 1
    scheduling.retry(key)
    assert deferrals(scheduling) == 0


def test_a_watcher_sees_a_deferral(scheduling: Scheduling) -> None:
    scheduling.start_and_end(DEFERRED)
    change: TaskChange = scheduling.changes()[-1]
    assert (change.previous_status, change.task.status) == (Status.PROCESSING, Status.PENDING)
    assert not change.will_retry
    assert (change.task.retry_count, change.task.error, change.task.end_time) == (0, None, None)
