"""Which pending tasks count against the bound of the queue: all but those that are scheduled for later than tomorrow.

By days of UTC, counted from 1970-01-01: how many tasks are scheduled for a day is a count like others, so what does not
count yet is a sum of few, and begins to count without anything being moved.
"""

from __future__ import annotations

from datetime import UTC, datetime

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)


def day_of(time: datetime) -> int:
    """The day of a time."""
    return (time - _FIRST).days


def first_day_beyond(now: datetime) -> int:
    """The first day that does not count yet: the one after tomorrow."""
    return day_of(now) + 2


def counts(schedule_time: datetime | None, now: datetime) -> bool:
    """Whether a task that is submitted with this schedule counts already."""
    return schedule_time is None or day_of(schedule_time) < first_day_beyond(now)
