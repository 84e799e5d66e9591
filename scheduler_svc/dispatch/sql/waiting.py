"""What waits: `ready` (pending and due: with a tag it may be claimed) and `delayed` (not before a time).

Tasks that are not leased by their `expire_time` are cancelled. `tasks` keeps that time as it was submitted. `ready` and
`delayed` have it while no attempt of the task has begun: then the claim leaves out what has expired, and the loop finds
it by two indexes that hold nothing else. A task without it has no entry there, and no statement writes it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from scheduler_svc.database.batch import Insert, UnnestedRows, array
from scheduler_svc.database.statements import Statements, leased, task
from scheduler_svc.dispatch.sql.selectors import ALL_QUEUES
from scheduler_svc.dispatch.sql.tags import ASSIGN_TAGS, bind_counts, floor, reservations, reserved
from scheduler_svc.domain.dispatch import QUEUES, QueueHead
from scheduler_svc.history.work import DelayedRow, DequeuedTask, ReadyRow, TagReservation

UNEXPIRED = "(r.expire_time IS NULL OR r.expire_time > now())"
"""A condition of the claim on a row `r` of `ready`."""
_EXPIRY_ROWS = UnnestedRows(task_key="bigint", expire_time="timestamptz")
_SET_EXPIRY_OF_TASK = sa.text(f"""
    UPDATE tasks AS t SET expire_time = r.expire_time FROM {_EXPIRY_ROWS.source}, {task("r", "target")}
    WHERE t.ctid = target.ctid
""")
"""Stores when tasks expire, as they were submitted."""
_SET_EXPIRY = """
    UPDATE {table} AS w SET expire_time = r.expire_time FROM {rows}, LATERAL (
        SELECT ctid FROM {table} AS x WHERE x.task_key = r.task_key OFFSET 0) AS target
    WHERE w.ctid = target.ctid
"""
_SET_EXPIRY_READY = sa.text(_SET_EXPIRY.format(table="ready", rows=_EXPIRY_ROWS.source))
"""Stores when tasks in `ready` expire."""
_SET_EXPIRY_DELAYED = sa.text(_SET_EXPIRY.format(table="delayed", rows=_EXPIRY_ROWS.source))
"""Stores when tasks in `delayed` expire."""
_EXPIRY_HEAD = "(SELECT task_key, expire_time FROM {table} WHERE {due} ORDER BY expire_time, task_key LIMIT :limit)"
_EXPIRED = sa.text(f"""
    SELECT task_key FROM (
        {_EXPIRY_HEAD.format(table="ready", due="expire_time <= now()")}
        UNION ALL
        {_EXPIRY_HEAD.format(table="delayed", due="expire_time <= now()")}
    ) AS w ORDER BY expire_time, task_key LIMIT :limit
""")
"""Finds waiting tasks that have expired."""
_REST_OF = {"ready": "0, NULL, expire_time, ready_time", "delayed": "cause, due_time, expire_time"}


def _removal(table: str, keys: str) -> str:
    """Removes tasks from a queue; `keys` locks and reads their keys. Whoever removes the row owns the task."""
    return f"""
        DELETE FROM {table} WHERE task_key = ANY(ARRAY({keys.format(table=table)}))
        RETURNING task_key, priority, tag, account_id, attempt, timeout_ms, {_REST_OF[table]}
    """


# A row that another session has locked is left for later.
_EXPIRED_KEYS = """
    SELECT task_key FROM {table} WHERE task_key = ANY(CAST(:keys AS bigint[])) AND expire_time <= now()
    ORDER BY task_key FOR UPDATE SKIP LOCKED"""
_REMOVE_EXPIRED_DELAYED = sa.text(_removal("delayed", _EXPIRED_KEYS))
"""Removes tasks from `delayed` that have expired."""
_REMOVE_EXPIRED_READY = sa.text(_removal("ready", _EXPIRED_KEYS))
"""Removes tasks from `ready` that have expired."""
_NEXT_EXPIRY = sa.text(f"""
    SELECT extract(epoch FROM min(expire_time) - now()) FROM (
        {_EXPIRY_HEAD.format(table="ready", due="expire_time IS NOT NULL")}
        UNION ALL
        {_EXPIRY_HEAD.format(table="delayed", due="expire_time IS NOT NULL")}
    ) AS w
