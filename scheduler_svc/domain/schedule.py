"""Schedules: when the ticks of one are due, which of them run, and which comes next."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from itertools import islice
from typing import NamedTuple

from scheduler_svc.domain.cron import Cron
from scheduler_svc.domain.ids import format_task_id

MAX_SCHEDULES = 1_000
"""Of an account."""
MAX_CATCH_UP = 100
"""Ticks that CATCH_UP_ALL runs at once, the latest ones."""
MISSED_AFTER = timedelta(seconds=10)
"""A tick that is due for longer was missed. The loop that runs them looks more often."""
NO_JITTER = timedelta(0)
MAX_JITTER = timedelta(days=1)
DEFAULT_ZONE = "UTC"
SHOWN_RUNS = 5
"""The ticks of `next_run_times`."""


class CatchUp(IntEnum):
    """What becomes of missed ticks. The numbers are the contract's."""

    SKIP = 1
    ONE = 2
    ALL = 3


class Overlap(IntEnum):
    """What a tick does while the last task is open. The numbers are the contract's."""

    ALLOW = 1
    SKIP = 2


class Due(NamedTuple):
    """The next tick of a schedule, and when it is due: its delay after the tick."""

    tick: datetime
    time: datetime


@dataclass(frozen=True, slots=True)
class Timing:
    """When the ticks of one schedule are due. `salt` makes its delays differ from those of others."""

    cron: Cron
    jitter: timedelta = NO_JITTER
    salt: int = 0

    def first_due(self, after: datetime) -> Due | None:
        """The first tick after a time. Returns None if there is none."""
        tick = next(self.cron.after(after), None)
        return None if tick is None else Due(tick, self.due_time(tick))

    def due_time(self, tick: datetime) -> datetime:
        """The tick and its delay: the same each time, and less than to the next tick."""
        if not self.jitter:
            return tick
        following = next(self.cron.after(tick), None)
        longest = self.jitter if following is None else min(self.jitter, following - tick)
        return tick + longest * self._fraction(tick)

    def _fraction(self, tick: datetime) -> float:
        """Returns a number from 0 to below 1."""
        digest = hashlib.blake2b(f"{self.salt} {tick.isoformat()}".encode(), digest_size=6).digest()
        return int.from_bytes(digest) / (1 << 48)


class Plan(NamedTuple):
    """The ticks that run now, oldest first, and what comes after them (None: nothing)."""

    ticks: Sequence[datetime]
    following: Due | None


def plan(timing: Timing, catch_up: CatchUp, tick: datetime, now: datetime) -> Plan:
    """Decides about the ticks from `tick` to `now`."""
    latest = list(islice(timing.cron.between(tick, now), MAX_CATCH_UP + 1))[::-1]
    due = [Due(due_tick, timing.due_time(due_tick)) for due_tick in latest]
    waits = due.pop() if due and due[-1].time > now else None  # only the latest may: each is due before the next tick
    missed = [entry.tick for entry in due if now - entry.time > MISSED_AFTER]
    on_time = [entry.tick for entry in due[len(missed) :]]
    following = waits or timing.first_due(now)
    return Plan(_chosen(catch_up, missed, on_time), following)


def _chosen(catch_up: CatchUp, missed: list[datetime], on_time: list[datetime]) -> list[datetime]:
    match catch_up:
        case CatchUp.SKIP:
            return on_time
        case CatchUp.ONE:
            return on_time or missed[-1:]
        case CatchUp.ALL:
            return (missed + on_time)[-MAX_CATCH_UP:]


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """What a client decides about a schedule. `template` is the submit as the API stores it."""

    name: str
    cron: str
    time_zone: str
    template: bytes
    catch_up: CatchUp
    overlap: Overlap
    jitter: timedelta
    paused: bool

    def timing(self, schedule_id: int) -> Timing:
        """Raises UnknownZone if this machine does not know the time zone."""
        return Timing(Cron(self.cron, self.time_zone), self.jitter, schedule_id)


@dataclass(frozen=True, slots=True)
class ScheduleChange:
    """New values of a schedule's settings; None leaves one unchanged."""

    name: str | None = None
    cron: str | None = None
    time_zone: str | None = None
    template: bytes | None = None
    catch_up: CatchUp | None = None
    overlap: Overlap | None = None
    jitter: timedelta | None = None
    paused: bool | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule. `next` is None while it is paused, and if no tick follows."""

    schedule_id: int
    account_id: int
    settings: ScheduleSettings
    next: Due | None
    create_time: datetime
    last_run_time: datetime | None
    last_task_key: int | None
    last_error: str

    @property
    def timing(self) -> Timing:
        return self.settings.timing(self.schedule_id)

    @property
    def last_task_id(self) -> str:
        return "" if self.last_task_key is None else format_task_id(self.last_task_key)

    def next_ticks(self) -> list[datetime]:
        """The next ticks, five at most. Raises UnknownZone."""
        if self.next is None:
            return []
        return [self.next.tick, *islice(self.timing.cron.after(self.next.tick), SHOWN_RUNS - 1)]
