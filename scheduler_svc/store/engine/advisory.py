"""The advisory locks that schedulers hold for moments, each by its name. Part of `store`.

Whoever knows a key can take its lock, and some of ours are only tried: nothing waits then, and nothing is logged by
PostgreSQL. So `system.py` looks for sessions that hold one of these for long.
"""

from __future__ import annotations

from enum import StrEnum


class AdvisoryLock(StrEnum):
    """`key` is what PostgreSQL's functions take."""

    DISPATCH = "contentgen.pause_dispatch"
    FLOORS = "contentgen.ready_floors"
    COUNTS = "contentgen.fold_counts"
    ROLLUPS = "contentgen.fold_rollups"
    RETENTION = "contentgen.retention"

    @property
    def key(self) -> str:
        return f"hashtext('{self.value}')"
