"""Tasks that are cancelled if they are not leased by their `expire_time`.

`tasks` keeps that time as it was submitted. `ready` and `delayed` have it while no attempt of the task has begun: then
the claim leaves out what has expired, and the loop finds it by two indexes that hold nothing else. A task without it
has no entry there, and no statement writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from scheduler_svc.database.batch import UnnestedRows, array
from scheduler_svc.database.statements import Statements, task
from scheduler_svc.history.work import DequeuedTask

UNEXPIRED = "(r.expire_time IS NULL OR r.expire_time > now())"
"""A condition of the claim on a row `r` of `ready`."""

_ROWS = UnnestedRows(task_key="bigint", expire_time="timestamptz")
_SUBMIT = sa.text(f"""
    UPDATE tasks AS t SET expire_time = r.expire_time FROM {_ROWS.source}, {task("r", "target")}
    WHERE t.ctid = target.ctid
""")
"""Stores when tasks expire, as they were submitted."""
_SET = """
    UPDATE {table} AS w SET expire_time = r.expire_time FROM {rows}, LATERAL (
        SELECT ctid FROM {table} AS x WHERE x.task_key = r.task_key OFFSET 0) AS target
    WHERE w.ctid = target.ctid
"""
_SET_READY = sa.text(_SET.format(table="ready", rows=_ROWS.source))
"""Stores when tasks in `ready` expire."""
_SET_DELAYED = sa.text(_SET.format(table="delayed", rows=_ROWS.source))
"""Stores when tasks in `delayed` expire."""

_HEAD = "(SELECT task_key, expire_time FROM {table} WHERE {due} ORDER BY expire_time, task_key LIMIT :limit)"
_EXPIRED = sa.text(f"""
    SELECT task_key FROM (
        {_HEAD.format(table="ready", due="expire_time <= now()")}
        UNION ALL
        {_HEAD.format(table="delayed", due="expire_time <= now()")}
    ) AS w ORDER BY expire_time, task_key LIMIT :limit
""")
"""Finds waiting tasks that have expired."""
# Whoever removes the row owns the task; a row that another session has locked is left for later.
_REMOVE = """
    DELETE FROM {table} WHERE task_key = ANY(ARRAY(
        SELECT task_key FROM {table} WHERE task_key = ANY(CAST(:keys AS bigint[])) AND expire_time <= now()
        ORDER BY task_key FOR UPDATE SKIP LOCKED))
    RETURNING task_key, priority, tag, account_id, attempt, timeout_ms, {cause}, expire_time
"""
_REMOVE_DELAYED = sa.text(_REMOVE.format(table="delayed", cause="cause, due_time"))
"""Removes tasks from `delayed` that have expired."""
_REMOVE_READY = sa.text(_REMOVE.format(table="ready", cause="0, NULL"))
"""Removes tasks from `ready` that have expired."""
_NEXT_EXPIRY = sa.text(f"""
    SELECT extract(epoch FROM min(expire_time) - now()) FROM (
        {_HEAD.format(table="ready", due="expire_time IS NOT NULL")}
        UNION ALL
        {_HEAD.format(table="delayed", due="expire_time IS NOT NULL")}
    ) AS w
""")
"""Reads when the next waiting task expires."""


class Expiry(Statements):
    def submit(self, times: Mapping[int, datetime]) -> None:
        """Stores when new tasks expire, by key."""
        self._run(_SUBMIT, **_ROWS.bind(sorted(times.items())))

    def set(self, times: Mapping[int, datetime]) -> None:
        """Stores when waiting tasks expire, by key; of these tasks no attempt has begun."""
        bound = _ROWS.bind(sorted(times.items()))
        self._run(_SET_READY, **bound)
        self._run(_SET_DELAYED, **bound)

    def expired(self, limit: int) -> list[int]:
        """Keys of waiting tasks that have expired, longest first."""
        return [row[0] for row in self._rows(_EXPIRED, limit=limit)]

    def remove(self, keys: Sequence[int]) -> list[DequeuedTask]:
        """Removes those of these tasks from `delayed` and `ready` that have expired, and that nobody has locked."""
        literal = array("bigint", keys)
        return [
            DequeuedTask(*row)
            for statement in (_REMOVE_DELAYED, _REMOVE_READY)
            for row in self._rows(statement, keys=literal)
        ]

    def next(self) -> float | None:
        """Seconds until the next waiting task expires (negative: overdue); None if none will."""
        row = self._row(_NEXT_EXPIRY, limit=1)
        return None if row is None or row[0] is None else float(row[0])
