"""Audit events: who made which call, about what, and how it ended.

A key is 53 bits of microseconds since 1970 and 10 bits that differ between replicas. So keys grow with time, and no
column holds it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from scheduler_svc.domain.ids import KEY_MAX

REPLICA_BITS = 10

OK = "OK"
"""The outcome of a call that succeeded."""

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


# Submits of one caller for one account within a minute are one event: one of each would be most of the audit.
SUBMITS = ("TaskService/SubmitTask", "TaskService/BatchSubmitTasks")
_MINUTE = 60_000_000


class Submits(NamedTuple):
    """The event of submits: its key, the name of the first task, how many tasks there are, the time of the last one."""

    event_key: int
    minute: int
    first: str
    tasks: int
    last_time: int

    @classmethod
    def of(cls, call_time: int, replica: int, call: AuditedCall) -> Submits:
        """`call_time` in microseconds since 1970."""
        first, _, more = call.resource.partition(" and ")
        tasks = 1 + int(more.removesuffix(" more").replace(",", "")) if more else 1
        return cls(event_key(call_time, replica), call_time // _MINUTE, first, tasks, call_time)

    def with_more(self, later: Submits) -> Submits:
        return self._replace(tasks=self.tasks + later.tasks, last_time=later.last_time)

    def event(self, actor: str, account_id: int, method: str) -> AuditEvent:
        resource = f"{self.first} and {self.tasks - 1:,} more" if self.tasks > 1 else self.first
        last = _EPOCH + self.last_time * _MICROSECOND
        changes = f"until: {last:%Y-%m-%dT%H:%M:%S.%fZ}" if self.event_key >> REPLICA_BITS != self.last_time else ""
        return AuditEvent(self.event_key, actor, account_id, method, resource, OK, changes)


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
