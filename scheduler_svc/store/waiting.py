"""What waits: `ready` (may be claimed, in fair order) and `delayed` (not before a time)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from scheduler_svc.application.records import DelayedRow, ReadyRow, Waiting
from scheduler_svc.store.batch import Batch, Insert, array
from scheduler_svc.store.rows import Statements

_GROUPS = Batch(account_id="bigint", priority="smallint", count="integer")

# An account's virtual finish moves on by a share a task, the smaller the larger its weight, from the priority's virtual
# time at least. That time is the smallest tag that waits, or the largest finish when none does.
_RESERVE = sa.text(f"""
    WITH r AS MATERIALIZED (
        SELECT r.account_id, r.priority, a.weight, r.count / a.weight AS share
        FROM {_GROUPS.source} JOIN accounts AS a USING (account_id)
    ),
    clock AS MATERIALIZED (
        SELECT p.priority, coalesce(
            (SELECT w.tag FROM ready AS w WHERE w.priority = p.priority ORDER BY w.tag LIMIT 1),
            (SELECT s.finish FROM shares AS s WHERE s.priority = p.priority ORDER BY s.finish DESC LIMIT 1),
            0) AS now
        FROM (SELECT DISTINCT priority FROM r) AS p
    )
    INSERT INTO shares AS s (account_id, priority, finish)
    SELECT r.account_id, r.priority, clock.now + r.share
    FROM r JOIN clock USING (priority) ORDER BY r.account_id, r.priority
    ON CONFLICT (account_id, priority) DO UPDATE SET finish = greatest(excluded.finish, s.finish + (
        SELECT r.share FROM r WHERE r.account_id = excluded.account_id AND r.priority = excluded.priority))
    RETURNING s.account_id, s.priority, s.finish,
        (SELECT r.weight FROM r WHERE r.account_id = s.account_id AND r.priority = s.priority)
""")

_READY = Insert(
    "ready",
    task_key="bigint",
    priority="smallint",
    tag="float8",
    account_id="bigint",
    attempt="integer",
    timeout_ms="bigint",
)
_DELAYED = Insert(
    "delayed",
    task_key="bigint",
    priority="smallint",
    tag="float8",
    account_id="bigint",
    attempt="integer",
    timeout_ms="bigint",
    due_time="timestamptz",
    cause="smallint",
)

# Whoever removes a task from where it waits, owns it. A claim that is under way is waited for, and then has it. Delayed
# ones first: a task that becomes due between the two statements is found by the second.
_REMOVE_READY = sa.text("""
    DELETE FROM ready WHERE task_key IN
        (SELECT task_key FROM ready WHERE task_key = ANY(CAST(:keys AS bigint[])) ORDER BY task_key FOR UPDATE)
    RETURNING task_key, priority, tag, account_id, attempt, timeout_ms, 0
""")
_REMOVE_DELAYED = sa.text("""
    DELETE FROM delayed WHERE task_key IN
        (SELECT task_key FROM delayed WHERE task_key = ANY(CAST(:keys AS bigint[])) ORDER BY task_key FOR UPDATE)
    RETURNING task_key, priority, tag, account_id, attempt, timeout_ms, cause
""")

_NEXT = Batch(task_key="bigint", attempt="integer")
_REMOVE_READY_NEXT, _REMOVE_DELAYED_NEXT = (
    sa.text(f"""
        DELETE FROM {table} WHERE task_key IN (
            SELECT w.task_key FROM {table} AS w JOIN {_NEXT.source} USING (task_key, attempt)
            ORDER BY w.task_key FOR UPDATE OF w)
        RETURNING task_key, priority, tag, account_id, attempt, timeout_ms, {cause}
    """)
    for table, cause in (("ready", "0"), ("delayed", "cause"))
)

# A revoked lease bars its task: it stays delayed until that lease is gone.
_TAKE_DUE = sa.text("""
    DELETE FROM delayed WHERE task_key IN (
        SELECT d.task_key FROM delayed AS d
        WHERE d.due_time <= now() AND NOT EXISTS (SELECT FROM leases AS l WHERE l.task_key = d.task_key)
        ORDER BY d.due_time, d.task_key LIMIT :limit FOR UPDATE OF d SKIP LOCKED)
    RETURNING task_key, priority, tag, account_id, attempt, timeout_ms, cause
""")
_NEXT_DUE = sa.text("""
    SELECT extract(epoch FROM d.due_time - now()) FROM delayed AS d
    WHERE NOT EXISTS (SELECT FROM leases AS l WHERE l.task_key = d.task_key)
    ORDER BY d.due_time LIMIT 1
""")


class WaitingTasks(Statements):
    """Statements on `ready`, `delayed` and `shares`."""

    def reserve(self, counts: Mapping[tuple[int, int], int]) -> dict[tuple[int, int], tuple[float, float]]:
        """Moves each (account, priority)'s virtual finish on by the shares of so many tasks.

        Returns the finishes after that, each with the weight of its account, which says how large a share is.
        """
        rows = [(account, priority, count) for (account, priority), count in sorted(counts.items())]
        found = self._rows(_RESERVE, **_GROUPS.bind(rows))
        return {(account, priority): (finish, weight) for account, priority, finish, weight in found}

    def insert_ready(self, rows: Sequence[ReadyRow]) -> None:
        """Makes tasks claimable."""
        self._session.insert(_READY, rows)

    def insert_delayed(self, rows: Sequence[DelayedRow]) -> None:
        """Lets tasks wait for a time."""
        self._session.insert(_DELAYED, rows)

    def remove(self, keys: Sequence[int]) -> dict[int, Waiting]:
        """Takes tasks out of where they wait; those that are not in the answer wait nowhere."""
        literal = array("bigint", keys)
        removed = [Waiting(*row) for row in self._rows(_REMOVE_DELAYED, keys=literal)]
        if len(removed) < len(keys):
            removed += [Waiting(*row) for row in self._rows(_REMOVE_READY, keys=literal)]
        return {row.task_key: row for row in removed}

    def remove_next(self, rows: Sequence[tuple[int, int]]) -> dict[int, Waiting]:
        """Takes these tasks out, each only while it waits for the attempt of that number."""
        bound = _NEXT.bind(rows)
        removed = [*self._rows(_REMOVE_DELAYED_NEXT, **bound), *self._rows(_REMOVE_READY_NEXT, **bound)]
        return {row[0]: Waiting(*row) for row in removed}

    def take_due(self, limit: int) -> list[Waiting]:
        """Takes out what has become due, oldest first."""
        return [Waiting(*row) for row in self._rows(_TAKE_DUE, limit=limit)]

    def next_due(self) -> float | None:
        """Seconds until the next one is due (negative: it is); None where none waits."""
        row = self._row(_NEXT_DUE)
        return None if row is None else float(row[0])
