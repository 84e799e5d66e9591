"""Times and lengths of time as people type them.

Layer: the bottom of console_svc.
"""

from __future__ import annotations

import re
from datetime import date, datetime, tzinfo

FIRST_YEAR, LAST_YEAR = 1971, 9998
"""Beyond them are no times of the schedulers, and in another zone it may be a time that there is none of."""
_SHEET = re.compile(r"(\d{4})[/.](\d{1,2})[/.](\d{1,2})(?:[ T]+(\d{1,2}):(\d{2})(?::(\d{2}))?)?", re.ASCII)
"""As spreadsheets write it: `2026/1/31 9:05`."""
_LENGTH = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?(ms|s|min|m|h|d)?", re.ASCII | re.IGNORECASE)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}


def moment(text: str, here: tzinfo) -> datetime:
    """A time with its zone; `here` where it names none. Raises ValueError for other text, and for distant years."""
    if parts := _SHEET.fullmatch(text.strip()):
        time = datetime(*(int(part or 0) for part in parts.groups()), tzinfo=here)  # type: ignore[arg-type,misc]
    else:
        time = datetime.fromisoformat(text.strip())
    _bound(time)
    return time if time.tzinfo else time.replace(tzinfo=here)


def day(text: str) -> date:
    """A day such as `2026-01-31`. Raises ValueError for other text, and for distant years."""
    parsed = date.fromisoformat(text)
    _bound(parsed)
    return parsed


def _bound(day: date) -> None:
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ValueError(day)


def seconds(text: str) -> float:
    """A length such as `90`, `90s`, `2m`, `1h` or `7d`. Raises ValueError for other text."""
    parts = _LENGTH.fullmatch(text.strip())
    if parts is None:
        raise ValueError(text)
    return float(parts[1]) * _UNITS[(parts[2] or "s").lower()]
