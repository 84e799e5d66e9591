"""Audit events: who made which call, about what, and how it ended.

A key is 53 bits of microseconds since 1970 and 10 bits that differ between replicas. So keys grow with time, and no
column holds it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from scheduler_svc.domain.ids import KEY_MAX

REPLICA_BITS = 10

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class AuditedCall(NamedTuple):
    """A call that has ended, as its event tells of it. `account_id` 0: none, or not known."""

    actor: str
    account_id: int
    method: str
    resource: str
    outcome: str
    changes: str = ""


class AuditEvent(NamedTuple):
    event_key: int
    actor: str
    account_id: int
    method: str
    resource: str
    outcome: str
    changes: str = ""

    @property
    def time(self) -> datetime:
        return _EPOCH + (self.event_key >> REPLICA_BITS) * _MICROSECOND


class AuditFilter(NamedTuple):
    """Which events; empty texts: any. From `low` to below `high`, which are keys."""

    actor: str = ""
    method: str = ""
    low: int = 0
    high: int = KEY_MAX


def event_key(unix_microseconds: int, replica: int) -> int:
    """Returns a key; only the low 10 bits of `replica` count."""
    return unix_microseconds << REPLICA_BITS | replica & ((1 << REPLICA_BITS) - 1)


def first_key(time: datetime) -> int:
    """Returns the lowest key that an event of this time, or later, may have."""
    return min(max(event_key((time - _EPOCH) // _MICROSECOND, 0), 0), KEY_MAX)
