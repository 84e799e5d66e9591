"""Entries of the publish pool by day, and the months and weeks that a calendar shows."""

from __future__ import annotations

import re
from calendar import Calendar
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from console_svc.web.values import FIRST_YEAR, LAST_YEAR, in_zone
from contentgen import PublishPoolEntry

_MONTH = re.compile(r"(\d{4})-(\d\d)", re.ASCII)
_WEEK = re.compile(r"(\d{4})-W(\d\d)", re.ASCII)
_WHOLE_WEEK = timedelta(days=7)
_REST = timedelta(days=4)
"""From the 28th of a month it leads into the next one."""


class Row(NamedTuple):
    """An entry. `local`: its time by the reader's clock, None if it has none."""

    entry: PublishPoolEntry
    local: datetime | None
    waits_until: str | None
    """Before then nobody may claim it. None: it is due, or does not wait to be claimed."""

    @property
    def exact(self) -> str:
        """Its time by the reader's clock, such as `2031-01-31T12:00:00`; empty if it has none."""
        return self.local.replace(tzinfo=None).isoformat() if self.local else ""

    @property
    def due(self) -> bool:
        return self.entry["status"] == "pending" and self.waits_until is None


def row_of(entry: PublishPoolEntry, zone: ZoneInfo) -> Row:
    now = datetime.now(UTC)
    times = [datetime.fromisoformat(text) for text in (entry["scheduled_at"], entry["next_attempt_at"]) if text]
    end = max((time for time in times if time > now), default=None) if entry["status"] == "pending" else None
    local = in_zone(entry["scheduled_at"], zone) if entry["scheduled_at"] else None
    return Row(entry, local, end.isoformat() if end else None)


def by_day(entries: Sequence[PublishPoolEntry], zone: ZoneInfo) -> Mapping[date, Sequence[Row]]:
    """Groups the entries with a time by day, sorted by time; those of one time stay in the order of claims."""
    timed_rows = [(row.local, row) for row in (row_of(entry, zone) for entry in entries) if row.local]
    days: defaultdict[date, list[Row]] = defaultdict(list)
    for local, row in sorted(timed_rows, key=lambda pair: pair[0]):
        days[local.date()].append(row)
    return days


class Period(NamedTuple):
    """A month or a week. `weeks` has its days, from Monday on; those of a month begin and end with whole weeks."""

    kind: Literal["month", "week"]
    start: date
    weeks: Sequence[Sequence[date]]

    @property
    def name(self) -> str:
        """The name in the address, such as `2026-11` or `2026-W48`."""
        return _name(self.kind, self.start)

    @property
    def before(self) -> str:
        return _name(self.kind, self.start - timedelta(days=1))

    @property
    def after(self) -> str:
        return _name(self.kind, self.start + _WHOLE_WEEK if self.kind == "week" else self.start.replace(day=28) + _REST)

    @property
    def first(self) -> date:
        return self.weeks[0][0]

    @property
    def last(self) -> date:
        return self.weeks[-1][-1]


def span_of(typed: Mapping[str, str], today: date) -> Period:
    """Returns the period that `month` or `week` names; the present month if neither names one."""
    with suppress(ValueError):
        if week := _WEEK.fullmatch(typed.get("week", "")):
            return _week(date.fromisocalendar(int(week[1]), int(week[2]), 1))
        if month := _MONTH.fullmatch(typed.get("month", "")):
            return _month(date(int(month[1]), int(month[2]), 1))
    return _month(today)


def week_of(day: date) -> str:
    return _name("week", day)


def _name(kind: Literal["month", "week"], day: date) -> str:
    if kind == "month":
        return f"{day:%Y-%m}"
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02}"


def _month(day: date) -> Period:
    start = _possible(day).replace(day=1)
    return Period("month", start, Calendar().monthdatescalendar(start.year, start.month))


def _week(monday: date) -> Period:
    monday = _possible(monday)
    monday -= timedelta(days=monday.weekday())
    return Period("week", monday, [[monday + timedelta(days=number) for number in range(7)]])


def _possible(day: date) -> date:
    return min(max(day, date(FIRST_YEAR, 1, 1)), date(LAST_YEAR, 12, 31))
