"""What the CLI printed in the attempts of tasks: bounded texts of a bounded number of attempts."""

from __future__ import annotations

import builtins
from collections.abc import Sequence

import sqlalchemy as sa

from scheduler_svc.application.records import AttemptLogRow
from scheduler_svc.domain.task import AttemptLog, RunOutput
from scheduler_svc.store.engine.batch import Insert, UnnestedRows
from scheduler_svc.store.engine.rows import Statements

MAX_LOGGED_ATTEMPTS = 20
"""Attempts of a task whose output is kept: the newest."""

_LOGS = Insert(
    "attempt_logs",
    task_key="bigint",
    attempt="integer",
    worker_id="text",
    stdout="text",
    stderr="text",
    stdout_truncated="boolean",
    stderr_truncated="boolean",
)
"""Inserts the output of attempts."""
_TOO_OLD = UnnestedRows(task_key="bigint", attempt="integer")
_DELETE_OLD = sa.text(f"""
    DELETE FROM attempt_logs AS x USING {_TOO_OLD.source} WHERE x.task_key = r.task_key AND x.attempt <= r.attempt
""")
"""Deletes the output of the oldest attempts of tasks."""
_LIST = sa.text("""
    SELECT attempt, worker_id, end_time, stdout, stderr, stdout_truncated, stderr_truncated FROM attempt_logs
    WHERE task_key = :task_key AND attempt > :after ORDER BY attempt LIMIT :limit
""")
"""Reads a page of the output of a task's attempts."""


class AttemptLogs(Statements):
    def insert(self, rows: Sequence[AttemptLogRow]) -> None:
        """Stores the output of attempts that end, and deletes what is too old of these tasks."""
        self._session.insert(_LOGS, rows)
        old = [(row.task_key, row.attempt - MAX_LOGGED_ATTEMPTS) for row in rows if row.attempt > MAX_LOGGED_ATTEMPTS]
        if old:
            self._run(_DELETE_OLD, **_TOO_OLD.bind(old))

    def list(self, task_key: int, after: int, limit: int) -> builtins.list[AttemptLog]:
        """The output of a task's attempts above `after`, oldest first."""
        rows = self._rows(_LIST, task_key=task_key, after=after, limit=limit)
        return [AttemptLog(attempt, worker, end, RunOutput(*output)) for attempt, worker, end, *output in rows]
