"""An account's quota of attempts started within any minute.

A start takes a seat, which comes free a minute later. So neither an idle hour nor the edge of a clock's minute lets
more attempts start, as an evenly refilled bucket would: full at first, it allows twice the quota within its first
minute. All times are the database's. If its clock is set back, seats come free up to a minute later; if it is set
ahead, earlier by as much, once.

Only admission gives tags to such an account. So a task that has lost its tag since the last count, and was not removed
without a claim, has started. No claim counts anything: until the next count, a start keeps the seat of its tag.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

MINUTE = timedelta(minutes=1)


class Starts(NamedTuple):
    """A number of attempts, all of which started at `time` or earlier."""

    time: datetime
    number: int


@dataclass(frozen=True, slots=True)
class StartQuota:
    """An account's quota as of `now`, and what is used of it.

    `admitted`: how many tasks had a tag when starts were last counted, less those untagged since without a claim.
    `starts`: counted starts, oldest first; those of one second are one entry.
    """

    limit: int
    now: datetime
    admitted: int = 0
    starts: Sequence[Starts] = ()

    def counted(self, tagged: int) -> StartQuota:
        """Returns the quota with the starts since the last count, and without those older than a minute.

        `tagged`: how many tasks still have their tags.
        """
        now = self.now
        starts = [Starts(min(start.time, now), start.number) for start in self.starts if start.time > now - MINUTE]
        if started := max(0, self.admitted - tagged):
            if starts and _second(starts[-1].time) == _second(now):
                started += starts.pop().number
            starts.append(Starts(now, started))
        return replace(self, starts=starts)

    @property
    def seats(self) -> int:
        """How many tasks may have a tag now."""
        return max(0, self.limit - sum(start.number for start in self.starts))

    @property
    def next_seat(self) -> float | None:
        """Seconds until a seat comes free; None if all are free."""
        return (self.starts[0].time + MINUTE - self.now).total_seconds() if self.starts else None


def _second(time: datetime) -> datetime:
    return time.replace(microsecond=0)
