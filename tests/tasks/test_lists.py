"""Lists of tasks by all filters, and the views for people.

All pages together equal a plain query, newest first in lists, oldest first in bulk calls.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scheduler_svc.database.statements import Page
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import AttemptStarted, Change
from scheduler_svc.domain.lifecycle import OPEN, RETRYABLE, RUNNING, Status
from scheduler_svc.domain.task import AttemptProgress, EndPlace, Task, TaskFilter
from scheduler_svc.schema.relations import relations
from scheduler_svc.tasks import submit_checks as new_rows
from scheduler_svc.tasks.query import task_stats
from scheduler_svc.tasks.rows import FoundTasks
from scheduler_svc.tasks.sql import lists as task_lists
from scheduler_svc.transactions import Tx
from tests.harness.cluster import Databases
from tests.harness.scheduling import DEFERRED, FAILURE, RESULT, TIMEOUT, TTL, Scheduling, later, new_task, released
from tests.harness.waiting import PATIENCE_S, wait_until
from tests.leases.test_random_walk import Walk

pytestmark = pytest.mark.integration


PAGE = 7
STEPS = 80
NO_WALKER = "a worker that does not walk"
STATES = [
    frozenset[Status](),
    *(frozenset({status}) for status in Status if status is not Status.NONE),
    frozenset({Status.PENDING, Status.PROCESSING, Status.FAILED}),
    frozenset(Status) - {Status.NONE},
]
FEW_STATES = [STATES[0], frozenset({Status.PENDING}), frozenset({Status.COMPLETED}), *STATES[-2:]]
"""For pages that examine little, and so are many."""
LABELS: list[dict[str, str]] = [{}, {"team": "a"}, {"team": "a", "kind": "x"}, {"team": "nobody"}]


@pytest.fixture(scope="module")
def walked(databases: Databases, template: str) -> Iterator[Scheduling]:
    """Tasks of two accounts in all states, most of them labelled. The tests read them only."""
    with databases.lent(template) as url, closing(Scheduling(url)) as scheduling:
        walk(scheduling)
        yield scheduling
        scheduling.check()


def walk(scheduling: Scheduling) -> None:
    scheduling.end(scheduling.start(auto_retry=False), FAILURE)
    scheduling.end(scheduling.start(auto_retry=False), TIMEOUT)
    scheduling.end(scheduling.start(), RESULT)
    scheduling.cancel(scheduling.submit_one())
    scheduling.submit(new_task(), new_task())
    started, _ = scheduling.claim(2, NO_WALKER)
    scheduling.report(started, AttemptStarted())
    steps = Walk(scheduling, seed=4)
    for _ in range(STEPS):
        steps.step()


def page_of(scheduling: Scheduling, wanted: TaskFilter, behind: int | None = None, **order: bool) -> Page[Task, int]:
    return scheduling.run(lambda tx: tx.task_reads.list(wanted, behind, PAGE, **order))


def batch_of(scheduling: Scheduling, wanted: TaskFilter, after: int = 0) -> FoundTasks:
    return scheduling.run(lambda tx: tx.task_reads.find(wanted, after, PAGE))


def pages(scheduling: Scheduling, wanted: TaskFilter, **order: bool) -> list[int]:
    keys: list[int] = []
    behind: int | None = None
    while (page := page_of(scheduling, wanted, behind, **order)).rows or page.rest:
        assert page.rest is None or len(page.rows) < PAGE
        keys += [task.task_key for task in page.rows]
        behind = page.rest or keys[-1]
    return keys


def ends(scheduling: Scheduling, wanted: TaskFilter, *, first_ended: bool) -> list[EndPlace]:
    places: list[EndPlace] = []
    behind: EndPlace | None = None
    while True:
        page = scheduling.run(partial(ended_page, wanted, behind, first_ended))
        if page == ([], None):
            return places
        assert page.rest is None or len(page.rows) < PAGE
        places += [EndPlace(cast(datetime, task.end_time), task.task_key) for task in page.rows]
        behind = page.rest or places[-1]


def ended_page(wanted: TaskFilter, behind: EndPlace | None, first_ended: bool, tx: Tx) -> Page[Task, EndPlace]:
    return tx.task_reads.list_ended(wanted, behind, PAGE, first_ended=first_ended)


def batches(scheduling: Scheduling, wanted: TaskFilter) -> list[int]:
    keys: list[int] = []
    after: int | None = 0
    while after is not None:
        batch = batch_of(scheduling, wanted, after)
        assert batch.last is None or batch.last > after
        keys, after = keys + batch.keys, batch.last
    return keys


@pytest.mark.parametrize("examined", [1, 5, task_lists.MAX_EXAMINED])
def test_all_pages_together_equal_a_plain_query(
    walked: Scheduling, monkeypatch: pytest.MonkeyPatch, examined: int
) -> None:
    monkeypatch.setattr(task_lists, "MAX_EXAMINED", examined)
    everything = [walked.task(key) for (key,) in walked.sql("SELECT task_key FROM tasks ORDER BY task_key DESC")]
    assert {task.status for task in everything} == set(Status) - {Status.NONE}
    states = STATES if examined > PAGE else FEW_STATES
    for account_id, statuses, labels in itertools.product((0, 1, 2, 9), states, LABELS):
        expected = [
            task.task_key
            for task in everything
            if account_id in (0, task.account_id)
            and (not statuses or task.status in statuses)
            and labels.items() <= task.labels.items()
        ]
        wanted = TaskFilter(Scope.of(account_id), statuses, labels)
        assert pages(walked, wanted) == expected
        assert batches(walked, wanted) == expected[::-1]


@pytest.fixture(scope="module")
def spread(walked: Scheduling) -> list[Task]:
    """All tasks of the walk, created a minute apart, some of them about tea, oldest first."""
    walked.sql(
        "UPDATE tasks AS t SET create_time = create_time + interval '1 min' * (o.n - 10) FROM"
        " (SELECT task_key, row_number() OVER (ORDER BY task_key) AS n FROM tasks) AS o WHERE o.task_key = t.task_key"
    )
    keys = [key for (key,) in walked.sql("SELECT task_key FROM tasks ORDER BY task_key")]
    walked.sql("UPDATE task_payloads SET topic = 'Grüner 绿茶 TEA, 100%' WHERE task_key = ANY(:keys)", keys=keys[::2])
    return list(map(walked.task, keys))


OTHERS: dict[str, Callable[[list[Task]], tuple[TaskFilter, Callable[[Task], bool]]]] = {
    "reasons": lambda _: (
        TaskFilter(error_reasons=("TASK_TIMEOUT", "CANCELLED_BY_CLIENT")),
        lambda task: task.error is not None and task.error.reason in {"TASK_TIMEOUT", "CANCELLED_BY_CLIENT"},
    ),
    "a worker": lambda _: (TaskFilter(worker_id="w"), lambda task: task.worker_id == "w"),
    "what a worker runs": lambda _: (
        TaskFilter(Scope.of(1), RUNNING, worker_id=NO_WALKER),
        lambda task: task.account_id == 1 and task.worker_id == NO_WALKER and task.status in RUNNING,
    ),
    "times": lambda all_: (
        TaskFilter(created_after=all_[2].create_time, created_before=all_[-2].create_time),
        lambda task: all_[2].create_time <= task.create_time < all_[-2].create_time,
    ),
    "a topic in Chinese": lambda _: (TaskFilter(topic="绿茶"), lambda task: "绿茶" in task.brief.topic),
    "a topic in another case": lambda _: (
        TaskFilter(labels={"team": "a"}, topic="tea, 100%"),
        lambda task: task.labels.get("team") == "a" and "TEA" in task.brief.topic,
    ),
    "part of a topic that is no pattern": lambda _: (TaskFilter(topic="1%0"), lambda _: False),
    "retries left": lambda _: (
        TaskFilter(statuses=RETRYABLE, has_retries_left=True),
        lambda task: task.status in RETRYABLE and task.retry_count < task.max_retries,
    ),
    "all of them": lambda all_: (
        TaskFilter(
            Scope((1, 2)),
            OPEN | RETRYABLE,
            error_reasons=("CREATOR_ERROR", "WORKER_LOST", "TASK_TIMEOUT"),
            created_after=all_[0].create_time,
            created_before=all_[-1].create_time,
            topic="te",
        ),
        lambda task: (
            task.account_id in {1, 2}
            and task.status in OPEN | RETRYABLE
            and task.error is not None
            and task.error.reason in {"CREATOR_ERROR", "WORKER_LOST", "TASK_TIMEOUT"}
            and all_[0].create_time <= task.create_time < all_[-1].create_time
            and "TEA" in task.brief.topic
        ),
    ),
}


@pytest.mark.parametrize("examined", [1, 5, task_lists.MAX_EXAMINED])
@pytest.mark.parametrize("what", OTHERS)
def test_conditions_without_an_index_find_the_same(
    walked: Scheduling, spread: list[Task], monkeypatch: pytest.MonkeyPatch, what: str, examined: int
) -> None:
    monkeypatch.setattr(task_lists, "MAX_EXAMINED", examined)
    wanted, matches = OTHERS[what](spread)
    expected = [task.task_key for task in spread if matches(task)]
    assert expected or what.startswith("part"), "some match"
    assert batches(walked, wanted) == expected
    assert pages(walked, wanted) == expected[::-1]


ORDERED: dict[str, TaskFilter] = {
    "all": TaskFilter(),
    "an account's failed ones": TaskFilter(Scope.of(1), frozenset({Status.FAILED, Status.PENDING})),
    "those with a label": TaskFilter(labels={"team": "a"}),
    "those with a topic and a label": TaskFilter(Scope((1, 2)), labels={"team": "a"}, topic="t"),
    "those that are open": TaskFilter(statuses=OPEN),
}


@pytest.mark.parametrize("examined", [1, 5, task_lists.MAX_EXAMINED])
@pytest.mark.parametrize("what", ORDERED)
def test_each_order_lists_the_same_tasks(
    walked: Scheduling, monkeypatch: pytest.MonkeyPatch, what: str, examined: int
) -> None:
    """`examined`: an order of ends sorts all that match, or walks along the ends."""
    monkeypatch.setattr(task_lists, "MAX_EXAMINED", examined)
    wanted = ORDERED[what]
    newest = pages(walked, wanted)
    assert pages(walked, wanted, oldest_first=True) == newest[::-1]
    tasks = walked.run(lambda tx: tx.task_reads.listed(newest))
    ended = sorted((task.end_time, key) for key, task in tasks.items() if task.end_time)
    for first_ended, expected in ((True, ended), (False, ended[::-1])):
        assert ends(walked, wanted, first_ended=first_ended) == expected


def test_tasks_of_a_time_are_found_without_later_and_earlier_ones(
    scheduling: Scheduling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the time in their keys, up to the margin: of 5 that would have to be examined the page reads none."""
    scheduling.submit(*[new_task()] * 5)
    monkeypatch.setattr(task_lists, "MAX_EXAMINED", 1)
    now, hours = datetime.now(UTC), timedelta(hours=2)
    for wanted in (TaskFilter(created_after=now + hours), TaskFilter(created_before=now - hours)):
        assert page_of(scheduling, wanted) == ([], None)
        assert batch_of(scheduling, wanted) == ([], None)