""")
"""Reads when the next waiting task expires."""


class Expiry(Statements):
    """Of tasks that are cancelled if they are not leased by their `expire_time`."""

    def submit(self, times: Mapping[int, datetime]) -> None:
        """Stores when new tasks expire, by key."""
        self._run(_SET_EXPIRY_OF_TASK, **_EXPIRY_ROWS.bind(sorted(times.items())))

    def set(self, times: Mapping[int, datetime]) -> None:
        """Stores when waiting tasks expire, by key; of these tasks no attempt has begun."""
        bound = _EXPIRY_ROWS.bind(sorted(times.items()))
        self._run(_SET_EXPIRY_READY, **bound)
        self._run(_SET_EXPIRY_DELAYED, **bound)

    def expired(self, limit: int) -> list[int]:
        """Returns the keys of waiting tasks that have expired, longest first."""
        return [row[0] for row in self._rows(_EXPIRED, limit=limit)]

    def remove(self, keys: Sequence[int]) -> list[DequeuedTask]:
        """Removes those of these tasks from `delayed` and `ready` that have expired, and that nobody has locked."""
        literal = array("bigint", keys)
        delayed = self._all(DequeuedTask, _REMOVE_EXPIRED_DELAYED, keys=literal)
        return delayed + self._all(DequeuedTask, _REMOVE_EXPIRED_READY, keys=literal)

    def next(self) -> float | None:
        """Returns the seconds until the next waiting task expires (negative: overdue); None if none will."""
        row = self._row(_NEXT_EXPIRY, limit=1)
        return None if row is None or row[0] is None else float(row[0])


_RESERVE_TAGS = sa.text(f"WITH {reserved('true')} SELECT * FROM reserved")
"""Reserves tags for tasks that become ready, within the windows of their accounts."""
_INSERT_READY = Insert(
    "ready",
    task_key="bigint",
    priority="smallint",
    tag="float8",
    account_id="bigint",
    attempt="integer",
    timeout_ms="bigint",
)
"""Inserts tasks that are due."""
_INSERT_DELAYED = Insert(
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
"""Inserts tasks that wait for a time."""
# A claim in progress is waited for, and then owns the task. `delayed` comes first, so that a task that becomes due
# between the two statements is found by the second.
_KEYS = "SELECT task_key FROM {table} WHERE task_key = ANY(CAST(:keys AS bigint[])) ORDER BY task_key FOR UPDATE"
_REMOVE_READY = sa.text(_removal("ready", _KEYS))
"""Removes tasks from `ready`."""
_REMOVE_DELAYED = sa.text(_removal("delayed", _KEYS))
"""Removes tasks from `delayed`."""
_REMOVE_FREE_READY = sa.text(_removal("ready", f"{_KEYS} SKIP LOCKED"))
"""Removes those of the tasks from `ready` that nobody else has locked."""
_REMOVE_FREE_DELAYED = sa.text(_removal("delayed", f"{_KEYS} SKIP LOCKED"))
"""Removes those of the tasks from `delayed` that nobody else has locked."""
_NEXT = UnnestedRows(task_key="bigint", attempt="integer")
# The keys are repeated as a condition, so that the join does not read all waiting tasks.
_NEXT_KEYS = f"""
    SELECT w.task_key FROM {{table}} AS w JOIN {_NEXT.source} USING (task_key, attempt)
    WHERE w.task_key = ANY(CAST(:task_key AS bigint[])) ORDER BY w.task_key FOR UPDATE OF w"""
_REMOVE_READY_NEXT = sa.text(_removal("ready", _NEXT_KEYS))
"""Removes tasks from `ready` that wait for a given attempt."""
_REMOVE_DELAYED_NEXT = sa.text(_removal("delayed", _NEXT_KEYS))
"""Removes tasks from `delayed` that wait for a given attempt."""
_KEEP_READY_TIME = sa.text("UPDATE ready SET ready_time = :ready_time WHERE task_key = :task_key")
"""Stores since when a task is ready that was taken out of `ready` and put back."""
_READ_HEADS = sa.text(f"""
    SELECT p.priority & {QUEUES - 1}, least(sum(h.n), :limit)::bigint, max(h.wait) FROM {ALL_QUEUES}, LATERAL (
        SELECT count(*) AS n, coalesce(CAST(extract(epoch FROM now() - min(ready_time)) AS float8), 0) AS wait FROM (
            SELECT ready_time FROM ready AS r
            WHERE r.priority = p.priority AND r.tag >= {floor("p.priority")}
            ORDER BY r.priority DESC, r.tag, r.task_key LIMIT :limit) AS head) AS h
    GROUP BY p.priority & {QUEUES - 1} ORDER BY 1
