"""CancelTask, RetryTask and UpdateTask beyond the states that tests/api shows, and a task's own backoff."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from contentgen.submit_fields import BY_NAME
from scheduler_svc.domain.errors import InvalidArgument, InvalidState
from scheduler_svc.domain.lease import Outcome
from scheduler_svc.domain.lifecycle import ENDED, RetryBackoff, Status
from scheduler_svc.domain.task import TEXTS, NewTask, TaskFilter
from scheduler_svc.tasks.bulk import delete_batch
from tests.api.cases import FULL_SUBMIT, NO_TASK, WAITS, Bad, Good, missing, of
from tests.harness.cluster import Databases
from tests.harness.scheduling import DEFERRED, FAILURE, RESULT, TIMEOUT, Scheduling, later, new_task, released

pytestmark = pytest.mark.integration


def test_a_task_with_a_revoked_lease_is_cancelled(scheduling: Scheduling) -> None:
    ref = scheduling.time_out(scheduling.start())
    assert scheduling.cancel(ref.task_key).status is Status.CANCELLED
    assert scheduling.end(ref, RESULT) is Outcome.LEASE_LOST


class TestRetry:
    def test_a_failed_task_is_ready_after_retry_task(self, scheduling: Scheduling) -> None:
        key = scheduling.start_and_end(FAILURE, auto_retry=False)
        task = scheduling.retry(key)
        assert (task.status, task.ended, task.retry_count, scheduling.place(key)) == (Status.PENDING, False, 1, "ready")
        assert task.error is not None  # the last attempt's, until a later one completes
        assert scheduling.events(key)[-1].reason == "RETRY_TASK"
        assert scheduling.signals[-1].ready

    def test_a_retry_during_backoff_starts_at_once_and_consumes_no_retry(self, scheduling: Scheduling) -> None:
        key = scheduling.start_and_end(FAILURE)
        path = scheduling.path(key)
        assert scheduling.retry(key).retry_count == 1
        assert (scheduling.place(key), scheduling.path(key)) == ("ready", path)

    def test_reset_retry_count_allows_new_retries_and_counts_this_one(self, scheduling: Scheduling) -> None:
        key = scheduling.start_and_end(FAILURE, auto_retry=False)
        scheduling.sql("UPDATE tasks SET retry_count = 3")
        assert scheduling.retry(key, reset=True).retry_count == 1

    def test_a_revoked_lease_bars_the_retry_of_a_task_that_ended(self, scheduling: Scheduling) -> None:
        ref = scheduling.time_out(scheduling.start(auto_retry=False))
        assert scheduling.task(ref.task_key).ended
        scheduling.retry(ref.task_key)
        assert (scheduling.place(ref.task_key), scheduling.due().count) == ("delayed", 0)
        scheduling.end(ref, FAILURE)
        assert scheduling.due().count == 1
        assert scheduling.claim()[0].attempt == 2


# UpdateTask of what waits, beside claims, and in the order of dispatch.


def updated(scheduling: Scheduling, key: int, **fields: Any) -> None:
    scheduling.update(key, **fields)
    scheduling.check()


def violations(scheduling: Scheduling, key: int, **fields: Any) -> list[str]:
    before = scheduling.task(key), scheduling.events(key)
    with pytest.raises(InvalidArgument) as raised:
        scheduling.update(key, **fields)
    assert (scheduling.task(key), scheduling.events(key)) == before
    return [violation.field for violation in raised.value.violations]


def test_a_waiting_task_is_changed(scheduling: Scheduling) -> None:
    key = scheduling.submit_one(labels={"team": "a", "kind": "x"}, request_id="once", keywords="k")
    before = scheduling.task(key)
    fields: dict[str, Any] = {
        "priority": 9,
        "auto_approve": False,
        "auto_retry": False,
        "max_retries": 7,
        "timeout": timedelta(seconds=90),
        "labels": {"team": "b", "kind": "x"},
        "expire_time": later(2),
        "schedule_time": later(),
    }
    texts: dict[str, Any] = {**{name: f"another {name}" for name in TEXTS}, "keywords": ""}
    after = scheduling.update(key, **fields, **texts)
    assert after == before._replace(brief=before.brief._replace(**texts), **fields)
    assert scheduling.task(key) == after
    scheduling.check()
    event = scheduling.events(key)[-1]
    assert (event.previous_status, event.status, event.reason) == (Status.PENDING, Status.PENDING, "UPDATED")
    assert event.message == ", ".join(sorted([*fields, *texts])), "names, and no texts"
    assert scheduling.place(key) == "delayed"
    rows = scheduling.sql("SELECT name, value FROM task_labels WHERE task_key = :key ORDER BY name", key=key)
    assert rows == [("kind", "x"), ("team", "b")]


def test_a_grant_has_the_new_brief_and_what_was_not_named_stays(scheduling: Scheduling) -> None:
    key = scheduling.submit_one(tone="dry", creator_options={"length": "800"}, labels={"team": "a"})
    updated(scheduling, key, topic="another")
    (grant,) = scheduling.serve(1)
    assert (grant.ref.task_key, grant.brief.topic, grant.brief.tone) == (key, "another", "dry")
    assert (grant.brief.creator_options, grant.labels) == ({"length": "800"}, {"team": "a"})


@pytest.mark.parametrize("change", [FAILURE, DEFERRED, released()])
def test_what_waits_for_another_attempt_is_changed_where_it_waits(scheduling: Scheduling, change: Any) -> None:
    ref = scheduling.start() if change in (FAILURE, DEFERRED) else scheduling.claim_of_new()
    scheduling.end(ref, change)
    place, before = scheduling.place(ref.task_key), scheduling.task(ref.task_key)
    updated(scheduling, ref.task_key, topic="another", max_retries=9)
    assert scheduling.place(ref.task_key) == place
    after = scheduling.task(ref.task_key)
    assert after == before._replace(brief=before.brief._replace(topic="another"), max_retries=9)
    assert scheduling.events(ref.task_key)[-1].retry_count == before.retry_count


def test_a_backoff_and_a_schedule_hold_whichever_is_later(scheduling: Scheduling) -> None:
    key = scheduling.start_and_end(FAILURE)

    def waits() -> list[Any]:
        return scheduling.sql("SELECT cause, due_time > now() + interval '30 min' FROM delayed")

    updated(scheduling, key, schedule_time=later(1 / 3_600))
    assert waits() == [(2, False)]
    updated(scheduling, key, schedule_time=later())
    assert waits() == [(1, True)]
    scheduling.wait_is_over(key)
    assert [again.attempt for again in scheduling.claim()] == [2]


def test_a_revoked_lease_still_bars_its_task(scheduling: Scheduling) -> None:
    ref = scheduling.claim_of_new(timeout=timedelta(seconds=1))
    scheduling.sql("UPDATE leases SET claim_time = now() - interval '10 min'")
    scheduling.reap()
    key = ref.task_key
    assert scheduling.barred(key)
    for fields in ({"priority": 9}, {"schedule_time": later()}, {"schedule_time": None}):
        updated(scheduling, key, **fields)
        assert scheduling.place(key) == "delayed"
        scheduling.sql("UPDATE delayed SET due_time = now() WHERE cause <> 1")
        assert scheduling.due().count == 0
    assert scheduling.claim() == []


def test_schedules_are_set_moved_and_taken_away(scheduling: Scheduling) -> None:
    key = scheduling.submit_one()
    updated(scheduling, key, schedule_time=later())
    assert (scheduling.place(key), scheduling.claim()) == ("delayed", [])
    updated(scheduling, key, schedule_time=later(100))
    assert scheduling.due().count == 0
    updated(scheduling, key, schedule_time=None)
    assert scheduling.place(key) == "ready"
    assert [ref.task_key for ref in scheduling.claim()] == [key]


def test_a_new_priority_is_a_new_place(scheduling: Scheduling) -> None:
    first, second, third = (scheduling.submit_one() for _ in range(3))
    updated(scheduling, second, priority=9)
    updated(scheduling, first, priority=1)
    assert [grant.ref.task_key for grant in scheduling.serve(3)] == [second, third, first]


def test_other_changes_keep_the_place_and_the_wait(scheduling: Scheduling) -> None:
    keys = [scheduling.submit_one() for _ in range(4)]
    scheduling.age(600, keys[1])
    for key in (keys[1], keys[0]):
        updated(scheduling, key, topic="another", timeout=timedelta(seconds=9))
    waits = scheduling.sql("SELECT now() - ready_time > interval '5 min' FROM ready ORDER BY task_key")
    assert waits == [(False,), (True,), (False,), (False,)]
    assert [grant.ref.task_key for grant in scheduling.serve(4)] == keys


@pytest.mark.parametrize("quotas", [{"limit": 1}, {"max_starts_per_minute": 1}])
def test_an_account_s_limits_hold(scheduling: Scheduling, quotas: dict[str, int]) -> None:
    account = scheduling.make_account(**quotas)
    keys = scheduling.fill(account, 3)
    scheduling.admit()
    for key in keys:
        updated(scheduling, key, topic="another", priority=9)
        scheduling.admit()
        scheduling.check()
    assert len(scheduling.claim(3)) == 1


def test_tasks_behind_the_window_stay_behind_it(databases: Databases, template: str) -> None:
    with databases.lent(template) as url:
        scheduling = Scheduling(url, max_queue=10_000)
        keys = scheduling.fill(1, 3_100)
        updated(scheduling, keys[-1], topic="another")
        assert scheduling.sql("SELECT tag FROM ready WHERE task_key = :key", key=keys[-1]) == [(None,)]
        scheduling.close()


def test_bad_values_change_nothing(scheduling: Scheduling) -> None:
    account = scheduling.make_account(max_priority=5)
    key = scheduling.submit_one(account_id=account, priority=1, requirements="x" * 20_000)
    assert violations(scheduling, key, priority=6, expire_time=later(-1)) == ["task.priority", "task.expire_time"]
    assert violations(scheduling, key, expire_time=later(), schedule_time=later(2)) == ["task.expire_time"]
    updated(scheduling, key, expire_time=later(1), priority=5)
    assert violations(scheduling, key, schedule_time=later(2)) == ["task.schedule_time"]
    failed = scheduling.start_and_end(FAILURE, max_retries=3)
    assert violations(scheduling, failed, max_retries=0) == ["task.max_retries"]
    wide = scheduling.submit_one(topic="😀" * 1_000, requirements="😀" * 15_000)
    assert violations(scheduling, wide, topic="😀" * 2_000) == ["task.requirements"]


def test_expiry_is_set_moved_and_taken_away(scheduling: Scheduling) -> None:
    keys = [scheduling.submit_one(**fields) for fields in ({}, {"expire_time": later()}, {"schedule_time": later(0.5)})]
    for key in keys:
        updated(scheduling, key, expire_time=later(2))
    updated(scheduling, keys[1], expire_time=None)
    scheduling.pass_expire_time(*keys)
    assert scheduling.expire_waiting().count == 2
    assert [scheduling.task(key).status for key in keys] == [Status.CANCELLED, Status.PENDING, Status.CANCELLED]


def test_once_an_attempt_has_begun_the_expiry_has_no_effect(scheduling: Scheduling) -> None:
    key = scheduling.start_and_end(FAILURE)
    updated(scheduling, key, expire_time=later())
    scheduling.pass_expire_time(key)
    assert scheduling.expire_waiting().count == 0


def test_a_repeat_of_the_submit_returns_the_changed_task(scheduling: Scheduling) -> None:
    key = scheduling.submit_one(request_id="once")
    updated(scheduling, key, topic="another")
    assert scheduling.submit_one(request_id="once") == key


def test_watchers_get_the_change(scheduling: Scheduling) -> None:
    key = scheduling.submit_one()
    updated(scheduling, key, topic="another")
    assert scheduling.signals[-1].moved
    change = scheduling.changes()[-1]
    assert change.previous_status is change.task.status is Status.PENDING
    assert change.task.brief.topic == "another"


def test_a_claim_grants_no_brief_that_was_replaced_before(scheduling: Scheduling) -> None:
    """Claims and updates at the same time: what is granted is what the last update said that was acknowledged."""
    for turn in range(20):
        key = scheduling.submit_one()
        acknowledged = ["a topic"]
        started = threading.Event()

        def edit(key: int = key, acknowledged: list[str] = acknowledged, started: threading.Event = started) -> None:
            with suppress(InvalidState):
                for number in range(1_000):
                    scheduling.update(key, topic=f"topic {number}")
                    acknowledged.append(f"topic {number}")
                    started.set()

        with ThreadPoolExecutor(1) as threads:
            editing = threads.submit(edit)
            started.wait(10)
            while not (grants := scheduling.claim_for(scheduling.capacity(1)).grants):
                pass
            editing.result(30)
        (grant,) = grants
        assert (grant.ref.task_key, grant.brief.topic) == (key, acknowledged[-1]), turn


# A task's own backoff: stored, applied and shown.


def waits(scheduling: Scheduling, task: NewTask) -> list[float]:
    """How long a task waits before each of its retries, in seconds."""
    key = scheduling.submit(task)[0].task_key
    delays = []
    for failure in (FAILURE, TIMEOUT, FAILURE):
        (ref,) = scheduling.claim()
        scheduling.end(ref, failure)
        ((delay,),) = scheduling.sql("SELECT due_time - now() FROM delayed WHERE task_key = :key", key=key)
        delays.append(delay / timedelta(seconds=1))
        scheduling.wait_is_over(key)
    scheduling.check()
    return delays


@pytest.mark.parametrize(
    ("backoff", "seconds"),
    [
        (RetryBackoff(), [30, 60, 120]),
        (RetryBackoff(20_000, 3.0, 90_000), [20, 60, 90]),
        (RetryBackoff(multiplier=1.0), [30, 30, 30]),
    ],
    ids=["default", "all of it", "constant"],
)
def test_a_task_waits_by_its_submitted_backoff(
    scheduling: Scheduling, backoff: RetryBackoff, seconds: list[float]
) -> None:
    delays = waits(scheduling, new_task(backoff=backoff))
    for wait, middle in zip(delays, seconds, strict=True):
        assert 0.9 * middle - 5 < wait <= 1.1 * middle


def test_every_read_of_a_task_shows_its_backoff(scheduling: Scheduling) -> None:
    backoff = RetryBackoff(250, 1.5, 60_000)
    (submitted,) = scheduling.submit(new_task(backoff=backoff, request_id="once"))
    assert submitted.backoff == scheduling.task(submitted.task_key).backoff == backoff
    assert scheduling.tasks()[submitted.task_key].backoff == backoff
    assert scheduling.changes()[-1].task.backoff == backoff
    (ref,) = scheduling.claim()
    scheduling.end(ref, RESULT)
    ended = TaskFilter(statuses=ENDED)
    assert scheduling.run(lambda tx: delete_batch(tx, ended, tx.now, 0, 1)).changed == 1
    (repeated,) = scheduling.submit(new_task(backoff=backoff, request_id="once"))
    assert (repeated.task_key, repeated.backoff) == (submitted.task_key, backoff)


# What tests/api calls: requests that are answered, and those that are refused.
CHANGED = {key: value for key, value in FULL_SUBMIT.items() if BY_NAME[key].changeable}
GOOD = [
    Good(
        "CancelTask",
        of(task="pending"),
        {"task": {"status": "TASK_STATUS_CANCELLED", "end_time": str, "error": {"reason": "CANCELLED_BY_CLIENT"}}},
    ),
    Good(
        "UpdateTask",
        {
            "task": {**of(task="pending"), **CHANGED, "attempt": 7},
            "update_mask": ",".join(re.sub("_(.)", lambda match: match[1].upper(), key) for key in CHANGED),
        },
        {"task": {**CHANGED, **of(task="pending"), "status": WAITS, "attempt": 0}},
    ),
    Good(
        "UpdateTask",
        {"task": of(task="scheduled"), "update_mask": "scheduleTime,timeout,tone,labels"},
        {"task": {"timeout": "1800s", "tone": "", "labels": {}}},
    ),
    Good("RetryTask", of(task="failed"), {"task": {"status": WAITS, "retry_count": 1}}),
]
BAD = [
    Bad("UpdateTask", {}, fields=("task.task_id", "update_mask")),
    Bad(
        "UpdateTask",
        {"task": {"task_id": NO_TASK}, "update_mask": "topic,priority,taskId,creatorOptions,requestId"},
        fields=("update_mask.paths[2]", "update_mask.paths[3]", "update_mask.paths[4]", "task.topic", "task.priority"),
    ),
    Bad(
        "UpdateTask",
        {
            "task": {
                **of(task="pending"),
                "timeout": "0.5s",
                "max_retries": 101,
                "labels": {"": "v"},
                "expire_time": "1999-01-01T00:00:00Z",
                "schedule_time": "2999-01-01T00:00:00Z",
            },
            "update_mask": "timeout,maxRetries,labels,expireTime,scheduleTime",
        },
        fields=("task.timeout", 'task.labels[""]', "task.max_retries", "task.expire_time"),
    ),
    Bad(
        "UpdateTask",
        {"task": {**of(task="pending"), "expire_time": "1999-01-01T00:00:00Z"}, "update_mask": "expireTime"},
        fields=("task.expire_time",),
    ),
    missing("UpdateTask", {"task": {"task_id": NO_TASK}, "update_mask": "tone"}, "task", NO_TASK),
]
