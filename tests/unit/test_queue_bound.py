"""Which pending tasks count against the bound of the queue."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from scheduler_svc.domain.bounds import counts_in_queue, day_of, first_uncounted_day

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule_time", "counted"),
    [
        (None, True),
        (NOW - timedelta(days=900), True),
        (NOW + timedelta(hours=24), True),
        (datetime(2026, 3, 2, 23, 59, 59, 999999, UTC), True),
        (datetime(2026, 3, 3, tzinfo=UTC), False),
        (datetime(2026, 3, 3, 1, tzinfo=timezone(timedelta(hours=2))), True),
        (datetime(9999, 12, 31, tzinfo=UTC), False),
    ],
)
def test_tasks_scheduled_for_later_than_tomorrow_do_not_count(schedule_time: datetime | None, counted: bool) -> None:
    assert counts_in_queue(schedule_time, NOW) is counted


def test_days_are_counted_in_utc() -> None:
    assert (day_of(datetime(1970, 1, 1, 23, tzinfo=UTC)), day_of(datetime(1970, 1, 2, tzinfo=UTC))) == (0, 1)
    assert first_uncounted_day(NOW) == day_of(NOW) + 2
