"""The history of tasks, the counts that every move changes, and the rollups by hour and day.

Each transaction adds small rows to counts and rollups, which are folded every few seconds: no row is hot. Readers add
what is not folded yet. Rollups are not made of `task_events` later: each event would be read again, with its task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from scheduler_svc.database.batch import Insert, array
from scheduler_svc.database.connections import AdvisoryLock
from scheduler_svc.database.statements import EACH_ACCOUNT, Statements
from scheduler_svc.domain.account import ALL_ACCOUNTS, Scope
from scheduler_svc.domain.lifecycle import EventRow
from scheduler_svc.domain.rollup import Resolution

_INSERT_EVENTS = Insert(
    "task_events",
    task_key="bigint",
    previous_status="smallint",
    status="smallint",
    attempt="integer",
    fence="integer",
    worker_id="text",
    reason="text",
    message="text",
    retry_count="smallint",
)
"""Appends moves to the history."""
_DELTAS = Insert("count_deltas", account_id="bigint", kind="smallint", n="bigint")
"""Inserts changes of counts."""

_READ_COUNTS = sa.text("""
    SELECT kind, sum(n)::bigint FROM (
        SELECT kind, n FROM task_counts WHERE account_id = ANY(CAST(:accounts AS bigint[]))
        UNION ALL
        SELECT kind, n FROM count_deltas WHERE account_id = ANY(CAST(:accounts AS bigint[]))
    ) AS c GROUP BY kind
""")
"""Reads counts, folded or not."""

# Deltas become counts. One replica folds at a time, the others skip. Deltas are deleted by a range of ids: this table
# is vacuumed while it is empty, and with a plan made then a join would read the first ones again for each delta.
#
# A fold of all visible deltas has folded each delta of the transactions that had ended by then: that is the floor.
# Reads of one count's deltas begin there and so skip deleted ones, which stay in the index while any transaction is
# open.
_MAY_FOLD = sa.text(f"SELECT pg_try_advisory_xact_lock({AdvisoryLock.COUNTS.key})")
"""Locks out other folds, if none runs."""
_OLDEST_RUNNING = "CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)"
_FOLD_COUNTS = sa.text(f"""
    WITH gone AS (
        DELETE FROM count_deltas WHERE delta_id <= (
            SELECT max(delta_id) FROM (SELECT delta_id FROM count_deltas ORDER BY delta_id LIMIT :limit) AS first)
        RETURNING account_id, kind, n
    ),
    floor AS (
        UPDATE count_floor SET xact = {_OLDEST_RUNNING}
        WHERE "only" AND (SELECT count(*) FROM gone) BETWEEN 1 AND CAST(:limit AS bigint) - 1
    )
    INSERT INTO task_counts AS c (account_id, kind, n)
    SELECT account_id, kind, sum(n) FROM gone GROUP BY account_id, kind ORDER BY account_id, kind
    ON CONFLICT (account_id, kind) DO UPDATE SET n = c.n + excluded.n
""")
"""Folds changes into the counts."""


def unfolded(account_id: str, kind: int) -> str:
    """Returns a query for `n` of the deltas of one count that are not folded, by the one index that has their order.

    A floor above the running transactions comes from a backup of another server, and is ignored.
    """
    floor = f'(SELECT xact FROM count_floor WHERE "only" AND xact <= {_OLDEST_RUNNING})'
    return f"""
        SELECT n FROM (
            SELECT n FROM count_deltas
            WHERE account_id = {account_id} AND kind = {kind} AND xact >= coalesce({floor}, 0)
            ORDER BY account_id, kind, xact OFFSET 0) AS d"""


class History(Statements):
    def insert(self, rows: Sequence[EventRow]) -> None:
        """Appends moves; the database refuses one that the transition table does not have."""
        self._session.insert(_INSERT_EVENTS, rows)


class Counts(Statements):
    """Statements on `task_counts` and `count_deltas`. Account 0 holds the sums over all accounts."""

    def add(self, deltas: Mapping[tuple[int, int], int]) -> None:
        self._session.insert(_DELTAS, [(account, kind, n) for (account, kind), n in sorted(deltas.items()) if n])

    def read(self, scope: Scope) -> dict[int, int]:
        """Returns the counts by kind, summed over the accounts."""
        ids = (ALL_ACCOUNTS,) if scope.accounts is None else scope.accounts
        return dict(self._rows(_READ_COUNTS, accounts=array("bigint", ids)))

    def fold(self, limit: int) -> int:
        """Folds up to `limit` deltas into the counts; returns how many counts changed."""
        row = self._row(_MAY_FOLD)
        return self._run(_FOLD_COUNTS, limit=limit) if row and row[0] else 0


_ADD_ROLLUPS = Insert("rollup_deltas", account_id="bigint", kinds="smallint[]", numbers="float8[]")
"""Inserts what a transaction adds to this hour's rollups."""

