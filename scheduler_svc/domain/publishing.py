"""Attempts to publish an entry of the publish pool: when the next one may begin, and what is kept of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from scheduler_svc.domain.content import PublishStatus

MAX_BACKOFF = timedelta(hours=1)
_MAX_DOUBLINGS = 30
"""More would pass MAX_BACKOFF from any backoff."""


@dataclass(frozen=True, slots=True)
class PublishPolicy:
    """How often an entry is tried, and the wait after the first failure, which doubles up to an hour."""

    max_attempts: int = 3
    backoff: timedelta = timedelta(minutes=1)

    def wait_after(self, failures: int) -> timedelta | None:
        """Returns the wait before the next attempt, after so many in a row failed; None if the entry stays failed."""
        if failures >= self.max_attempts:
            return None
        return min(self.backoff * (1 << min(failures - 1, _MAX_DOUBLINGS)), MAX_BACKOFF)


class PublishReport(NamedTuple):
    published: bool
    error: str = ""
    url: str = ""


def publish_report(published: bool, error: str, url: str) -> PublishReport:
    """Returns the report of a success, with a URL that may be empty, or of a failure, with an error that may be."""
    return PublishReport(True, url=url) if published else PublishReport(False, error=error)


@dataclass(frozen=True, slots=True)
class PublishAttempt:
    """A reported attempt, numbered from 1. `start_time` is None if a scheduler of the version before claimed it."""

    number: int
    publisher: str
    start_time: datetime | None
    end_time: datetime
    published: bool
    error: str


class PoolPosition(NamedTuple):
    """A place in the order in which entries are claimed: highest priority first, then oldest content."""

    priority: int
    content_id: int


class PoolFilter(NamedTuple):
    """Entries for which all of these hold; empty and None: any."""

    statuses: frozenset[PublishStatus] = frozenset()
    scheduled_after: datetime | None = None
    """Then or later; entries without a time are not."""
    scheduled_before: datetime | None = None
    """Earlier than that; entries without a time are not."""

    @property
    def timed(self) -> bool:
        return self.scheduled_after is not None or self.scheduled_before is not None


class EntryChange(NamedTuple):
    """New values of an entry; None: unchanged. `unschedule` takes its time away."""

    priority: int | None = None
    schedule_time: datetime | None = None
    unschedule: bool = False
