"""The time zone in which a page shows days, and takes times: the browser's own, which its script tells by a cookie."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from starlette.requests import Request

COOKIE = "zone"
UTC_ZONE = ZoneInfo("UTC")


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """The zones that this machine knows, without those that differ from machine to machine."""
    return frozenset(available_timezones() - {"localtime", "Factory"})


def zone_of(request: Request) -> ZoneInfo:
    """Returns the browser's zone; UTC if the browser names none that is known."""
    return zone_named(request.cookies.get(COOKIE, "")) or UTC_ZONE


def zone_named(name: str) -> ZoneInfo | None:
    return ZoneInfo(name) if name in zone_names() else None


def in_zone(text: str, zone: ZoneInfo) -> datetime:
    """Returns an ISO 8601 time as clocks of a zone show it."""
    return datetime.fromisoformat(text).astimezone(zone)


def start_of(day: date, zone: ZoneInfo) -> datetime:
    """Returns when a day begins in a zone."""
    return datetime(day.year, day.month, day.day, tzinfo=zone)


def end_of(day: date, zone: ZoneInfo) -> datetime:
    """Returns when the day after it begins. The last day of the calendar ends with its last second."""
    return start_of(day + timedelta(days=1), zone) if day < date.max else datetime.max.replace(tzinfo=zone)
