"""How many more attempts an account may start now, where at most so many may start within any minute.

A start takes a seat, and the seat comes back a minute later. So neither an idle hour nor the edge of a clock's minute
lets in more than the quota, as a bucket that refills evenly would: full at first, it lets in twice as much within its
first minute. All is judged by the database's clock. If that is set back, seats come back later by a minute at most; if
it is set ahead, earlier by as much, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

MINUTE = timedelta(minutes=1)


class Starts(NamedTuple):
    """So many attempts, none of which started later than `time`."""

    time: datetime
    number: int


@dataclass(frozen=True, slots=True)
class StartQuota:
    """An account's quota as of `now`, and what it has used of it.

    `let_in`: how many of its tasks had a tag when its starts were last counted, less those that were taken out without
    being claimed since. `starts`: what was counted, oldest first; those of one second stand together.
    """

    limit: int
    now: datetime
    let_in: int = 0
    starts: Sequence[Starts] = ()

    def counted(self, tagged: int) -> StartQuota:
        """With what has started since, where `tagged` tasks still have their tags, and without what is a minute old."""
        now = self.now
        starts = [Starts(min(it.time, now), it.number) for it in self.starts if it.time > now - MINUTE]
        if started := max(0, self.let_in - tagged):
            if starts and _second(starts[-1].time) == _second(now):
                started += starts.pop().number
            starts.append(Starts(now, started))
        return replace(self, starts=starts)

    @property
    def seats(self) -> int:
        """How many tasks may have a tag now."""
        return max(0, self.limit - sum(it.number for it in self.starts))

    @property
    def next_seat(self) -> float | None:
        """Seconds until a seat comes back; None where all are there."""
        return (self.starts[0].time + MINUTE - self.now).total_seconds() if self.starts else None


def _second(time: datetime) -> datetime:
    return time.replace(microsecond=0)
