"""Rows that dispatch and its statements exchange. Their fields are in the order of the SQL's columns."""

from __future__ import annotations

from typing import NamedTuple

from scheduler_svc.domain.dispatch import Flow, StartQuota
from scheduler_svc.domain.lease import Grant


class AccountQueue(NamedTuple):
    """The waiting tasks of one account, its highest priority first, and what decides how many of them may run.

    `limit` 0: none; `leases` are counted only if there is one, and include revoked ones. `quota`: its start quota, if
    any. `aging`: seconds of wait after which a task competes one priority higher; 0: never.
    """

    weight: float
    limit: int
    paused: bool
    leases: int
    flows: tuple[Flow, ...]
    quota: StartQuota | None = None
    aging: float = 0.0

    @property
    def tagged(self) -> int:
        return sum(line.tagged for line in self.flows)


class FlowMark(NamedTuple):
    """Whether tasks of a priority wait without a tag, and from which tag on a claim asks for a refill (None: never)."""

    priority: int
    backlog: bool
    refill: float | None


class Claimed(NamedTuple):
    """The result of a claim: its grants, and the accounts whose windows need a refill (`short`).

    `closed`: sessions that may get none (replaced or draining); `busy`: those whose rows are locked, mostly by a hello,
    so that their state is unknown. `urgent`: accounts for whose refill the next claim waits. `locked_out`: another
    session holds the lock of dispatch, so nothing was claimed. `full`: more tasks may be ready, or some could not be
    given. `kept`: what a statement before it has kept, in a transaction of several.
    """

    grants: list[Grant]
    closed: frozenset[int] = frozenset()
    busy: frozenset[int] = frozenset()
    short: frozenset[int] = frozenset()
    urgent: frozenset[int] = frozenset()
    locked_out: bool = False
    full: bool = False
    kept: str = ""