@pytest.mark.parametrize("few", [1, task_lists.MAX_MISDATED])
def test_tasks_of_a_time_are_found_whatever_the_clocks_were_that_made_their_keys(
    scheduling: Scheduling, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """`few`: as many misdated tasks as are looked at for themselves, or fewer."""
    monkeypatch.setattr(task_lists, "MAX_MISDATED", few)
    tasks = []
    for wrong in (timedelta(0), timedelta(hours=5), timedelta(days=-400), timedelta(days=3), timedelta(0)):
        with monkeypatch.context() as patched:
            patched.setattr(new_rows, "time", SimpleNamespace(time=lambda by=wrong: time.time() + by.total_seconds()))
            tasks += scheduling.submit(*[new_task()] * 3)
    minute = timedelta(minutes=1)
    begun, ended = tasks[0].create_time - minute, tasks[-1].create_time + minute
    keys = sorted(task.task_key for task in tasks)
    for wanted in (TaskFilter(created_after=begun, created_before=ended), TaskFilter(created_after=begun)):
        assert batches(scheduling, wanted) == keys
        assert pages(scheduling, wanted) == keys[::-1]
    for wanted in (TaskFilter(created_after=ended), TaskFilter(created_before=begun)):
        assert batches(scheduling, wanted) == pages(scheduling, wanted) == []


def test_a_page_examines_a_bounded_number_of_tasks_and_tells_where_it_stopped(
    scheduling: Scheduling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_lists, "MAX_EXAMINED", 4)
    both, team = {"team": "a", "kind": "x"}, {"team": "a"}
    kind = scheduling.submit(*[new_task(labels={"kind": "x"})] * 6)
    matches = scheduling.submit(new_task(labels=both))
    scheduling.submit(*[new_task(labels=team)] * 6)
    first = page_of(scheduling, TaskFilter(labels=both))
    assert [task.task_key for task in first.rows] == [matches[0].task_key]
    assert first.rest == kind[3].task_key, "it walked by the label that brings it furthest"
    assert page_of(scheduling, TaskFilter(labels=both), first.rest) == ([], None)


def test_a_list_leaves_out_the_requirements_only(scheduling: Scheduling) -> None:
    (task,) = scheduling.submit(new_task(requirements="long", labels={"a": "b"}))
    ((listed,), _) = page_of(scheduling, TaskFilter())
    assert (listed.brief.requirements, listed.labels, listed.task_key) == ("", {"a": "b"}, task.task_key)


@pytest.mark.parametrize("account_id", [0, 1, 2])
def test_stats_equal_a_plain_query(walked: Scheduling, account_id: int) -> None:
    stats = walked.run(task_stats, Scope.of(account_id))
    for status, count in stats.counts.items():
        assert count == len(pages(walked, TaskFilter(Scope.of(account_id), frozenset({status}))))
    ready = "SELECT count(*) FROM ready WHERE :account_id IN (0, account_id)"
    assert stats.queue_depth == walked.sql(ready, account_id=account_id)[0][0]
    assert (stats.oldest_pending_age is None) == (stats.counts[Status.PENDING] == 0)


# The views for people say of tasks what GetTask says, show what stands still, and who holds locks.


def view(scheduling: Scheduling, name: str) -> dict[str, dict[str, Any]]:
    """The rows of a view by their id."""
    rows = [dict(row._mapping) for row in scheduling.sql(f"SELECT * FROM {name}")]
    rows_by_id = {row.get("task_id") or row["id"]: row for row in rows}
    assert len(rows_by_id) == len(rows)
    return rows_by_id


def test_each_view_says_that_it_is_for_people(scheduling: Scheduling) -> None:
    comments = dict(scheduling.sql("SELECT relname, obj_description(oid) FROM pg_class WHERE relname LIKE 'v\\_%'"))
    assert sorted(comments) == sorted(relations().views)
    for comment in comments.values():
        assert comment.startswith("For people; a later version may change or replace it. ")


def test_running_tasks_are_shown_as_get_task_shows_them(scheduling: Scheduling) -> None:
    started, claimed = scheduling.start(topic="tea"), scheduling.claim_of_new(topic="coffee", priority=7)
    scheduling.report(started, AttemptProgress(40, "pictures", "two of five"))
    scheduling.submit_one()
    scheduling.end(scheduling.start(), RESULT)
    rows = view(scheduling, "v_running")
    tasks = [scheduling.task(ref.task_key) for ref in (started, claimed)]
    assert list(rows) == [task.task_id for task in tasks]
    for task in tasks:
        row = rows[task.task_id]
        assert row["lease_expire_time"] > datetime.now(UTC) + timedelta(seconds=TTL / 2)
        assert (row["account_id"], row["account"], row["topic"]) == (1, "one", task.brief.topic)
        assert row["status"] == task.status.label
        for name in ("priority", "attempt", "worker_id", "submit_time", "start_time", "timeout_time", "retry_count"):
            assert row[name] == getattr(task, name), name
        progress = task.progress
        assert (row["percent"], row["step"], row["message"]) == (
            (progress.percent, progress.step, progress.message) if progress else (None, None, None)
        )


def reach_limit(scheduling: Scheduling) -> None:
    scheduling.change_account(1, max_concurrent_tasks=1)
    scheduling.fill(1, 2)
    scheduling.admit()
    assert len(scheduling.claim(2)) == 1


def use_quota(scheduling: Scheduling) -> None:
    scheduling.change_account(1, max_starts_per_minute=2)
    scheduling.fill(1, 3)
    scheduling.admit()
    assert len(scheduling.claim(3)) == 2


def leave_revoked(scheduling: Scheduling) -> LeaseRef:
    """A lease past its timeout is revoked, and the wait of its task is over."""
    ref = scheduling.start(timeout=timedelta(seconds=60))
    scheduling.sql("UPDATE leases SET accept_time = now() - interval '61 s'")
    scheduling.reap()
    scheduling.wait_is_over(ref.task_key)
    scheduling.retry(ref.task_key)
    return ref


def submit_paused(scheduling: Scheduling, account_id: int = 0) -> None:
    scheduling.pause(account_id)
    scheduling.submit_one()


RESUME = "contentgen dispatch resume: dispatch is paused"
WAITS: dict[str, tuple[Callable[[Scheduling], object], str, str]] = {
    "after a failure": (lambda s: s.end(s.start(), FAILURE), "backoff", "the time before its next attempt"),
    "deferred": (lambda s: s.end(s.start(), DEFERRED), "backoff", "the time before its next attempt"),
    "scheduled": (lambda s: s.submit_one(schedule_time=later()), "scheduled", "its schedule time"),
    "limit": (reach_limit, "account_limit", "another task of its account to end: its limit is 1"),
    "quota": (use_quota, "rate_limit", "a minute to pass: its account may start 2 within one"),
    "paused": (lambda s: submit_paused(s, 1), "paused", RESUME),
    "all paused": (submit_paused, "paused", RESUME),
    "no worker": (lambda s: s.submit_one(), "no_workers", "a worker: none is connected"),
    "no slot": (lambda s: (s.hello(), s.submit_one()), "all_slots_busy", "a free slot, or its turn"),
    "revoked": (leave_revoked, "all_slots_busy", "its former attempt, which its worker has not let go of"),
}


@pytest.mark.parametrize("how", WAITS)
def test_a_task_waits_for_what_get_task_says(scheduling: Scheduling, how: str) -> None:
    prepare, reason, words = WAITS[how]
    prepare(scheduling)
    (row,) = view(scheduling, "v_waiting").values()
    (key,) = (key for key, task in scheduling.tasks().items() if task.task_id == row["task_id"])
    task, pending_reason, next_attempt_time = scheduling.explain(key)
    assert next_attempt_time == (row["due_time"] if reason == "backoff" else None)
    assert task.status.label == "pending"
    assert row["pending_reason"] == pending_reason.name.lower() == reason
    assert row["waits_for"] == words
    since = task.create_time if task.attempt == 0 else scheduling.events(key)[-1].event_time
    assert row["since"] == since
    if reason in ("scheduled", "backoff"):
        assert row["due_time"] > row["since"]
    error = task.error
    assert (row["last_error_reason"], row["last_error_message"]) == (
        (error.reason, error.message) if error else (None, None)
    )
    for name in ("account_id", "priority", "attempt", "retry_count", "create_time"):
        assert row[name] == getattr(task, name), name
    assert (row["account"], row["topic"]) == ("one", task.brief.topic)
    assert view(scheduling, "v_stuck") == {}
    if task.attempt == 0 and reason in ("paused", "no_workers", "all_slots_busy"):
        scheduling.age(3_600)
        assert view(scheduling, "v_stuck") == {}, "nothing overtakes it, however long it waits"


def test_failures_are_shown_with_their_reasons_the_latest_first(scheduling: Scheduling) -> None:
    kinds: tuple[Change, ...] = (FAILURE, TIMEOUT, RESULT, released())
    refs = [scheduling.start(auto_retry=False) for _ in kinds]
    for ref, change in zip(refs, kinds, strict=True):
        scheduling.end(ref, change)
    scheduling.cancel(refs[-1].task_key)
    rows = view(scheduling, "v_failures")
    tasks: list[Task] = [scheduling.task(ref.task_key) for ref in refs[1::-1]]
    assert [(task_id, row["status"]) for task_id, row in rows.items()] == [
        (tasks[0].task_id, "timeout"),
        (tasks[1].task_id, "failed"),
    ]
    for task in tasks:
        row, error = rows[task.task_id], task.error
        assert error
        assert (row["error_reason"], row["error_message"]) == (error.reason, error.message)
        assert row["exit_code"] == error.details.get("exit_code")
        for name in ("account_id", "worker_id", "attempt", "retry_count", "create_time", "start_time", "end_time"):
            assert row[name] == getattr(task, name), name


def overtaken(scheduling: Scheduling) -> int:
    """A task that is ready, beside one that has a lease."""
    scheduling.claim_of_new()
    return scheduling.submit_one()


MINUTE = timedelta(minutes=1)
STUCK: dict[str, tuple[Callable[[Scheduling], int], str, str, str | None]] = {
    "lease": (
        lambda s: s.start().task_key,
        "UPDATE leases SET expire_time = now() - interval '61 s'",
        "its lease has expired, and no scheduler has ended it",
        "w",
    ),
    "timeout": (
        lambda s: s.start(timeout=MINUTE).task_key,
        "UPDATE leases SET accept_time = now() - interval '121 s'",
        "it is past its timeout, and no scheduler has ended it",
        "w",
    ),
    "no slot": (
        lambda s: s.claim_of_new(timeout=MINUTE).task_key,
        "UPDATE leases SET claim_time = now() - interval '241 s'",
        "it is past its timeout, and no scheduler has ended it",
        "w",
    ),
    "silent": (
        lambda s: s.start().task_key,
        "UPDATE workers SET heartbeat_time = now() - interval '61 s'",
        "its worker is silent: without a heartbeat its lease expires",
        "w",
    ),
    "revoked": (
        lambda s: leave_revoked(s).task_key,
        "UPDATE task_events SET event_time = event_time - interval '61 s'",
        "its lease is revoked, and its worker has not let go of it",
        "w",
    ),
    "overdue": (
        lambda s: s.submit_one(schedule_time=later()),
        "UPDATE delayed SET due_time = now() - interval '61 s'",
        "its wait is over, and no scheduler has made it ready",
        None,
    ),
    "overtaken": (
        overtaken,
        "UPDATE ready SET ready_time = ready_time - interval '75 s'",
        "later tasks of its account and priority have been started before it",
        None,
    ),
}
"""Makes a task, the time that passes for it, and what is then said of it and its worker."""


@pytest.mark.parametrize("how", STUCK)
def test_a_task_that_should_have_moved_on_is_stuck(scheduling: Scheduling, how: str) -> None:
    make, passes, problem, holder = STUCK[how]
    key = make(scheduling)
    scheduling.sql(passes)
    (row,) = view(scheduling, "v_stuck").values()
    assert (row["kind"], row["id"], row["account_id"]) == ("task", scheduling.task(key).task_id, 1)
    assert (row["problem"], row["holder"]) == (problem, holder)
    assert row["attempt"] == (1 if holder else 0)
    ((age,),) = scheduling.sql("SELECT now() - CAST(:since AS timestamptz)", since=row["since"])
    assert timedelta(seconds=60) < age < timedelta(seconds=90)


def test_a_delivery_that_is_not_tried_is_stuck_and_not_those_behind_it(scheduling: Scheduling) -> None:
    hook = scheduling.hook(1)
    scheduling.end(scheduling.start(auto_approve=False), RESULT)
    assert view(scheduling, "v_stuck") == {}
    scheduling.sql("UPDATE webhook_deliveries SET next_attempt_time = now() - interval '61 s'")
    first, _ = scheduling.sql("SELECT delivery_id FROM webhook_deliveries ORDER BY delivery_id")
    (row,) = view(scheduling, "v_stuck").values()
    assert (row["kind"], row["id"], row["account_id"]) == ("delivery", str(first.delivery_id), 1)
    assert row["problem"] == "it is due, and no scheduler has tried it"
    scheduling.sql("UPDATE webhooks SET active = false WHERE webhook_id = :hook", hook=hook)
    assert view(scheduling, "v_stuck") == {}


def test_an_expired_claim_of_a_publisher_is_stuck(scheduling: Scheduling) -> None:
    scheduling.end(scheduling.start(), RESULT)
    assert view(scheduling, "v_stuck") == {}
    claimed = "UPDATE publish_pool SET status = 2, claim_id = 'c', publisher = 'p', claim_expire_time = now()"
    scheduling.sql(claimed)
    assert view(scheduling, "v_stuck") == {}
    scheduling.sql(f"{claimed} - interval '61 s'")
    ((content_id,),) = scheduling.sql("SELECT content_id FROM contents")
    (row,) = view(scheduling, "v_stuck").values()
    assert (row["kind"], row["id"], row["holder"]) == ("content", str(content_id), "p")
    assert row["problem"] == "its publisher has not reported, and its claim has expired"


def test_holders_of_locks_are_shown_with_those_that_wait_for_them(scheduling: Scheduling) -> None:
    key = scheduling.submit_one()
    holding = f"SELECT FROM tasks WHERE task_key = {key} FOR UPDATE"
    waiting = f"SELECT FROM tasks WHERE task_key = {key} FOR SHARE"
    assert scheduling.sql("SELECT * FROM v_locks") == []
    with scheduling.engine.connect() as holder, scheduling.engine.connect() as waiter:
        pids = [connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() for connection in (holder, waiter)]
        holder.exec_driver_sql(f"BEGIN; {holding}")
        with ThreadPoolExecutor(1) as other:
            ended = other.submit(waiter.exec_driver_sql, waiting)
            wait_until(lambda: scheduling.sql("SELECT FROM v_locks"), within=PATIENCE_S, what="one waits")
            (lock,) = scheduling.sql("SELECT * FROM v_locks")
            holder.exec_driver_sql("ROLLBACK")
            ended.result(PATIENCE_S)
    assert [lock.holder_pid, lock.waiting_pid] == pids
    assert (lock.holder_query, lock.waiting_query) == (f"BEGIN; {holding}", waiting)
    assert (lock.holder_state, lock.locked) == ("idle in transaction", "tasks")
    assert lock.holder_application == lock.waiting_application == "contentgen"
    assert timedelta(0) < lock.waiting_for < lock.held_for


def test_a_lock_that_is_held_for_long_is_shown_though_nobody_waits(scheduling: Scheduling) -> None:
    holding = "BEGIN; LOCK TABLE pauses IN ROW EXCLUSIVE MODE"
    with scheduling.engine.connect() as holder:
        holder.exec_driver_sql(holding)
        assert scheduling.sql("SELECT * FROM v_locks") == []
        wait_until(lambda: scheduling.sql("SELECT FROM v_locks"), within=PATIENCE_S, what="it is held for 5 s")
        (lock,) = scheduling.sql("SELECT * FROM v_locks")
        holder.exec_driver_sql("ROLLBACK")
    assert (lock.holder_query, lock.locked, lock.waiting_pid) == (holding, "pauses", None)
    assert lock.held_for > timedelta(seconds=5)
