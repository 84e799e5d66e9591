"""The loads of accounts: counts of their tasks, pauses, limits, quotas. Autoscalers have them read once a second."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from scheduler_svc.application.tasks.ledger import ALL_ACCOUNTS, READY
from scheduler_svc.domain.demand import Load
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.start_quota import StartQuota, Starts
from scheduler_svc.store.engine.rows import Statements
from scheduler_svc.store.tasks.history import unfolded


def _count(account_id: str, *kinds: int) -> str:
    """A query for the sum of an account's counts of these kinds, folded or not."""
    deltas = " UNION ALL ".join(f"({unfolded(account_id, kind)})" for kind in kinds)
    return f"""(SELECT coalesce(sum(n), 0)::bigint FROM (
            SELECT n FROM task_counts AS k WHERE k.account_id = {account_id}
                AND k.kind IN ({", ".join(str(int(kind)) for kind in kinds)})
            UNION ALL {deltas}) AS c)"""


def _ready(account_id: str) -> str:
    return _count(account_id, READY)


def _leased(account_id: str) -> str:
    return _count(account_id, Status.SUBMITTED, Status.PROCESSING)


_OF_ACCOUNT = f"""{_leased("a.account_id")},
        EXISTS (SELECT FROM pauses AS p WHERE p.account_id IN ({{pauses}})), a.max_concurrent_tasks,
        a.max_starts_per_minute, clock_timestamp(), q.times, q.counts"""
_QUOTA = """LATERAL (
        SELECT times, counts FROM start_quotas AS x
        WHERE x.account_id = a.account_id AND a.max_starts_per_minute > 0 OFFSET 0) AS q ON true"""

_LOAD = sa.text(f"""
    SELECT a.account_id, {_ready("a.account_id")}, {_OF_ACCOUNT.format(pauses=f"{ALL_ACCOUNTS}, a.account_id")}
    FROM accounts AS a LEFT JOIN {_QUOTA}
    WHERE a.account_id = :account_id
""")
"""Reads the load of one account."""

# One snapshot: a task that moves meanwhile counts once. Index look-ups only, whatever the statistics say.
_LOADS = sa.text(f"""
    WITH barred AS MATERIALIZED (
        SELECT account_id FROM accounts WHERE max_concurrent_tasks > 0
        UNION SELECT account_id FROM start_quotas
        UNION SELECT account_id FROM pauses
    ),
    waiting AS MATERIALIZED (
        SELECT account_id, ready FROM (
            SELECT barred.account_id, {_ready("barred.account_id")} AS ready FROM barred OFFSET 0) AS b
        WHERE ready > 0 AND account_id <> {ALL_ACCOUNTS}
    )
    SELECT {ALL_ACCOUNTS}, {_ready(str(ALL_ACCOUNTS))}, {_leased(str(ALL_ACCOUNTS))},
        EXISTS (SELECT FROM pauses AS p WHERE p.account_id = {ALL_ACCOUNTS}), 0, 0, clock_timestamp(),
        CAST(NULL AS timestamptz[]), CAST(NULL AS integer[])
    UNION ALL
    SELECT a.account_id, w.ready, {_OF_ACCOUNT.format(pauses="a.account_id")}
    FROM waiting AS w
    CROSS JOIN LATERAL (SELECT * FROM accounts AS x WHERE x.account_id = w.account_id OFFSET 0) AS a
    LEFT JOIN {_QUOTA}
""")
"""Reads the load of all accounts, and of each one with ready tasks that has a pause, a limit or a quota."""


class Loads(Statements):
    """Statements on counts, pauses, limits and quotas."""

    def of(self, account_id: int) -> Load | None:
        """The load of one account, paused with all too. Returns None if there is no such account."""
        row = self._row(_LOAD, account_id=account_id)
        return None if row is None else _load(*row)

    def all(self) -> tuple[Load, list[Load]]:
        """The load of all accounts together, and the loads of those with a pause, a limit or a quota."""
        loads = {row[0]: _load(*row) for row in self._rows(_LOADS)}
        return loads.pop(ALL_ACCOUNTS), list(loads.values())


def _load(_account_id: int, ready: int, leased: int, paused: bool, limit: int, *of_starts: Any) -> Load:
    starts_a_minute, now, times, counts = of_starts
    starts = [Starts(*each) for each in zip(times or (), counts or (), strict=True)]
    quota = StartQuota(starts_a_minute, now, starts=starts) if starts_a_minute else None
    return Load(ready, leased, paused, limit, quota)
