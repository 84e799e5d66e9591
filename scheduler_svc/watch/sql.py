"""What WatchTasks reads: moves in the order of their numbers, and how far they are settled or cleaned up."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from scheduler_svc.database.batch import array
from scheduler_svc.database.statements import EACH_ACCOUNT, Statements, accounts, task
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.change import Snapshot
from scheduler_svc.domain.lifecycle import Status

# Which transactions have drawn from a sequence and may still commit: see `domain/change.py`.


# The id is taken by a statement of its own: the snapshot of the next one then shows who is older and still runs.
_TAKE_ID = sa.text("SELECT pg_current_xact_id()")
"""Takes a transaction id, before the snapshot that is compared with it."""
_IS_OLDEST = sa.text(
    "SELECT CAST(pg_current_xact_id() AS text) = CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text)"
)
"""Checks that no transaction with a lower id runs, in any database."""
# `nextval` locks the sequence until its transaction has ended and all may see what it did. PREPARE TRANSACTION changes
# neither the lock nor the transaction's virtual id.
_DRAWERS = sa.text("""
    SELECT DISTINCT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND relation = CAST(CAST(:sequence AS text) AS regclass)
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND mode = 'RowExclusiveLock' AND granted
""")
"""Finds the transactions that have drawn from a sequence."""


class Snapshots(Statements):
    def take(self, last: int, sequence: str) -> Snapshot:
        """Returns the snapshot after `last`, the last number drawn from the sequence, was read.

        Who draws has an id, so nobody has drawn if no older id runs. That is seen at once; the locks are many.
        """
        self._session.hold_back(_TAKE_ID, {})
        if self._row(_IS_OLDEST)[0]:
            return Snapshot(last, frozenset())
        return Snapshot(last, frozenset(row[0] for row in self._rows(_DRAWERS, sequence=sequence)))


_LAST = "SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM event_seq"
_LAST_NUMBER = sa.text(_LAST)
"""Reads the last number drawn for a move."""
# Which history the numbers are of: a restore into another cluster, database or table, a recovery to a point in time
# and a failover (a new timeline) each make another one.
_ORIGIN = """
    concat_ws('.', (SELECT system_identifier FROM pg_control_system()),
        left(pg_walfile_name(pg_current_wal_insert_lsn()), 8),
        (SELECT oid FROM pg_database WHERE datname = current_database()), CAST('task_events' AS regclass)::oid)
"""
_READ_PLACE = sa.text(f"SELECT {_ORIGIN}, ({_LAST})")
"""Names the history that the numbers belong to, with the last one drawn."""
# A range of the index of numbers.
_PAGE_OF_MOVES = sa.text(f"""
    SELECT e.seq, e.task_key, t.account_id FROM
        (SELECT seq, task_key FROM task_events WHERE seq > :after AND seq <= :until ORDER BY seq LIMIT :limit) AS e,
        {task("e", "t")}
    ORDER BY e.seq
""")
"""Reads the next moves of all tasks, with their accounts."""
# The same of some tasks: a range of the history of each.
_PAGE_OF_TASKS = sa.text("""
    SELECT e.seq, e.task_key FROM unnest(CAST(:keys AS bigint[])) AS k(task_key),
        LATERAL (SELECT x.seq, x.task_key FROM task_events AS x
            WHERE (x.task_key, x.seq) > (k.task_key, :after) AND (x.task_key, x.seq) <= (k.task_key, :until)
            ORDER BY x.task_key, x.seq LIMIT :limit) AS e
    ORDER BY e.seq LIMIT :limit
""")
"""Reads the next moves of some tasks."""
# A long way back most moves are of other accounts: they are passed over here, so many at a time, rather than sent and
# dropped. An index by account would cost every move an entry more, for the few that ask. A full chunk says how far it
# goes.
_PAGE_OF_ACCOUNTS = sa.text(f"""
    WITH chunk AS MATERIALIZED (
        SELECT seq, task_key FROM task_events WHERE seq > :after AND seq <= :until ORDER BY seq LIMIT :chunk
    )
    (SELECT e.seq, e.task_key FROM chunk AS e, LATERAL (SELECT account_id FROM {task("e", "t")} OFFSET 0) AS own
        WHERE own.account_id = ANY(CAST(:accounts AS bigint[])) ORDER BY e.seq LIMIT :limit)
    UNION ALL SELECT max(seq), NULL FROM chunk HAVING count(*) = :chunk
