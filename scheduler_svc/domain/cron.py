"""The ticks of a cron line in a time zone.

A cron line is about local times, so its ticks are found among those and then placed in time. A local time that does not
exist is the first one after it that does; one that comes twice is its first occurrence. So later local times are never
earlier ticks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

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
    """The zones that this machine knows, without those that differ from machine to machine."""
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
        """The ticks after a time, in order and in UTC; they end where the next 50 years have none."""
        tz = _zone(self.zone)
        latest = time
        for local in _matches(self.line, _local(time, tz)):
            tick = _placed(local, tz)
            if tick > latest:
                yield tick
                latest = tick

    def before(self, time: datetime) -> Iterator[datetime]:
        """The ticks up to a time, that included, latest first."""
        tz = _zone(self.zone)
        earliest = time + _SECOND
        for local in _matches(self.line, _latest_local(time, tz) + _MINUTE, reverse=True):
            tick = _placed(local, tz)
            if tick <= time and tick < earliest:
                yield tick
                earliest = tick

    def between(self, first: datetime, last: datetime) -> Iterator[datetime]:
        """The ticks from `first` to `last`, both included, latest first."""
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
    """The local times that a line names, from a local time on, which is excluded."""
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
    """Returns what clocks show at that time."""
    return time.astimezone(tz).replace(tzinfo=None)


def _latest_local(time: datetime, tz: ZoneInfo) -> datetime:
    """The latest that clocks have shown up to that time: before they went back it was later than now."""
    shown = time.astimezone(tz)
    first, now = shown.replace(fold=0).utcoffset(), shown.utcoffset()
    assert first is not None
    assert now is not None
    return shown.replace(tzinfo=None, fold=0) + (first - now)


def _placed(local: datetime, tz: ZoneInfo) -> datetime:
    """When clocks first show a local time; one that they skip is when they skip it."""
    aware = local.replace(tzinfo=tz)
    tick = aware.astimezone(UTC)
    if _local(tick, tz) == local:
        return tick
    return _change(aware.replace(fold=1).astimezone(UTC), tick, tz)


def _change(low: datetime, high: datetime, tz: ZoneInfo) -> datetime:
    """When the zone's offset changes between two times, to the second."""
    after = high.astimezone(tz).utcoffset()
    while high - low > _SECOND:
        middle = (low + (high - low) / 2).replace(microsecond=0)
        if middle.astimezone(tz).utcoffset() == after:
            high = middle
        else:
            low = middle
    return high