""")
"""Counts the first tasks of each priority that may be claimed, and reads the wait of the oldest of them."""
# A task with a revoked lease stays delayed until that lease is gone.
_DUE = f"""
    FROM delayed AS d
    WHERE d.due_time <= now() AND NOT {leased("d")} AND d.account_id <> ALL(CAST(:but AS bigint[]))
    ORDER BY d.due_time, d.task_key LIMIT :limit"""
_TAKE_DUE = sa.text(_removal("delayed", f"SELECT d.task_key {_DUE} FOR UPDATE OF d SKIP LOCKED"))
"""Removes tasks from `delayed` that are due."""
_DUE_ACCOUNTS = sa.text(f"SELECT DISTINCT account_id FROM (SELECT d.account_id {_DUE}) AS due")
"""Reads the accounts of tasks that are due."""
_NEXT_DUE_TIME = sa.text(f"""
    SELECT extract(epoch FROM d.due_time - now()) FROM delayed AS d
    WHERE NOT {leased("d")}
    ORDER BY d.due_time LIMIT 1
""")
"""Reads when the next delayed task is due."""


class WaitingTasks(Statements):
    def reserve(self, counts: Mapping[tuple[int, int], int]) -> dict[tuple[int, int], TagReservation]:
        """Reserves tags by (account, priority) for these numbers of tasks that become ready; a number may be 0.

        No other transaction adds to it, admits its tasks or closes it before this transaction ends.
        """
        self._session.hold_back(ASSIGN_TAGS, {})
        return reservations(self._rows(_RESERVE_TAGS, **bind_counts(counts)))

    def insert_ready(self, rows: Sequence[ReadyRow]) -> None:
        """Inserts tasks that are due. Those without a tag wait behind their account's window."""
        self._session.insert(_INSERT_READY, rows)

    def insert_delayed(self, rows: Sequence[DelayedRow]) -> None:
        self._session.insert(_INSERT_DELAYED, rows)

    def remove(self, keys: Sequence[int], *, skip_locked: bool = False) -> dict[int, DequeuedTask]:
        """Removes tasks from `delayed` and `ready`; those missing from the result were in neither.

        `skip_locked`: nor are those removed that another session has locked.
        """
        from_delayed, from_ready = (
            (_REMOVE_FREE_DELAYED, _REMOVE_FREE_READY) if skip_locked else (_REMOVE_DELAYED, _REMOVE_READY)
        )
        literal = array("bigint", keys)
        removed = self._all(DequeuedTask, from_delayed, keys=literal)
        if len(removed) < len(keys):
            removed += self._all(DequeuedTask, from_ready, keys=literal)
        return {row.task_key: row for row in removed}

    def remove_next(self, rows: Sequence[tuple[int, int]]) -> dict[int, DequeuedTask]:
        """Removes each of these tasks if it waits for the attempt of that number."""
        bound = _NEXT.bind(rows)
        removed = [*self._rows(_REMOVE_DELAYED_NEXT, **bound), *self._rows(_REMOVE_READY_NEXT, **bound)]
        return {row[0]: DequeuedTask(*row) for row in removed}

    def keep_ready_time(self, task_key: int, ready_time: datetime) -> None:
        """Stores since when a task is ready, if this transaction took it out of `ready` and put it back."""
        self._run(_KEEP_READY_TIME, task_key=task_key, ready_time=ready_time)

    def take_due(self, limit: int, but: Collection[int] = ()) -> list[DequeuedTask]:
        """Removes up to `limit` delayed tasks that are due, oldest first, except those of the accounts `but`."""
        return self._all(DequeuedTask, _TAKE_DUE, limit=limit, but=array("bigint", but))

    def due_accounts(self, limit: int, but: Collection[int]) -> set[int]:
        """Returns the accounts of the tasks that `take_due` would remove."""
        return {row[0] for row in self._rows(_DUE_ACCOUNTS, limit=limit, but=array("bigint", but))}

    def heads(self, limit: int) -> list[QueueHead]:
        """Counts up to `limit` tasks of each priority that a claim would take first, with the wait of the oldest."""
        return self._all(QueueHead, _READ_HEADS, limit=limit)

    def next_due(self) -> float | None:
        """Returns the seconds until the next delayed task is due (negative: overdue); None if there is none."""
        return self._one(float, _NEXT_DUE_TIME)
