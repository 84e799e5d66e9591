"""Schedules as pages show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from console_svc.schedules.words import in_words
from console_svc.web.zones import UTC_ZONE, in_zone, zone_named
from contentgen import Schedule


@dataclass(frozen=True, slots=True)
class Shown:
    """A schedule, its cron line in words, and its next runs by the clocks of its zone."""

    schedule: Schedule
    words: str
    next_runs: Sequence[datetime]


def shown(schedule: Schedule, language: str) -> Shown:
    return Shown(
        schedule, in_words(schedule["cron"], language), local_times(schedule["next_runs_at"], schedule["time_zone"])
    )


def local_times(times: Sequence[str], zone: str) -> Sequence[datetime]:
    """In a zone that the schedulers know; in UTC if this machine does not."""
    return [in_zone(text, zone_named(zone) or UTC_ZONE) for text in times]
