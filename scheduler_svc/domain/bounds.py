"""The bounds of a task's numbers, for submits and imports; those that the operator sets; what counts in the queue.

`brief` has the lengths of its texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scheduler_svc.config import Settings

MIN_PRIORITY = 1
MAX_PRIORITY = 10
MAX_RETRIES = 100
MAX_MULTIPLIER = 100
"""How many times longer each wait before a retry may be than the one before."""


@dataclass(frozen=True, slots=True)
class SubmitBounds:
    """What submits are held to by the settings, which have the same names."""

    max_queue_size: int

    @classmethod
    def of(cls, settings: Settings) -> SubmitBounds:
        return cls(max_queue_size=settings.max_queue_size)


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
