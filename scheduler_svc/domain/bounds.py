"""The bounds of a task's numbers, for submits and imports, and which tasks count against the queue's bound.

`brief` has the lengths of its texts.
"""

from __future__ import annotations

from datetime import UTC, datetime

MIN_PRIORITY = 1
MAX_PRIORITY = 10
MAX_RETRIES = 100
MAX_MULTIPLIER = 100
"""How many times longer each wait before a retry may be than the one before."""

_FIRST_DAY = datetime(1970, 1, 1, tzinfo=UTC)


def day_of(time: datetime) -> int:
    """Returns the day in UTC, counted from 1970-01-01.

    The number of tasks scheduled for a day is kept as a count, so tasks begin to count without any row being moved.
    """
    return (time - _FIRST_DAY).days


def first_uncounted_day(now: datetime) -> int:
    """Returns the day after tomorrow: tasks scheduled from then on don't count against the queue's bound.

    If they did, one account's plans for next year could keep all others from submitting.
    """
    return day_of(now) + 2


def counts_in_queue(schedule_time: datetime | None, now: datetime) -> bool:
    """Returns whether a task submitted with this schedule counts against the queue's bound."""
    return schedule_time is None or day_of(schedule_time) < first_uncounted_day(now)
