"""ListTasks with all filters: its pages together equal a plain query, newest first."""

from __future__ import annotations

import itertools

import pytest

from scheduler_svc.application.tasks.query import TaskFilter, list_tasks, task_stats
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.lease import AttemptStarted
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.store.tasks import task_lists
from tests.harness.scheduling import FAILURE, RESULT, TIMEOUT, Scheduling, new_task
from tests.integration.random_walk import Walk

PAGE = 7
STEPS = 80
STATES = [
    frozenset[Status](),
    *(frozenset({status}) for status in Status if status is not Status.NONE),
    frozenset({Status.PENDING, Status.PROCESSING, Status.FAILED}),
    frozenset(Status) - {Status.NONE},
]
LABELS: list[dict[str, str]] = [{}, {"team": "a"}, {"team": "a", "kind": "x"}, {"team": "nobody"}]


@pytest.fixture
def walked(scheduling: Scheduling) -> Scheduling:
    """Tasks of two accounts in all states, most of them labelled."""
    scheduling.end(scheduling.start(auto_retry=False), FAILURE)
    scheduling.end(scheduling.start(auto_retry=False), TIMEOUT)
    scheduling.end(scheduling.start(), RESULT)
    scheduling.cancel(scheduling.submit_one())
    scheduling.submit(new_task(), new_task())
    started, _ = scheduling.claim(2, "a worker that does not walk")
    scheduling.report(started, AttemptStarted())
    walk = Walk(scheduling, seed=4)
    for _ in range(STEPS):
        walk.step()
    return scheduling


def pages(scheduling: Scheduling, wanted: TaskFilter) -> list[int]:
    keys: list[int] = []
    before: int | None = None
    while (page := scheduling.run(list_tasks, wanted, before, PAGE)).tasks or page.rest:
        assert page.rest is None or len(page.tasks) < PAGE
        keys += [task.task_key for task in page.tasks]
        before = page.rest or keys[-1]
    return keys


@pytest.mark.parametrize("examined", [1, 5, task_lists.MAX_EXAMINED])
def test_all_pages_together_equal_a_plain_query(
    walked: Scheduling, monkeypatch: pytest.MonkeyPatch, examined: int
) -> None:
    monkeypatch.setattr(task_lists, "MAX_EXAMINED", examined)
    everything = [walked.task(key) for (key,) in walked.sql("SELECT task_key FROM tasks ORDER BY task_key DESC")]
    assert {task.status for task in everything} == set(Status) - {Status.NONE}
    for account_id, statuses, labels in itertools.product((0, 1, 2, 9), STATES, LABELS):
        expected = [
            task.task_key
            for task in everything
            if account_id in (0, task.account_id)
            and (not statuses or task.status in statuses)
            and labels.items() <= task.labels.items()
        ]
        assert pages(walked, TaskFilter(Scope.of(account_id), statuses, labels)) == expected


def test_a_page_examines_a_bounded_number_of_tasks_and_tells_where_it_stopped(
    scheduling: Scheduling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_lists, "MAX_EXAMINED", 4)
    both, team = {"team": "a", "kind": "x"}, {"team": "a"}
    kind = scheduling.submit(*[new_task(labels={"kind": "x"})] * 6)
    found = scheduling.submit(new_task(labels=both))
    scheduling.submit(*[new_task(labels=team)] * 6)
    first = scheduling.run(list_tasks, TaskFilter(labels=both), None, PAGE)
    assert [task.task_key for task in first.tasks] == [found[0].task_key]
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
