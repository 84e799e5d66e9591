"""Values as a person reads them: states in colours, local times, ages, and texts that can do a terminal no harm."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich.text import Text

from contentgen.doctor import readable

STYLES = {
    "pending": "dim",
    "submitted": "cyan",
    "processing": "yellow",
    "completed": "green",
    "failed": "red",
    "timeout": "red",
    "cancelled": "magenta",
    "pending_review": "yellow",
    "approved": "green",
    "rejected": "red",
    "publishing": "yellow",
    "published": "green",
}


line, lines, duration = readable.line, readable.lines, readable.duration
"""Shared with what finds what is wrong; all that a cell is made of is here."""


def state(name: str | None) -> Text:
    return Text(name or "", STYLES.get(name or "", ""))


def number(value: float | None) -> str:
    """Formats an integer as `1,234`, and a fraction without trailing zeros; None is empty."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def local_time(iso: str | None) -> str:
    """Formats a time in the zone of this machine, as `2026-11-25 15:04:05`."""
    return f"{_local(iso):%Y-%m-%d %H:%M:%S}" if iso else ""


def clock_time(iso: str) -> str:
    """Formats a time of day in the zone of this machine, as `15:04:05`."""
    return f"{_local(iso):%H:%M:%S}"


def _local(iso: str) -> datetime:
    return datetime.fromisoformat(iso).astimezone()


def brief_age(iso: str | None) -> str:
    """Returns how long ago a time was in its largest unit, as `3 d`, `5 min` or `42 s`; empty for None."""
    if not iso:
        return ""
    whole_seconds = round(readable.seconds_since(iso))
    for unit, name, _, _ in readable.UNITS:
        if whole_seconds >= unit:
            return f"{whole_seconds // unit} {name}"
    return f"{whole_seconds} s"


def state_and_progress(task: dict[str, Any]) -> Text:
    """Returns a task's state, with its percentage where its CLI says one."""
    report = task["progress"]
    cell = state(task["status"])
    return cell.append(f" {report['percent']} %") if report and task["status"] == "processing" else cell


def progress(task: dict[str, Any]) -> str:
    """Returns such as `40 % draft  half of it`; empty where the CLI has said nothing."""
    if not (report := task["progress"]):
        return ""
    step = line(f"{report['percent']} % {report['step'] or ''}")
    return f"{step}  {line(report['message'])}".rstrip()


def error(task: dict[str, Any]) -> str:
    """Returns the reason and the message of the last attempt's error; empty where there is none."""
    failure = task["error"]
    return line(": ".join(part for part in (failure["reason"], failure["message"]) if part)) if failure else ""
