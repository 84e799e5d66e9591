"""Tasks: inserts them, ends their attempts, reads the columns that decisions need; what attempts printed."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from scheduler_svc.database.batch import Insert, UnnestedRows, array
from scheduler_svc.database.statements import Statements, task
from scheduler_svc.domain.lease import LeaseEnd
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import TEXTS, AttemptLog, PayloadRow, RunOutput, Task, trace_id
from scheduler_svc.leases.rows import AttemptLogRow, EndedAttempt, TaskRow
from scheduler_svc.schema.payloads import PAYLOADS, TRACED_PAYLOADS, entries, stored, stored_traced
from scheduler_svc.tasks.rows import LabelRow, NewTaskRow

_MILLISECOND = timedelta(milliseconds=1)

TASKS = Insert(
    "tasks",
    task_key="bigint",
    account_id="bigint",
    status="smallint",
    priority="smallint",
    auto_approve="boolean",
    auto_retry="boolean",
    max_retries="smallint",
    timeout_ms="bigint",
    schedule_time="timestamptz",
    initial_backoff_ms="bigint",
    backoff_multiplier="float8",
    max_backoff_ms="bigint",
)
"""Inserts pending tasks."""
LABELS = Insert("task_labels", name="text", value="text", task_key="bigint")
"""Inserts the labels of tasks."""

# An attempt that began and ended otherwise than by a deferral left an error.
DECISION_COLUMNS = """
    task_key, account_id, status, priority, retry_count, max_retries, auto_retry, losses, refusals, deferrals,
    timeout_ms, attempt, fence, lease_end, coalesce(worker_id, ''),
    initial_backoff_ms, backoff_multiplier, max_backoff_ms,
    CASE WHEN error IS NULL AND deferrals = 0 THEN expire_time END
"""
_READ_TASKS = sa.text(f"SELECT {DECISION_COLUMNS} FROM tasks WHERE task_key = ANY(CAST(:keys AS bigint[]))")
"""Reads the columns that decisions about tasks need."""
_LOCK_TASKS = sa.text(
    f"SELECT {DECISION_COLUMNS} FROM tasks WHERE task_key = ANY(CAST(:keys AS bigint[])) ORDER BY task_key"
    " FOR NO KEY UPDATE"
)
"""Locks tasks, and reads the same columns."""

_LOCK_FREE_TASKS = sa.text(f"{_LOCK_TASKS.text} SKIP LOCKED")
"""The same, without tasks that another session has locked."""

_ENDED = UnnestedRows(
    task_key="bigint",
    attempt="integer",
    fence="integer",
    lease_end="smallint",
    status="smallint",
    worker_id="text",
    submit_time="timestamptz",
    start_time="timestamptz",
    retry_count="smallint",
    losses="smallint",
    refusals="smallint",
    deferrals="smallint",
    error="jsonb",
)

# `+ 0`: not by the index of statuses, which by old statistics holds nothing pending. Fenced: ends only open tasks, and
# only attempts newer than the last one that ended.
_END_ATTEMPTS = sa.text(f"""
    UPDATE tasks AS t SET
        attempt = r.attempt, fence = r.fence, lease_end = r.lease_end, status = r.status, worker_id = r.worker_id,
        submit_time = r.submit_time, start_time = r.start_time,
        end_time = CASE WHEN r.status = {Status.PENDING} THEN NULL ELSE now() END,
        retry_count = r.retry_count, losses = r.losses, refusals = r.refusals, deferrals = r.deferrals,
        error = coalesce(r.error, t.error)
    FROM {_ENDED.source}, {task("r", "target")}
    WHERE t.ctid = target.ctid AND t.status + 0 = {Status.PENDING} AND t.attempt < r.attempt
""")
"""Ends attempts that did not complete, and moves their tasks."""

# The caller has removed the tasks from `ready` or `delayed`. `+ 0`: they are found by their keys.
_CANCEL_WAITING = sa.text(f"""
    UPDATE tasks SET status = {Status.CANCELLED}, end_time = now(), error = CAST(:error AS jsonb)
    WHERE task_key = ANY(CAST(:keys AS bigint[])) AND status + 0 = {Status.PENDING}
""")
"""Cancels waiting tasks."""

# Only if the status is still the one that the caller read under the row's lock.
_RETRY_TASK = sa.text(f"""
    UPDATE tasks SET status = {Status.PENDING}, end_time = NULL, retry_count = :retry_count, losses = 0, refusals = 0,
        deferrals = 0
    WHERE task_key = :task_key AND status = :status
""")
"""Retries a task."""

_REGENERATE = sa.text("""
    UPDATE task_payloads SET regenerates_content_id = :content_id WHERE task_key = :task_key
""")
"""Says which content a new task writes anew."""

_UPDATE_TASK = sa.text(f"""
    UPDATE tasks SET priority = :priority, auto_approve = :auto_approve, auto_retry = :auto_retry,
        max_retries = :max_retries, timeout_ms = :timeout_ms, schedule_time = :schedule_time,
        expire_time = :expire_time
    WHERE task_key = :task_key AND status = {Status.PENDING}
