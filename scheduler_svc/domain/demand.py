"""The demand for workers: tasks that are leased, and tasks that may be leased now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from scheduler_svc.domain.start_quota import StartQuota


class Load(NamedTuple):
    """The tasks of one account, or of all: how many are ready and leased, and what keeps the ready ones from workers.

    `limit`: leases that it may have; 0: any number. `quota` None: it may start any number. The starts since the last
    count are missing in it, for a moment.
    """

    ready: int
    leased: int
    paused: bool = False
    limit: int = 0
    quota: StartQuota | None = None

    @property
    def may_start(self) -> int:
        """How many of the ready tasks may be leased now."""
        bounds = [self.ready]
        if self.paused:
            bounds.append(0)
        if self.limit:
            bounds.append(self.limit - self.leased)
        if self.quota:
            bounds.append(self.quota.counted(self.quota.admitted).seats)
        return max(0, min(bounds))

    @property
    def demand(self) -> int:
        return self.may_start + max(0, self.leased)


def total_demand(total: Load, barred: Iterable[Load]) -> int:
    """The demand of all accounts; `barred` has those with a pause, a limit or a quota."""
    waiting = sum(load.ready - load.may_start for load in barred)
    return total._replace(ready=max(0, total.ready - waiting)).demand
