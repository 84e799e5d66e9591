"""Schedules: the ticks of a cron line in a time zone, which of them are due and run, and which comes next.

A cron line is about local times, so its ticks are found among those and then placed in time. A local time that does not
exist is the first one after it that does; one that comes twice is its first occurrence. So later local times are never
earlier ticks.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from functools import lru_cache
from itertools import islice, takewhile
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from scheduler_svc.domain.ids import format_task_id

MAX_CRON = 200
"""Characters of a cron line."""
_FIELDS = 5
_CHARACTERS = re.compile(r"[0-9A-Za-z*,/# \t-]+")
_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)


class BadCron(ValueError):
    """The text is no cron line. The message completes "cron …"."""


class UnknownZone(ValueError):
    """This machine knows no time zone of that name."""


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Returns the zones that this machine knows, without those that differ from machine to machine."""
    return frozenset(available_timezones() - {"localtime", "Factory"})


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron line of five fields in a zone. Raises BadCron, UnknownZone."""

    line: str
    zone: str

    def __post_init__(self) -> None:
        check_line(self.line)
        if self.zone not in zone_names():
            raise UnknownZone(self.zone)

    def after(self, time: datetime) -> Iterator[datetime]:
        """Yields the ticks after a time, in order and in UTC; they end where the next 50 years have none."""
        tz = _zone(self.zone)
        latest = time
        for local in _matches(self.line, _local(time, tz)):
            tick = _placed(local, tz)
            if tick > latest:
                yield tick
                latest = tick

    def before(self, time: datetime) -> Iterator[datetime]:
        """Yields the ticks up to a time, that included, latest first."""
        tz = _zone(self.zone)
        earliest = time + _SECOND
        for local in _matches(self.line, _latest_local(time, tz) + _MINUTE, reverse=True):
            tick = _placed(local, tz)
            if tick <= time and tick < earliest:
                yield tick
                earliest = tick

    def between(self, first: datetime, last: datetime) -> Iterator[datetime]:
        """Returns the ticks from `first` to `last`, both included, latest first."""
        return takewhile(lambda tick: tick >= first, self.before(last))


@lru_cache(maxsize=1_000)
def check_line(line: str) -> None:
    """Raises BadCron if it is no cron line, or one that never comes."""
    if len(line) > MAX_CRON:
        raise BadCron(f"must have at most {MAX_CRON} characters, has {len(line):,}")
    if not _CHARACTERS.fullmatch(line) or len(line.split()) != _FIELDS:
        raise BadCron("must have five fields: minute, hour, day of month, month, day of week, such as 0 9 * * MON-FRI")
    try:
        first = next(CronSim(line, datetime(2000, 1, 1)), None)  # noqa: DTZ001 - a local time
    except CronSimError as error:
        raise BadCron(f"must be a cron line of five fields, such as 0 9 * * MON-FRI: {str(error).lower()}") from None
    if first is None:
        raise BadCron("must come some day: no date is like that")


def _matches(line: str, start: datetime, *, reverse: bool = False) -> Iterator[datetime]:
    """Yields the local times that a line names, from a local time on, which is excluded."""
    try:
        yield from CronSim(line, start, reverse)
    except OverflowError:  # the end of the calendar
        return


@lru_cache(maxsize=1_000)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except ZoneInfoNotFoundError:
        raise UnknownZone(name) from None


def _local(time: datetime, tz: ZoneInfo) -> datetime:
    return time.astimezone(tz).replace(tzinfo=None)


def _latest_local(time: datetime, tz: ZoneInfo) -> datetime:
    """Returns the latest that clocks have shown up to that time: before they went back it was later than now."""
    local = time.astimezone(tz)
    first, now = local.replace(fold=0).utcoffset(), local.utcoffset()
    assert first is not None
    assert now is not None
    return local.replace(tzinfo=None, fold=0) + (first - now)


def _placed(local: datetime, tz: ZoneInfo) -> datetime:
    """Returns when clocks first show a local time; one that they skip is when they skip it."""
    aware = local.replace(tzinfo=tz)
    tick = aware.astimezone(UTC)
    if _local(tick, tz) == local:
        return tick
    return _change(aware.replace(fold=1).astimezone(UTC), tick, tz)


def _change(low: datetime, high: datetime, tz: ZoneInfo) -> datetime:
    """Returns when the zone's offset changes between two times, to the second."""
    after = high.astimezone(tz).utcoffset()
    while high - low > _SECOND:
        middle = (low + (high - low) / 2).replace(microsecond=0)
        if middle.astimezone(tz).utcoffset() == after:
            high = middle
        else:
            low = middle
    return high


# Schedules, and what becomes of their ticks.


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
        """Returns the first tick after a time, or None if there is none."""
        tick = next(self.cron.after(after), None)
        return None if tick is None else Due(tick, self.due_time(tick))

    def due_time(self, tick: datetime) -> datetime:
        """Returns the tick and its delay: the same each time, and less than to the next tick."""
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
        """Returns the next ticks, five at most. Raises UnknownZone."""
        if self.next is None:
            return []
        return [self.next.tick, *islice(self.timing.cron.after(self.next.tick), SHOWN_RUNS - 1)]