""")
"""Updates a waiting task."""
_UPDATE_PAYLOAD = sa.text(f"""
    UPDATE task_payloads SET {", ".join(f"{name} = :{name}" for name in TEXTS)}, labels = CAST(:labels AS jsonb)
    WHERE task_key = :task_key
""")
"""Updates the texts and labels of a task."""
_DELETE_LABELS = sa.text("""
    DELETE FROM task_labels WHERE (name, value, task_key) IN (
        SELECT name, value, CAST(:task_key AS bigint)
        FROM unnest(CAST(:names AS text[]), CAST(:values AS text[])) AS r(name, value))
""")
"""Deletes the labels that a task had."""
_TRACEPARENTS = sa.text("""
    SELECT task_key, traceparent FROM task_payloads
    WHERE task_key = ANY(CAST(:keys AS bigint[])) AND traceparent IS NOT NULL
""")
"""Reads the traces of some tasks."""


class Tasks(Statements):
    def insert(self, tasks: Sequence[NewTaskRow], payloads: Sequence[PayloadRow], labels: Sequence[LabelRow]) -> None:
        self._session.insert(TASKS, tasks)
        if any(payload.trace for payload in payloads):
            self._session.insert(TRACED_PAYLOADS, [stored_traced(payload) for payload in payloads])
        else:
            self._session.insert(PAYLOADS, [stored(payload) for payload in payloads])
        self._session.insert(LABELS, labels)

    def regenerate(self, task_key: int, content_id: int) -> None:
        self._run(_REGENERATE, task_key=task_key, content_id=content_id)

    def traces(self, keys: Sequence[int]) -> dict[int, str]:
        """Returns the ids of the traces of those of these tasks that belong to one."""
        return {key: trace_id(parent) for key, parent in self._rows(_TRACEPARENTS, keys=array("bigint", keys))}

    def peek(self, keys: Sequence[int]) -> dict[int, TaskRow]:
        """Returns the columns of these tasks that decisions need, without a lock."""
        return self._decisions(_READ_TASKS, keys)

    def lock(self, keys: Sequence[int], *, skip_locked: bool = False) -> dict[int, TaskRow]:
        """Returns the same as `peek`, locked by ascending key; `skip_locked`: without rows that others have locked."""
        return self._decisions(_LOCK_FREE_TASKS if skip_locked else _LOCK_TASKS, keys)

    def _decisions(self, statement: sa.TextClause, keys: Sequence[int]) -> dict[int, TaskRow]:
        rows = self._rows(statement, keys=array("bigint", keys))
        return {row[0]: task_row(row) for row in rows}

    def end_attempts(self, rows: Sequence[EndedAttempt]) -> int:
        """Ends attempts that did not complete; returns how many rows changed, which must be all."""
        return self._run(_END_ATTEMPTS, **_ENDED.bind(rows))

    def cancel_waiting(self, keys: Sequence[int], error: str) -> int:
        """Cancels tasks that no lease holds; returns how many. `error` is a JSON document."""
        return self._run(_CANCEL_WAITING, keys=array("bigint", keys), error=error)

    def retry(self, task_key: int, status: Status, retry_count: int) -> int:
        """Puts a failed or timed out task back to pending; losses, refusals and deferrals start anew."""
        return self._run(_RETRY_TASK, task_key=task_key, status=int(status), retry_count=retry_count)

    def update(self, task: Task) -> int:
        """Updates the row of a task that waits, as UpdateTask changes it; returns how many rows changed: 1."""
        return self._run(
            _UPDATE_TASK,
            task_key=task.task_key,
            priority=task.priority,
            auto_approve=task.auto_approve,
            auto_retry=task.auto_retry,
            max_retries=task.max_retries,
            timeout_ms=task.timeout // _MILLISECOND,
            schedule_time=task.schedule_time,
            expire_time=task.expire_time,
        )

    def update_payload(self, before: Task, after: Task) -> None:
        key, labels = after.task_key, after.labels
        texts = dict(zip(TEXTS, after.brief.texts, strict=True))
        self._run(_UPDATE_PAYLOAD, task_key=key, labels=entries(labels), **texts)
        if before.labels != labels:
            names, values = array("text", before.labels), array("text", before.labels.values())
            self._run(_DELETE_LABELS, task_key=key, names=names, values=values)
            self._session.insert(LABELS, [LabelRow(name, value, key) for name, value in labels.items()])


def task_row(row: Any) -> TaskRow:
    task = TaskRow(*row)
    return task._replace(status=Status(task.status), lease_end=LeaseEnd(task.lease_end))


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
_LIST_LOGS = sa.text("""
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
        """Returns the output of a task's attempts above `after`, oldest first."""
        rows = self._rows(_LIST_LOGS, task_key=task_key, after=after, limit=limit)
        return [AttemptLog(attempt, worker, end, RunOutput(*output)) for attempt, worker, end, *output in rows]
