"""Rollups: the buckets of durations, their quantiles, and hours and days."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.rollup import COST, SUBMITTED, Resolution, bucket, point

pytestmark = pytest.mark.unit

TIME = datetime(2026, 1, 31, 8, tzinfo=UTC)


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=50))
def test_quantiles_are_right_within_5_percent(durations: list[float]) -> None:
    numbers: dict[int, float] = {}
    for seconds in durations:
        numbers[bucket(seconds)] = numbers.get(bucket(seconds), 0) + 1
    history_point = point(TIME, numbers)
    ordered = sorted(durations)
    for share, quantile in ((0.5, history_point.duration_p50), (0.95, history_point.duration_p95)):
        assert quantile is not None
        true = ordered[math.ceil(share * len(ordered)) - 1]
        assert quantile.total_seconds() == pytest.approx(true, rel=0.048, abs=1e-6)


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 1e-12, 1e300])
def test_any_duration_has_a_bucket_that_the_database_can_hold(seconds: float) -> None:
    assert 0 < bucket(seconds) < 1 << 15
    assert point(TIME, {bucket(seconds): 1}).duration_p50 is not None


def test_a_point_has_all_end_states_and_no_durations_without_completions() -> None:
    assert point(TIME, {}) == (TIME, 0, dict.fromkeys(list(Status)[4:], 0), None, None, 0.0)
    history_point = point(TIME, {SUBMITTED: 3, Status.FAILED: 2, COST: 0.25})
    assert (history_point.submitted, history_point.counts[Status.FAILED], history_point.cost) == (3, 2, 0.25)


def test_days_are_those_of_utc() -> None:
    time = datetime(2026, 2, 1, 5, 30, 7, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    assert Resolution.HOUR.floor(time) == datetime(2026, 1, 31, 23, tzinfo=UTC)
    assert Resolution.DAY.floor(time) == datetime(2026, 1, 31, tzinfo=UTC)
