"""The demand for workers, from counts, pauses, limits and quotas."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from scheduler_svc.domain.demand import Load, total_demand
from scheduler_svc.domain.start_quota import StartQuota, Starts

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def quota(limit: int, *starts: tuple[int, int]) -> StartQuota:
    """`starts`: so many seconds ago, so many."""
    return StartQuota(limit, NOW, starts=[Starts(NOW - timedelta(seconds=ago), count) for ago, count in starts])


@pytest.mark.parametrize(
    ("load", "may_start"),
    [
        (Load(5, 2), 5),
        (Load(5, 2, paused=True), 0),
        (Load(5, 2, limit=4), 2),
        (Load(1, 2, limit=4), 1),
        (Load(5, 6, limit=4), 0),
        (Load(5, 0, quota=quota(3)), 3),
        (Load(5, 0, quota=quota(3, (61, 3), (59, 1))), 2),
        (Load(5, 0, quota=quota(3, (30, 7))), 0),
        (Load(5, 3, limit=4, quota=quota(3)), 1),
        (Load(-1, 0), 0),
    ],
)
def test_what_may_start_is_bounded_by_all_that_bars_it(load: Load, may_start: int) -> None:
    assert load.may_start == may_start
    assert load.demand == may_start + load.leased


def test_of_all_only_what_may_start_counts() -> None:
    barred = [Load(4, 1, limit=2), Load(10, 2, paused=True)]
    assert total_demand(Load(20, 5), barred) == 5 + 1 + 0 + 6
    assert total_demand(Load(20, 5), []) == 25


def test_a_pause_of_everything_leaves_what_runs() -> None:
    assert total_demand(Load(20, 5, paused=True), [Load(4, 1, limit=2)]) == 5


def test_counts_that_are_off_for_a_moment_are_never_less_than_nothing() -> None:
    assert total_demand(Load(2, -1), [Load(4, 0, paused=True)]) == 0
