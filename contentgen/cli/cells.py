"""Values as a person reads them: local times, ages, percentages, and texts that can do a terminal no harm.

Layer: inside operators.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from contentgen.cli.styles import STYLES

WAITS_FOR = {
    "backoff": "the time before its next attempt (`contentgen task retry` takes the wait away)",
    "scheduled": "its schedule time",
    "account_limit": "another task of its account to end: as many run as the account may have at once",
    "rate_limit": "a minute to pass: as many attempts have started within it as its account may start",
    "paused": "`contentgen dispatch resume`: dispatch is paused",
    "no_workers": "a worker: none is connected",
    "all_slots_busy": "a free slot: no worker offers one",
}
"""By pending reason."""

_CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], " ")
_BIDI = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], "")
_LINE = str.maketrans(_CONTROLS | _BIDI)
_LINES = str.maketrans({code: to for code, to in (_CONTROLS | _BIDI).items() if code not in {0x09, 0x0A}})

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def line(text: object) -> str:
    """On one line, without characters that would steer the terminal."""
    return " ".join(str(text).translate(_LINE).split()) if text is not None else ""


def lines(text: str) -> str:
    """The same, with its line breaks and tabs."""
    return text.translate(_LINES)


def state(name: str | None) -> Text:
    """A state in its colour."""
    return Text(name or "", STYLES.get(name or "", ""))


def number(value: float | None) -> str:
    """`1,234`; a fraction as it is."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def local_time(iso: str | None) -> str:
    """`2026-11-25 15:04:05` in the zone of this machine."""
    return f"{_local(iso):%Y-%m-%d %H:%M:%S}" if iso else ""


def clock_time(iso: str) -> str:
    """`15:04:05` in the zone of this machine."""
    return f"{_local(iso):%H:%M:%S}"


def _local(iso: str) -> datetime:
    return datetime.fromisoformat(iso).astimezone()


def age(iso: str | None, now: datetime | None = None) -> str:
    """How long ago that is, in whole seconds, as `duration` has it."""
    return duration(round(seconds_since(iso, now))) if iso else ""


def seconds_since(iso: str, now: datetime | None = None) -> float:
    """0 where the clocks differ, and it lies ahead."""
    return max(((now or datetime.now(UTC)) - datetime.fromisoformat(iso)).total_seconds(), 0.0)


def duration(seconds: float | None) -> str:
    """The two largest units that say something: `3 d 4 h`, `5 min 2 s`, `0.4 s`."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{round(seconds, 1):g} s"
    whole = round(seconds)
    for unit, name, lesser, lesser_name in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if whole >= unit:
            rest = whole % unit // lesser
            return f"{whole // unit} {name}" + (f" {rest} {lesser_name}" if rest else "")
    return f"{whole} s"


def brief_age(iso: str | None, now: datetime | None = None) -> str:
    """The same by its largest unit: `5 min`."""
    return brief(seconds_since(iso, now)) if iso else ""


def brief(seconds: float) -> str:
    """The largest unit that says something: `3 d`, `5 min`, `42 s`."""
    whole = round(seconds)
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if whole >= unit:
            return f"{whole // unit} {name}"
    return f"{whole} s"


def state_and_progress(task: dict[str, Any]) -> Text:
    """A task's state, with its percentage where its CLI says one."""
    said = task["progress"]
    cell = state(task["status"])
    return cell.append(f" {said['percent']} %") if said and task["status"] == "processing" else cell


def progress(task: dict[str, Any]) -> str:
    """`40 % draft`; empty where the CLI has said nothing."""
    said = task["progress"]
    return line(f"{said['percent']} % {said['step'] or ''}").rstrip() if said else ""


def error(task: dict[str, Any]) -> str:
    """The reason and the message of the last attempt's error; empty where there is none."""
    said = task["error"]
    return line(": ".join(part for part in (said["reason"], said["message"]) if part)) if said else ""
