"""Tasks by all filters: all pages together equal a plain query, newest first in lists, oldest first in bulk calls."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.lease import AttemptStarted
from scheduler_svc.domain.lifecycle import OPEN, RETRYABLE, RUNNING, Status
from scheduler_svc.domain.task import Task
from scheduler_svc.domain.task_filter import TaskFilter
from scheduler_svc.tasks import submit_checks as new_rows
from scheduler_svc.tasks.query import find_tasks, list_tasks, task_stats
from scheduler_svc.tasks.sql import lists as task_lists
from tests.harness.cluster import Databases
from tests.harness.scheduling import FAILURE, RESULT, TIMEOUT, Scheduling, new_task
from tests.integration.random_walk import Walk

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


def pages(scheduling: Scheduling, wanted: TaskFilter) -> list[int]:
    keys: list[int] = []
    before: int | None = None
    while (page := scheduling.run(list_tasks, wanted, before, PAGE)).tasks or page.rest:
        assert page.rest is None or len(page.tasks) < PAGE
        keys += [task.task_key for task in page.tasks]
        before = page.rest or keys[-1]
    return keys


def batches(scheduling: Scheduling, wanted: TaskFilter) -> list[int]:
    keys: list[int] = []
    after: int | None = 0
    while after is not None:
        batch = scheduling.run(find_tasks, wanted, after, PAGE)
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


CREATED = timedelta(minutes=1)
"""Between the tasks of `spread`."""


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


def test_tasks_of_a_time_are_found_without_later_and_earlier_ones(
    scheduling: Scheduling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the time in their keys, up to the margin: of 5 that would have to be examined the page reads none."""
    scheduling.submit(*[new_task()] * 5)
    monkeypatch.setattr(task_lists, "MAX_EXAMINED", 1)
    hour = timedelta(hours=1)
    later, earlier = (datetime.now(UTC) + by for by in (2 * hour, -2 * hour))
    for wanted in (TaskFilter(created_after=later), TaskFilter(created_before=earlier)):
        assert scheduling.run(list_tasks, wanted, None, PAGE) == ([], None)
        assert scheduling.run(find_tasks, wanted, 0, PAGE) == ([], None)


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
    first = scheduling.run(list_tasks, TaskFilter(labels=both), None, PAGE)
    assert [task.task_key for task in first.tasks] == [matches[0].task_key]
    assert first.rest == kind[3].task_key, "it walked by the label that brings it furthest"
    assert scheduling.run(list_tasks, TaskFilter(labels=both), first.rest, PAGE) == ([], None)


def test_a_list_leaves_out_the_requirements_only(scheduling: Scheduling) -> None:
    (task,) = scheduling.submit(new_task(requirements="long", labels={"a": "b"}))
    ((listed,), _) = scheduling.run(list_tasks, TaskFilter(), None, PAGE)
    assert (listed.brief.requirements, listed.labels, listed.task_key) == ("", {"a": "b"}, task.task_key)


@pytest.mark.parametrize("account_id", [0, 1, 2])
def test_stats_equal_a_plain_query(walked: Scheduling, account_id: int) -> None:
    stats = walked.run(task_stats, Scope.of(account_id))
    for status, count in stats.counts.items():
        assert count == len(pages(walked, TaskFilter(Scope.of(account_id), frozenset({status}))))
    ready = "SELECT count(*) FROM ready WHERE :account_id IN (0, account_id)"
    assert stats.queue_depth == walked.sql(ready, account_id=account_id)[0][0]
    assert (stats.oldest_pending_age is None) == (stats.counts[Status.PENDING] == 0)
