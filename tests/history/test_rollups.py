"""Rollups of tasks by hour and day, on a real database."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise

import pytest

from scheduler_svc.domain.account import ALL, Scope
from scheduler_svc.domain.content import TaskResult
from scheduler_svc.domain.errors import NotFound
from scheduler_svc.domain.lease import AttemptAccepted, AttemptCompleted, AttemptStarted
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.rollup import HistoryPoint, Resolution
from scheduler_svc.history.work import fold_rollups
from scheduler_svc.retention.work import old_rollups
from scheduler_svc.tasks import query
from tests.harness.scheduling import FAILURE, RESULT, Scheduling

pytestmark = pytest.mark.integration


def history(
    scheduling: Scheduling, scope: Scope = ALL, resolution: Resolution = Resolution.HOUR, *, points: int = 1
) -> list[HistoryPoint]:
    """The last hours or days, by the database's clock."""
    now = scheduling.run(lambda tx: tx.now)
    start = resolution.floor(now) - (points - 1) * resolution.length
    history_points = scheduling.run(
        lambda tx: query.task_history(tx, scope, resolution, start, now + timedelta(seconds=1))
    )
    return list(history_points)[:points]


def ended(point: HistoryPoint) -> Mapping[Status, int]:
    return {status: n for status, n in point.counts.items() if n}


def test_submits_and_ends_count_in_their_hour_and_day_folded_or_not(scheduling: Scheduling) -> None:
    for cost in (0.25, 0.5, -9.0):
        scheduling.end(scheduling.start(), AttemptCompleted(TaskResult("a body", usage={"cost": cost})))
    scheduling.end(scheduling.start(), RESULT)
    scheduling.end(scheduling.start(auto_retry=False), FAILURE)
    scheduling.cancel(scheduling.submit_one())
    scheduling.submit_one()
    expected = {Status.COMPLETED: 4, Status.FAILED: 1, Status.CANCELLED: 1}
    for _ in range(2):
        for resolution in Resolution:
            (point,) = history(scheduling, resolution=resolution)
            assert (point.submitted, ended(point), point.cost) == (7, expected, 0.75)
        assert not scheduling.run(fold_rollups), "no more than one batch"
    assert scheduling.sql("SELECT count(*) FROM rollup_deltas") == [(0,)]


def test_a_failure_that_is_retried_is_no_end(scheduling: Scheduling) -> None:
    ref = scheduling.start(max_retries=1)
    scheduling.end(ref, FAILURE)
    assert ended(*history(scheduling)) == {}
    scheduling.wait_is_over(ref.task_key)
    (again,) = scheduling.claim()
    scheduling.report(again, AttemptAccepted(), AttemptStarted(), FAILURE)
    assert ended(*history(scheduling)) == {Status.FAILED: 1}
    scheduling.retry(ref.task_key, reset=True)
    assert ended(*history(scheduling)) == {Status.FAILED: 1}, "what was counted stays"
    scheduling.cancel(ref.task_key)
    assert ended(*history(scheduling)) == {Status.FAILED: 1, Status.CANCELLED: 1}


def test_durations_are_those_of_the_attempts_that_completed(scheduling: Scheduling) -> None:
    for seconds in (10, 20, 300):
        ref = scheduling.start()
        scheduling.sql(
            "UPDATE leases SET start_time = start_time - make_interval(secs => :seconds) WHERE task_key = :key",
            seconds=seconds,
            key=ref.task_key,
        )
        scheduling.end(ref, RESULT)
    (point,) = history(scheduling)
    assert point.duration_p50
    assert point.duration_p95
    assert point.duration_p50.total_seconds() == pytest.approx(20, rel=0.06)
    assert point.duration_p95.total_seconds() == pytest.approx(300, rel=0.06)


def test_accounts_are_apart_and_added_up(scheduling: Scheduling) -> None:
    second, third = scheduling.make_account(), scheduling.make_account()
    for account_id, count in ((1, 1), (second, 2), (third, 4)):
        scheduling.fill(account_id, count)
    for _ in range(2):
        submitted = [
            history(scheduling, scope)[0].submitted for scope in (Scope.of(second), Scope((1, second)), Scope(()), ALL)
        ]
        assert submitted == [2, 3, 0, 7]
        scheduling.run(fold_rollups)


def test_each_hour_has_a_point(scheduling: Scheduling) -> None:
    scheduling.submit_one()
    scheduling.run(fold_rollups)
    scheduling.sql("UPDATE task_rollups SET time = time - interval '2 h' WHERE resolution = 1")
    scheduling.submit_one()
    points = history(scheduling, points=4)
    assert [point.submitted for point in points] == [0, 1, 0, 1]
    assert {later.time - earlier.time for earlier, later in pairwise(points)} == {timedelta(hours=1)}


def test_an_account_that_does_not_exist_has_no_history(scheduling: Scheduling) -> None:
    with pytest.raises(NotFound):
        history(scheduling, Scope.of(99))


def test_one_of_several_replicas_folds(scheduling: Scheduling) -> None:
    scheduling.submit_one()
    with scheduling.transaction() as other:
        assert other.rollups.fold(100) > 0
        assert scheduling.run(lambda tx: tx.rollups.fold(100)) == 0
        assert history(scheduling)[0].submitted == 1, "nothing is counted twice, or is missing, meanwhile"
    assert history(scheduling)[0].submitted == 1


@pytest.mark.parametrize(("resolution", "days"), [(Resolution.HOUR, 40), (Resolution.DAY, 400)])
def test_old_rollups_are_deleted(scheduling: Scheduling, resolution: Resolution, days: int) -> None:
    scheduling.sql(
        "INSERT INTO task_rollups SELECT 1, :resolution, now() - make_interval(days => age), 1, 1"
        " FROM unnest(CAST(:ages AS integer[])) AS age",
        resolution=resolution.value,
        ages=[days - 1, days + 1, days + 2],
    )
    for kept in Resolution:
        scheduling.run(old_rollups(kept), None)
    left = scheduling.sql("DELETE FROM task_rollups RETURNING extract(day FROM now() - time)::integer")
    assert left == [(days - 1,)]
