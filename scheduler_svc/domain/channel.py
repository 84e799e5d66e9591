"""Channels, by which people get messages, their quiet hours, and what is held for a message."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from scheduler_svc.domain.account import ALL, Scope
from scheduler_svc.domain.schedule import zone_names

MAX_CHANNELS = 100
MAX_DIGEST = timedelta(days=1)
MIN_TASK_DIGEST = timedelta(minutes=1)
"""How long the ends of tasks are gathered at least."""
MAX_HELD = 50_000
"""Events of a channel that are held, or some more; then they are gathered before their time."""
NAMED_EVENTS = 5
"""Of one kind and cause: those that a message names."""
LANGUAGES = ("en", "zh_CN")
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d) (\S+)", re.ASCII)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class NewChannel:
    """What a caller sets. `account_ids` empty: those of all accounts."""

    url: str
    description: str
    event_types: tuple[str, ...]
    account_ids: tuple[int, ...]
    quiet_hours: str
    digest: timedelta
    language: str


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel, without its address; `destination` is what can be shown of it."""

    channel_id: int
    destination: str
    description: str
    event_types: tuple[str, ...]
    account_ids: tuple[int, ...]
    quiet_hours: str
    digest: timedelta
    language: str
    active: bool
    last_error: str
    create_time: datetime

    def is_within(self, scope: Scope) -> bool:
        """Returns whether all of its events are within: a channel of all accounts is only for those who reach all."""
        return scope == ALL or (bool(self.account_ids) and all(account_id in scope for account_id in self.account_ids))


class QuietHours(NamedTuple):
    """A time of each day; begin and end are distances from midnight by the clocks of the zone."""

    begin: timedelta
    end: timedelta
    zone: str

    @classmethod
    def read(cls, text: str) -> QuietHours | None:
        """Reads `22:00-08:00 Asia/Shanghai`. Returns None if it is none."""
        match = _HOURS.fullmatch(text)
        if match is None or match[5] not in zone_names():
            return None
        hours = [timedelta(hours=int(match[i]), minutes=int(match[i + 1])) for i in (1, 3)]
        return cls(hours[0], hours[1], match[5]) if hours[0] != hours[1] else None

    def end_after(self, now: datetime) -> datetime | None:
        """Returns when they end, if it is quiet at that time."""
        local = now.astimezone(ZoneInfo(self.zone))
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        clock = local.replace(tzinfo=None) - midnight.replace(tzinfo=None)
        if self.begin < self.end:
            return midnight + self.end if self.begin <= clock < self.end else None
        if clock < self.end:
            return midnight + self.end
        return midnight + _DAY + self.end if clock >= self.begin else None


class Held(NamedTuple):
    """What waits for the next message of a channel. `first_due`: of the event that is due first.

    `full`: so much waits that it is gathered at once.
    """

    channel_id: int
    active: bool
    quiet_hours: str
    digest: timedelta
    language: str
    first_type: str
    first_due: datetime
    now: datetime
    full: bool

    @property
    def quiet_until(self) -> datetime | None:
        hours = QuietHours.read(self.quiet_hours)
        return hours and hours.end_after(self.now)

    @property
    def window(self) -> timedelta:
        """What comes due within it goes with the first event: what came later, and was to be gathered as long."""
        if self.full or not self.active:
            return MAX_DIGEST
        return max(self.digest, MIN_TASK_DIGEST) if self.first_type.startswith("task.") else self.digest


class EventGroup(NamedTuple):
    """Events of one kind and cause; `first` has the data of some."""

    event_type: str
    cause: str
    number: int
    first: list[dict[str, object]]


def content_ids(groups: Collection[EventGroup]) -> list[int]:
    return sorted({int(str(data["content_id"])) for group in groups for data in group.first if "content_id" in data})
