"""Times and lengths of time as people type them.

Layer: the bottom of console_svc.
"""

from __future__ import annotations

import re
from datetime import datetime, tzinfo

_SHEET = re.compile(r"(\d{4})[/.](\d{1,2})[/.](\d{1,2})(?:[ T]+(\d{1,2}):(\d{2})(?::(\d{2}))?)?", re.ASCII)
"""As spreadsheets write it: `2026/1/31 9:05`."""
_LENGTH = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?(ms|s|min|m|h|d)?", re.ASCII | re.IGNORECASE)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}


def moment(text: str, here: tzinfo) -> datetime:
    """A time with its zone; `here` where it names none. Raises ValueError for other text."""
    if found := _SHEET.fullmatch(text.strip()):
        return datetime(*(int(part or 0) for part in found.groups()), tzinfo=here)  # type: ignore[arg-type,misc]
    made = datetime.fromisoformat(text.strip())
    return made if made.tzinfo else made.replace(tzinfo=here)


def seconds(text: str) -> float:
    """A length such as `90`, `90s`, `2m`, `1h` or `7d`. Raises ValueError for other text."""
    found = _LENGTH.fullmatch(text.strip())
    if found is None:
        raise ValueError(text)
    return float(found[1]) * _UNITS[(found[2] or "s").lower()]