# One replica folds at a time, the others skip. Deltas are deleted by a range of ids: see `history`.
_MAY_FOLD_ROLLUPS = sa.text(f"SELECT pg_try_advisory_xact_lock({AdvisoryLock.ROLLUPS.key})")
"""Locks out other folds, if none runs."""
_FOLD_ROLLUPS = sa.text(f"""
    WITH gone AS (
        DELETE FROM rollup_deltas WHERE delta_id <= (
            SELECT max(delta_id) FROM (SELECT delta_id FROM rollup_deltas ORDER BY delta_id LIMIT :limit) AS first)
        RETURNING account_id, hour, kinds, numbers
    ),
    added AS (
        SELECT account_id, hour, u.kind, sum(u.n) AS n
        FROM gone, LATERAL unnest(kinds, numbers) AS u(kind, n) GROUP BY 1, 2, 3
    ),
    folded AS (
        INSERT INTO task_rollups AS r (account_id, resolution, time, kind, n)
        SELECT a.account_id, t.resolution, t.time, x.kind, sum(x.n)
        FROM added AS x,
            LATERAL (VALUES (x.account_id), ({ALL_ACCOUNTS})) AS a(account_id),
            LATERAL (VALUES ({Resolution.HOUR}, x.hour),
                ({Resolution.DAY}, date_trunc('day', x.hour, 'UTC'))) AS t(resolution, time)
        GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
        ON CONFLICT (account_id, resolution, time, kind) DO UPDATE SET n = r.n + excluded.n
    )
    SELECT count(*) FROM gone
""")
"""Folds what transactions have added into hours and days, of each account and of all."""

_OWN = """
    (x.account_id, x.resolution, x.time) >= (a.own, :resolution, :start)
        AND (x.account_id, x.resolution, x.time) < (a.own, :resolution, :end)
"""
_READ_ROLLUPS = sa.text(f"""
    SELECT time, kind, sum(n)::float8 FROM (
        SELECT r.* FROM {EACH_ACCOUNT}, LATERAL (
            SELECT x.time, x.kind, x.n FROM task_rollups AS x WHERE {_OWN}
            ORDER BY x.account_id, x.resolution, x.time) AS r
        UNION ALL
        SELECT date_trunc(:unit, d.hour, 'UTC'), u.kind, u.n
        FROM rollup_deltas AS d, LATERAL unnest(d.kinds, d.numbers) AS u(kind, n)
        WHERE d.hour >= :start AND d.hour < :end
            AND (CAST(:accounts AS bigint[]) = '{{{ALL_ACCOUNTS}}}' OR d.account_id = ANY(CAST(:accounts AS bigint[])))
    ) AS n GROUP BY time, kind
""")
"""Reads the hours or days of some accounts, folded or not."""
_DELETE_ROLLUPS = sa.text("""
    DELETE FROM task_rollups WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM task_rollups
        WHERE resolution = :resolution AND time < now() - make_interval(secs => :age)
        ORDER BY resolution, time LIMIT :limit))
""")
"""Deletes hours or days of long ago."""


class Rollups(Statements):
    """Statements on `task_rollups` and `rollup_deltas`. Account 0 holds the sums over all accounts."""

    def add(self, numbers: Mapping[int, Mapping[int, float]]) -> None:
        rows = [
            (account, array("smallint", kinds), array("float8", kinds.values())) for account, kinds in numbers.items()
        ]
        self._session.insert(_ADD_ROLLUPS, rows)

    def fold(self, limit: int) -> int:
        """Folds up to `limit` rows; returns how many."""
        row = self._row(_MAY_FOLD_ROLLUPS)
        return int(self._row(_FOLD_ROLLUPS, limit=limit)[0]) if row and row[0] else 0

    def read(
        self, scope: Scope, resolution: Resolution, start: datetime, end: datetime
    ) -> list[tuple[datetime, int, float]]:
        """Returns time, kind and number of each hour or day from `start` to before `end`, summed over the accounts."""
        ids = (ALL_ACCOUNTS,) if scope.accounts is None else scope.accounts
        rows = self._rows(
            _READ_ROLLUPS,
            accounts=array("bigint", ids),
            resolution=resolution.value,
            unit=resolution.name.lower(),
            start=start,
            end=end,
        )
        return [(time, kind, n) for time, kind, n in rows]

    def delete(self, resolution: Resolution, age: timedelta, limit: int) -> int:
        """Deletes hours or days that began so long ago; returns how many numbers."""
        return self._run(_DELETE_ROLLUPS, resolution=resolution.value, age=age.total_seconds(), limit=limit)
