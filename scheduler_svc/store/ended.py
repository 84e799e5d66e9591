"""Tasks that have ended, many at a time: what bulk calls find and move."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from scheduler_svc.application.records import TaskRow
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.store.batch import array
from scheduler_svc.store.rows import Statements
from scheduler_svc.store.tasks import DECISION_COLUMNS, task_row

_THESE = "t.task_key = ANY(CAST(:keys AS bigint[]))"

# `+ 0`: these are found by their keys, whatever the statistics say of a status. What another call has locked is just
# being moved: it is passed over.
_RETRYABLE = "t.status + 0 IN (5, 6) AND t.retry_count < t.max_retries"
_LOCK_RETRYABLE = sa.text(f"""
    SELECT {DECISION_COLUMNS} FROM tasks AS t WHERE {_THESE} AND {_RETRYABLE}
    ORDER BY t.task_key LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
""")
_RETRY = sa.text(f"""
    UPDATE tasks AS t SET status = 1, end_time = NULL, retry_count = t.retry_count + 1, losses = 0, refusals = 0
    WHERE {_THESE} AND {_RETRYABLE}
""")


class EndedTasks(Statements):
    """Statements on tasks that have ended. Each is bounded by the keys that it is given, or by its limit."""

    def page(self, account_id: int, statuses: Iterable[Status], after: int, limit: int) -> list[int]:
        """Keys above `after` of an account's (0: of all) tasks in these states, all of them ended, oldest first."""
        statement, parameters = _page(account_id, sorted(statuses))
        return [row[0] for row in self._rows(statement, **parameters, after=after, limit=limit)]

    def lock_retryable(self, keys: Sequence[int], limit: int) -> list[TaskRow]:
        """The oldest of these tasks that are failed or timed out and have retries left, locked."""
        return [task_row(row) for row in self._rows(_LOCK_RETRYABLE, keys=array("bigint", keys), limit=limit)]

    def retry(self, keys: Sequence[int]) -> int:
        """Puts locked tasks back to pending, with one retry more; returns how many moved, which must be all."""
        return self._run(_RETRY, keys=array("bigint", keys))


def _page(account_id: int, statuses: Sequence[Status]) -> tuple[sa.TextClause, dict[str, Any]]:
    """A range of an index for each state, merged: a late page costs what the first one costs."""
    of_account = bool(account_id)
    keys = " UNION ALL ".join(f"({_range(status, of_account=of_account)})" for status in statuses)
    statement = sa.text(f"SELECT task_key FROM ({keys}) AS k ORDER BY task_key LIMIT :limit")
    return statement, {"account_id": account_id} if of_account else {}


def _range(status: Status, *, of_account: bool) -> str:
    """Whole rows of the index's columns are compared, so that no other index looks as good to the planner."""
    columns, own = ("account_id, status, task_key", ":account_id, ") if of_account else ("status, task_key", "")
    return (
        f"SELECT task_key FROM tasks WHERE ({columns}) > ({own}{int(status)}, :after)"
        f" AND ({columns}) < ({own}{int(status) + 1}, 0) ORDER BY {columns} LIMIT :limit"
    )
