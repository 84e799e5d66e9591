"""Rollups: what happened to an account's tasks in an hour or a day, as numbers by kind that can be added up.

Durations are counted in buckets, each of which ends 10 % above the one before. A quantile is the middle of its bucket,
so it is right within 5 %, whatever hours and accounts were added up.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import NamedTuple

from scheduler_svc.domain.lifecycle import ENDED, Status

SUBMITTED = int(Status.PENDING)
"""The kind of tasks that were submitted. Tasks that ended have the number of their state."""
COST = 100
"""The kind of what contents have cost."""
_GROWTH = 1.1
_MIDDLE = 2 * _GROWTH / (1 + _GROWTH)
_BUCKET_0 = 1_000
"""The kind of durations of 1 s, and the bucket below it."""
_LOWEST, _HIGHEST = -100, 200
"""Buckets: 70 µs and six years."""
_ENDS = [_GROWTH**n for n in range(_LOWEST, _HIGHEST)]
"""Where buckets end, in seconds; the highest has no end."""


class Resolution(IntEnum):
    """The numbers are the contract's."""

    HOUR = 1
    DAY = 2

    @property
    def length(self) -> timedelta:
        return timedelta(hours=1) if self is Resolution.HOUR else timedelta(days=1)

    def floor(self, time: datetime) -> datetime:
        """Returns the start of its hour or day, in UTC."""
        hour = time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        return hour if self is Resolution.HOUR else hour.replace(hour=0)


class HistoryPoint(NamedTuple):
    """One hour or day. The durations are None if no task completed."""

    time: datetime
    submitted: int
    counts: Mapping[Status, int]
    duration_p50: timedelta | None
    duration_p95: timedelta | None
    cost: float


def bucket(seconds: float) -> int:
    return _BUCKET_0 + _LOWEST + bisect_left(_ENDS, seconds)


def point(time: datetime, numbers: Mapping[int, float]) -> HistoryPoint:
    durations = sorted((kind, n) for kind, n in numbers.items() if kind >= _BUCKET_0 + _LOWEST)
    return HistoryPoint(
        time,
        int(numbers.get(SUBMITTED, 0)),
        {status: int(numbers.get(status, 0)) for status in sorted(ENDED)},
        _quantile(durations, 0.5),
        _quantile(durations, 0.95),
        numbers.get(COST, 0.0),
    )


def _quantile(durations: Iterable[tuple[int, float]], share: float) -> timedelta | None:
    durations = list(durations)
    rank = math.ceil(share * sum(n for _, n in durations))
    seen = 0.0
    for kind, n in durations:
        seen += n
        if seen >= rank:
            return timedelta(seconds=_GROWTH ** (kind - _BUCKET_0 - 1) * _MIDDLE)
    return None
