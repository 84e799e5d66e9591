"""Polls: the attempts that workers hold, requests and answers of polls, and how these attempts ended."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from scheduler_svc.application.records import PollAnswer
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.poll import AttemptCount, RunningAttempt
from scheduler_svc.store.engine.access_paths import account_filter
from scheduler_svc.store.engine.batch import UnnestedRows, array
from scheduler_svc.store.engine.rows import Statements

_RUNNING = sa.text("""
    SELECT task_key, attempt, worker_id FROM leases
    WHERE NOT revoked AND (CAST(:accounts AS bigint[]) IS NULL OR account_id = ANY(CAST(:accounts AS bigint[])))
""")
"""Reads the attempts that workers hold."""
_RUNNING_OF_TASK = sa.text("SELECT task_key, attempt, worker_id FROM leases WHERE task_key = :task_key AND NOT revoked")
"""Reads the attempt of a task that a worker holds."""

# The number is drawn after the attempts were read, and before the poll is sent: a worker that answers it, or a later
# one, has checked its runs after that. Of two concurrent polls, the one that commits last does not lower the number.
_REQUEST_SQL = """
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
_REQUEST = sa.text(_REQUEST_SQL.format(skip=""))
"""Draws the number of a poll, and stores which workers it polls."""
_REQUEST_FREE = sa.text(_REQUEST_SQL.format(skip="SKIP LOCKED"))
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
        """The attempts that workers hold."""
        return [RunningAttempt(*row) for row in self._rows(_RUNNING, accounts=account_filter(scope))]

    def running_of_task(self, task_key: int) -> list[RunningAttempt]:
        """The attempt of a task that a worker holds, if any."""
        return [RunningAttempt(*row) for row in self._rows(_RUNNING_OF_TASK, task_key=task_key)]

    def request(self, workers: Collection[str], *, skip_locked: bool = False) -> int:
        """Records that these workers are polled; returns the poll's number.

        `skip_locked`: except those whose row another session has locked.
        """
        number: int = self._row(_REQUEST_FREE if skip_locked else _REQUEST, workers=array("text", workers))[0]
        return number

    def record_answers(self, answers: Sequence[PollAnswer]) -> list[PollAnswer]:
        """Records answers, one a worker; returns those that are new."""
        return [PollAnswer(*row) for row in self._rows(_RECORD_ANSWERS, **_ANSWERS.bind(answers))]

    def answered(self, workers: Collection[str], poll: int) -> set[str]:
        """Those of these workers that have answered that poll or a later one."""
        return {worker_id for (worker_id,) in self._rows(_ANSWERED, workers=array("text", workers), poll=poll)}

    def attempt_counts(self, attempts: Sequence[RunningAttempt]) -> list[AttemptCount]:
        """Counts these attempts by worker and by how they ended."""
        found = self._rows(_ATTEMPT_COUNTS, **_ATTEMPTS.bind(attempts))
        return [AttemptCount(worker_id, Status(status), attempts) for worker_id, status, attempts in found]