""")
"""Reads the moves of some accounts among the next ones of all."""
_HAS_MOVE = sa.text("SELECT 1 FROM task_events WHERE (task_key, seq) = (:task_key, :number)")
"""Checks whether a task has a move of some number."""
_OPEN_TASKS = sa.text(f"""
    SELECT task_key FROM tasks
    WHERE (status, task_key) > ({Status.PENDING}, :after) AND (status, task_key) < ({Status.PENDING + 1}, 0)
    ORDER BY status, task_key LIMIT :limit
""")
"""Reads all open tasks, by key."""
_OPEN_OF_ACCOUNTS = sa.text(f"""
    SELECT k.task_key FROM {EACH_ACCOUNT}, LATERAL (
        SELECT task_key FROM tasks
        WHERE (account_id, status, task_key) > (a.own, {Status.PENDING}, :after)
            AND (account_id, status, task_key) < (a.own, {Status.PENDING + 1}, 0)
        ORDER BY account_id, status, task_key LIMIT :limit) AS k
    ORDER BY k.task_key LIMIT :limit
""")
"""Reads the open tasks of some accounts, by key."""
_CLEANED_SINCE = sa.text("SELECT account_id FROM cleaned_events WHERE seq > :number")
"""Finds the accounts whose moves after some number were deleted."""
_CLEANED_TO = sa.text("SELECT max(seq) FROM cleaned_events")
"""Reads the highest number among the deleted moves."""
_CLEANED_TO_OF_ACCOUNTS = sa.text(
    "SELECT max(seq + 0) FROM cleaned_events WHERE account_id = ANY(CAST(:accounts AS bigint[]))"
)
"""Reads the highest number among the deleted moves of some accounts."""


class Changes(Statements):
    """Statements on `task_events` by number. Those with a limit return at most so many rows, lowest first."""

    def last(self) -> int:
        """Returns the last number drawn, committed or not; 0 before the first."""
        return int(self._row(_LAST_NUMBER)[0])

    def head(self) -> tuple[str, int]:
        """Returns a text that names this history of the database, and no other one, and the last number drawn."""
        origin, last = self._row(_READ_PLACE)
        return origin, last

    def snapshot(self) -> Snapshot:
        """Returns the last number, and then which transactions have drawn one: see `domain/change.py`."""
        return Snapshots(self._session).take(self.last(), "event_seq")

    def page(self, after: int, until: int, limit: int) -> list[tuple[int, int, int]]:
        """Returns the moves with numbers above `after`, up to `until`, as number, task and account."""
        return [tuple(row) for row in self._rows(_PAGE_OF_MOVES, after=after, until=until, limit=limit)]

    def page_of(self, keys: Sequence[int], after: int, until: int, limit: int) -> list[tuple[int, int]]:
        """Returns the same as `page`, of these tasks only, as number and task."""
        key_array = array("bigint", keys)
        return [tuple(row) for row in self._rows(_PAGE_OF_TASKS, keys=key_array, after=after, until=until, limit=limit)]

    def page_of_scope(self, scope: Scope, after: int, until: int, chunk: int, limit: int) -> tuple[dict[int, int], int]:
        """Returns the scope's moves among the next `chunk` of all, task by number; the number up to which that goes."""
        parameters = accounts(scope)
        if not parameters:
            return {number: key for number, key, _ in self.page(after, until, limit)}, until
        rows = self._rows(_PAGE_OF_ACCOUNTS, **parameters, after=after, until=until, chunk=chunk, limit=limit)
        moves = {seq: key for seq, key in rows if key is not None}
        return moves, next((seq for seq, key in rows if key is None), until)

    def has(self, task_key: int, number: int) -> bool:
        return self._row(_HAS_MOVE, task_key=task_key, number=number) is not None

    def open_tasks(self, scope: Scope, after: int, limit: int) -> list[int]:
        parameters = accounts(scope)
        statement = _OPEN_OF_ACCOUNTS if parameters else _OPEN_TASKS
        return self._all(int, statement, **parameters, after=after, limit=limit)

    def cleaned_since(self, number: int) -> frozenset[int]:
        """Returns the accounts of which moves with numbers above this one were deleted."""
        return frozenset(self._all(int, _CLEANED_SINCE, number=number))

    def cleaned_to(self, scope: Scope) -> int:
        """Returns the highest number among the scope's deleted moves; 0 if there are none."""
        parameters = accounts(scope)
        row = self._row(_CLEANED_TO_OF_ACCOUNTS if parameters else _CLEANED_TO, **parameters)
        return int(row[0] or 0)
