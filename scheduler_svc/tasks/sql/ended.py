"""Tasks that have ended, which bulk calls move and delete many at a time; polls, and how polled attempts ended."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import sqlalchemy as sa

from scheduler_svc.database.batch import UnnestedRows, array
from scheduler_svc.database.statements import Statements, account_filter
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.worker import AttemptCount, RunningAttempt
from scheduler_svc.leases.rows import TaskRow
from scheduler_svc.tasks.sql.cleaned import KEEP
from scheduler_svc.tasks.sql.tasks import DECISION_COLUMNS, task_row

_THESE = "t.task_key = ANY(CAST(:keys AS bigint[]))"

# `+ 0`: tasks are found by their keys, whatever the statistics say of a status. Skips locked tasks: another call is
# moving them.
_RETRYABLE = f"""
    t.status + 0 IN ({Status.FAILED}, {Status.TIMEOUT}) AND (CAST(:reset AS boolean) OR t.retry_count < t.max_retries)
"""
_LOCK_RETRYABLE = sa.text(f"""
    SELECT {DECISION_COLUMNS} FROM tasks AS t WHERE {_THESE} AND {_RETRYABLE}
    ORDER BY t.task_key FOR NO KEY UPDATE SKIP LOCKED
""")
"""Locks tasks that BulkRetryTasks may retry."""
_RETRY_TASKS = sa.text(f"""
    UPDATE tasks AS t
    SET status = {Status.PENDING}, end_time = NULL, losses = 0, refusals = 0, deferrals = 0,
        retry_count = least(CASE WHEN CAST(:reset AS boolean) THEN 0 ELSE t.retry_count END + 1, t.max_retries)
    WHERE {_THESE} AND {_RETRYABLE}
""")
"""Retries locked tasks."""

# A task that ended while its worker is still being stopped stays until its revoked lease is gone.
_ENDED = "t.end_time <= :until AND NOT EXISTS (SELECT FROM leases AS l WHERE l.task_key = t.task_key)"
_LOCK_ENDED = sa.text(
    f"SELECT t.task_key FROM tasks AS t WHERE {_THESE} AND {_ENDED} ORDER BY t.task_key FOR UPDATE SKIP LOCKED"
)
"""Locks tasks that CleanupTasks may delete."""

# Labels are found by their own key, which begins with the name.
_DELETE_LABELS = sa.text("""
    DELETE FROM task_labels AS x
    USING (SELECT p.task_key, e.key, e.value FROM task_payloads AS p, jsonb_each_text(p.labels) AS e
        WHERE p.task_key = ANY(CAST(:keys AS bigint[]))) AS d, LATERAL (
        SELECT ctid FROM task_labels AS y
        WHERE (y.name, y.value, y.task_key) = (d.key, d.value, d.task_key) OFFSET 0) AS target
    WHERE x.ctid = target.ctid
""")
"""Deletes the labels of tasks."""
# A request_id is remembered for a week, even if its task is deleted; then with the last state of the task.
_REMEMBERED = "interval '7 days'"
_OWN_REQUEST = f"""
    FROM tasks AS t JOIN task_payloads AS p ON p.task_key = t.task_key, LATERAL (
        SELECT x.account_id, x.request_id FROM request_ids AS x
        WHERE x.account_id = t.account_id AND x.request_id = p.request_id AND x.task_key = t.task_key OFFSET 0) AS own
    WHERE {_THESE} AND q.account_id = own.account_id AND q.request_id = own.request_id
"""
_KEEP_FOR_REQUESTS = sa.text(f"UPDATE request_ids AS q SET {KEEP} {_OWN_REQUEST}")
"""Keeps the last state of tasks for their request ids."""
# Watchers learn which moves are deleted. `+ 0`: a task's last number is read from its own history, not from the index
# of all histories. The tasks are locked, so their histories do not grow meanwhile.
_MARK_CLEANED = sa.text(f"""
    INSERT INTO cleaned_events AS c (account_id, seq)
    SELECT t.account_id, max(e.seq) FROM tasks AS t, LATERAL (
        SELECT max(x.seq + 0) AS seq FROM task_events AS x WHERE x.task_key = t.task_key OFFSET 0) AS e
    WHERE {_THESE} AND e.seq IS NOT NULL
    GROUP BY t.account_id ORDER BY t.account_id
    ON CONFLICT (account_id) DO UPDATE SET seq = greatest(c.seq, excluded.seq)
