"""Values as a person reads them: lengths of time, and texts on one line. Layer: the bottom of doctor."""

from __future__ import annotations

from datetime import UTC, datetime

_CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], " ")
_BIDI = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], "")
_LINE = str.maketrans(_CONTROLS | _BIDI)
_LINES = str.maketrans({code: to for code, to in (_CONTROLS | _BIDI).items() if code not in {0x09, 0x0A}})

UNITS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))
"""Seconds and names of the units above a second, each with the next smaller one; the largest first."""


def line(text: object) -> str:
    """Returns the text on one line, without control characters for the terminal. Returns an empty text for None."""
    return " ".join(str(text).translate(_LINE).split()) if text is not None else ""


def lines(text: str) -> str:
    """Returns the text without control characters for the terminal, but with its line breaks and tabs."""
    return text.translate(_LINES)


def seconds_since(iso: str, now: datetime | None = None) -> float:
    """Returns the seconds since a time. Returns 0 if it lies ahead, because the clocks differ."""
    return max(((now or datetime.now(UTC)) - datetime.fromisoformat(iso)).total_seconds(), 0.0)


def age(iso: str | None, now: datetime | None = None) -> str:
    """Returns how long ago a time is, in whole seconds, as `duration` writes it. Returns an empty text for None."""
    return duration(round(seconds_since(iso, now))) if iso else ""


def duration(seconds: float | None) -> str:
    """Returns a time in its two largest units that are not zero: `3 d 4 h`, `5 min 2 s`, `0.4 s`."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{round(seconds, 1):g} s"
    rounded = round(seconds)
    for unit, name, lesser, lesser_name in UNITS:
        if rounded >= unit:
            rest = rounded % unit // lesser
            return f"{rounded // unit} {name}" + (f" {rest} {lesser_name}" if rest else "")
    return f"{rounded} s"
