"""How many attempts an account may start now, by what it has started within the last minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from scheduler_svc.domain.start_quota import MINUTE, StartQuota, Starts

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def quota(most: int, now: float, admitted: int = 0, *starts: tuple[float, int]) -> StartQuota:
    return StartQuota(most, at(now), admitted, [Starts(at(time), number) for time, number in starts])


def test_a_quota_without_starts_has_all_seats() -> None:
    fresh = quota(5, 0).counted(0)
    assert (fresh.seats, fresh.next_seat) == (5, None)


def test_a_task_that_lost_its_tag_counts_as_started() -> None:
    counted = quota(5, 10, 3).counted(1)
    assert counted.starts == [Starts(at(10), 2)]
    assert (counted.seats, counted.next_seat) == (3, 60)


def test_a_seat_comes_back_after_a_minute() -> None:
    counted = quota(2, 70, 0, (10, 1), (10.5, 1)).counted(0)
    assert (counted.seats, counted.next_seat) == (1, 0.5)


def test_the_starts_of_a_second_stand_together_with_the_latest_time() -> None:
    counted = quota(9, 10.7, 2, (9.9, 1), (10.1, 1)).counted(0)
    assert counted.starts == [Starts(at(9.9), 1), Starts(at(10.7), 3)]


def test_more_tags_than_seats_are_no_starts() -> None:
    """A replica of a version that knows no quota has given them."""
    assert quota(5, 0, 1).counted(4).seats == 5


def test_a_smaller_quota_leaves_no_seat() -> None:
    assert quota(2, 1, 0, (0, 5)).counted(0).seats == 0


def test_a_clock_that_is_set_back_keeps_a_seat_for_a_minute_at_most() -> None:
    counted = quota(1, -3600, 0, (0, 1)).counted(0)
    assert (counted.seats, counted.next_seat) == (0, 60)


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 20)), max_size=60), st.integers(1, 30))
def test_never_more_than_the_quota_within_a_minute(steps: list[tuple[float, int]], most: int) -> None:
    """Each step admits what it may, and so many of those are claimed until the next one."""
    state, now, started = quota(most, 0), 0.0, []
    for wait, claims in steps:
        now += wait
        before = state.admitted
        tagged = max(0, before - claims)
        started += [now] * (before - tagged)
        counted = StartQuota(most, at(now), before, state.starts).counted(tagged)
        assert len(counted.starts) <= MINUTE.total_seconds() + 1
        state = StartQuota(most, at(now), max(tagged, counted.seats), counted.starts)
        assert sum(time > now - MINUTE.total_seconds() for time in started) <= most
