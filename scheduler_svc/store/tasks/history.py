"""The history of tasks, and the counts that every move changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from scheduler_svc.application.records import EventRow
from scheduler_svc.domain.access import Scope
from scheduler_svc.store.engine.advisory import AdvisoryLock
from scheduler_svc.store.engine.batch import Insert, array
from scheduler_svc.store.engine.rows import Statements

_EVENTS = Insert(
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

_ALL_ACCOUNTS = 0
_READ = sa.text("""
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
_FOLD = sa.text(f"""
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
    """A query for `n` of the deltas of one count that are not folded, by the one index that has their order.

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
        self._session.insert(_EVENTS, rows)


class Counts(Statements):
    """Statements on `task_counts` and `count_deltas`. Account 0 holds the sums over all accounts."""

    def add(self, deltas: Mapping[tuple[int, int], int]) -> None:
        """Adds to the counts by (account, kind)."""
        self._session.insert(_DELTAS, [(account, kind, n) for (account, kind), n in sorted(deltas.items()) if n])

    def read(self, scope: Scope) -> dict[int, int]:
        """The counts by kind, summed over the accounts."""
        ids = (_ALL_ACCOUNTS,) if scope.accounts is None else scope.accounts
        return dict(self._rows(_READ, accounts=array("bigint", ids)))

    def fold(self, limit: int) -> int:
        """Folds up to `limit` deltas into the counts; returns how many counts changed."""
        row = self._row(_MAY_FOLD)
        return self._run(_FOLD, limit=limit) if row and row[0] else 0
