"""Entries of the publish pool as pages show them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from console_svc.web.zones import in_zone
from contentgen import PublishPoolEntry


@dataclass(frozen=True, slots=True)
class Shown:
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


def shown(entry: PublishPoolEntry, zone: ZoneInfo) -> Shown:
    now = datetime.now(UTC)
    times = [datetime.fromisoformat(text) for text in (entry["scheduled_at"], entry["next_attempt_at"]) if text]
    ahead = max((time for time in times if time > now), default=None) if entry["status"] == "pending" else None
    local = in_zone(entry["scheduled_at"], zone) if entry["scheduled_at"] else None
    return Shown(entry, local, ahead.isoformat() if ahead else None)


def by_day(entries: Sequence[PublishPoolEntry], zone: ZoneInfo) -> Mapping[date, Sequence[Shown]]:
    """Those with a time, by day: by time, and of one time in the order of claims."""
    timed = [(it.local, it) for it in (shown(entry, zone) for entry in entries) if it.local]
    days: defaultdict[date, list[Shown]] = defaultdict(list)
    for local, it in sorted(timed, key=lambda pair: pair[0]):
        days[local.date()].append(it)
    return days