""")
"""Stores up to which number the moves of accounts are deleted."""
_DELETE_TASKS = sa.text("""
    WITH payloads AS (DELETE FROM task_payloads WHERE task_key = ANY(CAST(:keys AS bigint[]))),
    events AS (DELETE FROM task_events WHERE task_key = ANY(CAST(:keys AS bigint[]))),
    logs AS (DELETE FROM attempt_logs WHERE task_key = ANY(CAST(:keys AS bigint[]))),
    scheduled AS (DELETE FROM schedule_tasks WHERE task_key = ANY(CAST(:keys AS bigint[]))),
    unique_keys AS (DELETE FROM unique_keys WHERE task_key = ANY(CAST(:keys AS bigint[]))),
    gone AS (DELETE FROM tasks WHERE task_key = ANY(CAST(:keys AS bigint[])) RETURNING account_id, status)
    SELECT account_id, status, count(*) FROM gone GROUP BY account_id, status
""")
"""Deletes tasks with their payloads, history and logs."""
# It begins where the batch before it ended: what that one deleted stands in the index until a vacuum.
_FORGET_REQUESTS = sa.text(f"""
    DELETE FROM request_ids WHERE (account_id, request_id) IN (
        SELECT account_id, request_id FROM request_ids
        WHERE end_time IS NOT NULL AND create_time >= coalesce(CAST(:since AS timestamptz), '-infinity')
            AND create_time < now() - {_REMEMBERED}
        ORDER BY create_time LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING create_time
""")
"""Deletes request ids of tasks that were deleted long ago."""


class EndedTasks(Statements):
    """Statements on tasks that have ended. Each is bounded by its keys or its limit."""

    def lock_retryable(self, keys: Sequence[int], reset: bool) -> list[TaskRow]:
        """Returns those of these tasks that may be retried, locked, oldest first. `reset`: even if no retry is left."""
        return [task_row(row) for row in self._rows(_LOCK_RETRYABLE, keys=array("bigint", keys), reset=reset)]

    def retry(self, keys: Sequence[int], reset: bool) -> int:
        """Puts locked tasks back to pending, with one retry more, or, with `reset`, with their first.

        Returns how many moved, which must be all.
        """
        return self._run(_RETRY_TASKS, keys=array("bigint", keys), reset=reset)

    def lock(self, keys: Sequence[int], until: datetime) -> list[int]:
        """Returns those of these tasks that ended at `until` or earlier and have no lease, locked."""
        return [row[0] for row in self._rows(_LOCK_ENDED, keys=array("bigint", keys), until=until)]

    def delete(self, keys: Sequence[int]) -> dict[tuple[int, Status], int]:
        """Deletes locked tasks with payload, labels, history and logs; returns how many, by account and status.

        Their last state is kept with their request ids, to answer repeated submits.
        """
        key_array = array("bigint", keys)
        self._run(_DELETE_LABELS, keys=key_array)
        self._run(_KEEP_FOR_REQUESTS, keys=key_array)
        self._run(_MARK_CLEANED, keys=key_array)
        return {(account_id, Status(status)): n for account_id, status, n in self._rows(_DELETE_TASKS, keys=key_array)}

    def forget_requests(self, since: datetime | None, limit: int) -> list[datetime]:
        """Deletes the oldest request ids of `since` or later, and of more than a week ago, whose tasks were cleaned up.

        Returns when each of them was made.
        """
        return [row[0] for row in self._rows(_FORGET_REQUESTS, since=since, limit=limit)]


_RUNNING = sa.text("""
    SELECT task_key, attempt, worker_id FROM leases
    WHERE NOT revoked AND (CAST(:accounts AS bigint[]) IS NULL OR account_id = ANY(CAST(:accounts AS bigint[])))
""")
"""Reads the attempts that workers hold."""
_RUNNING_OF_TASK = sa.text("SELECT task_key, attempt, worker_id FROM leases WHERE task_key = :task_key AND NOT revoked")
"""Reads the attempt of a task that a worker holds."""

# The number is drawn after the attempts were read, and before the poll is sent: a worker that answers it, or a later
# one, has checked its runs after that. Of two concurrent polls, the one that commits last does not lower the number.
_REQUEST_POLL_SQL = """
    WITH poll AS MATERIALIZED (SELECT nextval('poll_seq') AS number),
    requested AS MATERIALIZED (
        SELECT worker_id FROM workers WHERE worker_id = ANY(CAST(:workers AS text[]))
        ORDER BY worker_id FOR NO KEY UPDATE {skip}
    ),
    noted AS (
        UPDATE workers AS w SET requested_poll = greatest(w.requested_poll, poll.number), poll_time = now()
        FROM poll, requested WHERE w.worker_id = requested.worker_id
    )
    SELECT number FROM poll
"""
_REQUEST_POLL = sa.text(_REQUEST_POLL_SQL.format(skip=""))
"""Draws the number of a poll, and stores which workers it polls."""
_REQUEST_FREE_POLL = sa.text(_REQUEST_POLL_SQL.format(skip="SKIP LOCKED"))
"""The same, without workers that another session has locked."""

# Only a poll that was requested can be answered: a restored database numbers its polls anew.
_ANSWERS = UnnestedRows(worker_id="text", poll="bigint")
_RECORD_ANSWERS = sa.text(f"""
    UPDATE workers AS w SET answered_poll = r.poll
    FROM {_ANSWERS.source} WHERE w.worker_id = r.worker_id AND r.poll > w.answered_poll AND r.poll <= w.requested_poll
    RETURNING w.worker_id, w.answered_poll
""")
"""Stores which polls workers have answered."""

_ANSWERED = sa.text("""
    SELECT worker_id FROM workers WHERE worker_id = ANY(CAST(:workers AS text[])) AND answered_poll >= :poll
""")
"""Finds workers that have answered a poll."""

# An attempt that ended and whose late result was accepted has two ends: the later one counts. `+ 0` keeps the planner
# from reading the index of all numbers in its order.
_ATTEMPTS = UnnestedRows(task_key="bigint", attempt="integer", worker_id="text")
_ATTEMPT_COUNTS = sa.text(f"""
    SELECT worker_id, status, count(*) FROM (
        SELECT r.worker_id, CASE
            WHEN EXISTS (SELECT FROM leases AS l
                WHERE l.task_key = r.task_key AND l.attempt = r.attempt AND NOT l.revoked) THEN {Status.SUBMITTED}
            ELSE coalesce((SELECT e.status FROM task_events AS e
                WHERE e.task_key = r.task_key AND e.attempt = r.attempt
                    AND e.status IN ({Status.COMPLETED}, {Status.FAILED}, {Status.TIMEOUT})
                ORDER BY e.seq + 0 DESC LIMIT 1), {Status.NONE})
            END AS status
        FROM {_ATTEMPTS.source}
    ) AS ends GROUP BY worker_id, status
""")
"""Counts attempts by worker and by how they ended."""


class Polls(Statements):
    """Statements about polls, on `workers`, `leases` and `task_events`."""

    def running(self, scope: Scope) -> list[RunningAttempt]:
        return self._all(RunningAttempt, _RUNNING, accounts=account_filter(scope))

    def running_of_task(self, task_key: int) -> list[RunningAttempt]:
        return self._all(RunningAttempt, _RUNNING_OF_TASK, task_key=task_key)

    def request(self, workers: Collection[str], *, skip_locked: bool = False) -> int:
        """Records that these workers are polled; returns the poll's number.

        `skip_locked`: except those whose row another session has locked.
        """
        number: int = self._row(_REQUEST_FREE_POLL if skip_locked else _REQUEST_POLL, workers=array("text", workers))[0]
        return number

    def record_answers(self, answers: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        """Records the last poll that each worker has answered, and with it all before; returns those that are new."""
        return [(worker_id, poll) for worker_id, poll in self._rows(_RECORD_ANSWERS, **_ANSWERS.bind(answers))]

    def answered(self, workers: Collection[str], poll: int) -> set[str]:
        """Returns those of these workers that have answered that poll or a later one."""
        return {worker_id for (worker_id,) in self._rows(_ANSWERED, workers=array("text", workers), poll=poll)}

    def attempt_counts(self, attempts: Sequence[RunningAttempt]) -> list[AttemptCount]:
        """Counts these attempts by worker and by how they ended."""
        rows = self._rows(_ATTEMPT_COUNTS, **_ATTEMPTS.bind(attempts))
        return [AttemptCount(worker_id, Status(status), attempts) for worker_id, status, attempts in rows]
