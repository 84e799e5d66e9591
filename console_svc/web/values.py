"""Numbers and times that people type, into a form or the address of a page, and the time zone that they mean.

The zone is the browser's own, which its script tells by a cookie. Layer: the bottom of `web`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.requests import Request

MAX_DIGITS = 18
"""More than that is beyond the ids of the schedulers, and takes long to read."""
MAX_NUMBER = 10**MAX_DIGITS - 1
MAX_COUNT = 2**31 - 1
"""The largest of the numbers that are no ids."""


def whole(text: str, least: int, limit: int) -> int:
    """Reads a whole number in digits. Raises ValueError for other text, and for what is smaller or larger."""
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS and least <= int(text) <= limit):
        raise ValueError(text[:MAX_DIGITS])
    return int(text)


def number_of(text: str) -> int | None:
    """Reads an id, such as an account's; None for an empty text. Raises ValueError for what is no number from 1 on."""
    return whole(text, 1, MAX_NUMBER) if text else None


def ids_of(texts: Iterable[str]) -> list[int]:
    return [int(text) for text in texts if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS]


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """Reads what each `key=value` says; empty ones say nothing. Raises ValueError for other text."""
    values = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if key.strip() and equals:
            values[key.strip()] = value.strip()
        elif text.strip():
            raise ValueError(text)
    return values


class _Id(IntegerConvertor):
    regex = f"[0-9]{{1,{MAX_DIGITS}}}"


def bound_ids_of_paths() -> None:
    """Has `{name:int}` of a route match ids only from now on: other numbers lead to no page."""
    register_url_convertor("int", _Id())


FIRST_YEAR, LAST_YEAR = 1971, 9998
"""Beyond them are no times of the schedulers, and in another zone it may be a time that there is none of."""
_SHEET = re.compile(r"(\d{4})[/.](\d{1,2})[/.](\d{1,2})(?:[ T]+(\d{1,2}):(\d{2})(?::(\d{2}))?)?", re.ASCII)
"""As spreadsheets write it: `2026/1/31 9:05`."""
_LENGTH = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?(ms|s|min|m|h|d)?", re.ASCII | re.IGNORECASE)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}


def moment(text: str, here: tzinfo) -> datetime:
    """Reads a time with its zone; `here` where it names none. Raises ValueError for other text and distant years."""
    if parts := _SHEET.fullmatch(text.strip()):
        time = datetime(*(int(part or 0) for part in parts.groups()), tzinfo=here)  # type: ignore[arg-type,misc]
    else:
        time = datetime.fromisoformat(text.strip())
    _bound(time)
    return time if time.tzinfo else time.replace(tzinfo=here)


def day(text: str) -> date:
    """Reads a day such as `2026-01-31`. Raises ValueError for other text, and for distant years."""
    parsed = date.fromisoformat(text)
    _bound(parsed)
    return parsed


def _bound(day: date) -> None:
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ValueError(day)


def seconds(text: str) -> float:
    """Reads a length such as `90`, `90s`, `2m`, `1h` or `7d`. Raises ValueError for other text."""
    parts = _LENGTH.fullmatch(text.strip())
    if parts is None:
        raise ValueError(text)
    return float(parts[1]) * _UNITS[(parts[2] or "s").lower()]


ZONE_COOKIE = "zone"
UTC_ZONE = ZoneInfo("UTC")


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Returns the zones that this machine knows, without those that differ from machine to machine."""
    return frozenset(available_timezones() - {"localtime", "Factory"})


def zone_of(request: Request) -> ZoneInfo:
    """Returns the browser's zone; UTC if the browser names none that is known."""
    return zone_named(request.cookies.get(ZONE_COOKIE, "")) or UTC_ZONE


def zone_named(name: str) -> ZoneInfo | None:
    return ZoneInfo(name) if name in zone_names() else None


def in_zone(text: str, zone: ZoneInfo) -> datetime:
    """Returns an ISO 8601 time as clocks of a zone show it."""
    return datetime.fromisoformat(text).astimezone(zone)


def start_of(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone)


def end_of(day: date, zone: ZoneInfo) -> datetime:
    """Returns when the day after it begins. The last day of the calendar ends with its last second."""
    return start_of(day + timedelta(days=1), zone) if day < date.max else datetime.max.replace(tzinfo=zone)
