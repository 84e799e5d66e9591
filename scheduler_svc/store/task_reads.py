"""Tasks as readers see them: the task's own row, its payload, and the lease that it has now."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from scheduler_svc.application.records import WaitsFor
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.lifecycle import RUNNING, Status
from scheduler_svc.domain.retry import Backoff
from scheduler_svc.domain.task import Progress, Task, TaskError, TaskEvent
from scheduler_svc.store.batch import Batch, array
from scheduler_svc.store.looked_up import payload
from scheduler_svc.store.rows import Statements
from scheduler_svc.store.scopes import EACH_ACCOUNT, accounts

_LATEST = 9_223_372_036_854_775_807

_COLUMNS = """
    t.task_key, t.account_id, p.topic, p.keywords, p.category, {requirements} AS requirements, p.tone, t.priority,
    t.auto_approve, coalesce(l.status, t.status) AS status, t.create_time, t.schedule_time,
    coalesce(l.claim_time, t.submit_time) AS submit_time,
    CASE WHEN l.task_key IS NULL THEN t.start_time ELSE l.start_time END AS start_time, t.end_time, l.accept_time,
    t.timeout_ms, coalesce(l.attempt, t.attempt) AS attempt, t.retry_count, t.max_retries, t.auto_retry,
    coalesce(l.worker_id, t.worker_id, '') AS worker_id, l.percent, l.step, l.message, t.error, t.content_id,
    p.labels, coalesce(p.request_id, '') AS request_id, l.fence, p.creator_options,
    t.initial_backoff_ms, t.backoff_multiplier, t.max_backoff_ms
"""
# A revoked lease only bars its task; it is not the task's any more.
_SOURCE = f"""
    FROM tasks AS t CROSS JOIN {payload("t")}
    LEFT JOIN LATERAL (SELECT * FROM leases AS x WHERE x.task_key = t.task_key AND NOT x.revoked OFFSET 0) AS l ON true
"""
_WHOLE = _COLUMNS.format(requirements="p.requirements")
_LISTED = _COLUMNS.format(requirements="''")

_THESE = "WHERE t.task_key = ANY(CAST(:keys AS bigint[]))"
_GET = sa.text(f"SELECT {_WHOLE} {_SOURCE} {_THESE}")
_GET_LISTED = sa.text(f"SELECT {_LISTED} {_SOURCE} {_THESE}")

# A task that was cleaned up, as its request_id keeps it: without its payload, and no lease is left.
_REQUESTS = Batch(account_id="bigint", request_id="text")
_CLEANED_UP = sa.text(f"""
    SELECT {_WHOLE} FROM {_REQUESTS.source} JOIN request_ids AS q USING (account_id, request_id),
        LATERAL jsonb_populate_record(CAST(NULL AS tasks), q.cleaned_task) AS t
        LEFT JOIN task_payloads AS p ON false LEFT JOIN leases AS l ON false
    WHERE q.cleaned_task IS NOT NULL
""")

_WAITS_FOR = sa.text("""
    SELECT (SELECT cause FROM delayed WHERE task_key = :task_key),
        (SELECT count(*) FROM (
            SELECT FROM leases AS l WHERE l.account_id = a.account_id LIMIT nullif(a.max_concurrent_tasks, 0)) AS l
        ) = a.max_concurrent_tasks AND a.max_concurrent_tasks > 0,
        CASE WHEN a.max_starts_per_minute > 0 THEN (
            SELECT coalesce(sum(s.n), 0) + greatest(0, q.let_in - (
                    SELECT count(*) FROM ready AS r WHERE r.account_id = a.account_id AND r.tag IS NOT NULL))
            FROM start_quotas AS q LEFT JOIN LATERAL unnest(q.times, q.counts) AS s(time, n)
                ON s.time > clock_timestamp() - interval '1 minute'
            WHERE q.account_id = a.account_id GROUP BY q.let_in
        ) >= a.max_starts_per_minute ELSE false END,
        EXISTS (SELECT FROM pauses AS p WHERE p.account_id IN (0, a.account_id)),
        EXISTS (SELECT FROM workers WHERE connected AND heard_time > now() - make_interval(secs => :ttl))
    FROM tasks AS t JOIN accounts AS a USING (account_id) WHERE t.task_key = :task_key
""")

_EXISTS = sa.text("SELECT 1 FROM tasks WHERE task_key = :task_key")
_ACCOUNTS_OF = sa.text("SELECT task_key, account_id FROM tasks WHERE task_key = ANY(CAST(:keys AS bigint[]))")
_EVENT_COLUMNS = """
    seq, task_key, previous_status, status, event_time, attempt, fence, coalesce(worker_id, ''), reason,
    coalesce(message, ''), retry_count
"""
# Both columns are compared: with `task_key = …` the order of the numbers alone would do, and the planner might walk
# through everybody's.
_EVENTS = sa.text(f"""
    SELECT {_EVENT_COLUMNS} FROM task_events
    WHERE (task_key, seq) > (:task_key, :after) AND (task_key, seq) <= (:task_key, {_LATEST})
    ORDER BY task_key, seq LIMIT :limit
""")
_HISTORIES = sa.text(f"""
    SELECT {_EVENT_COLUMNS} FROM task_events WHERE task_key = ANY(CAST(:keys AS bigint[])) ORDER BY task_key, seq
""")

# The oldest pending one: keys grow with time, and the few that are leased in front of it are stepped over.
_OLDEST = """
    SELECT extract(epoch FROM now() - t.create_time) AS age FROM tasks AS t
    WHERE {scope} t.status = 1 AND NOT EXISTS
        (SELECT FROM leases AS l WHERE l.task_key = t.task_key AND NOT l.revoked)
    ORDER BY t.task_key LIMIT 1
"""
_OLDEST_OF_ALL = sa.text(_OLDEST.format(scope=""))
_OLDEST_OF_ACCOUNTS = sa.text(f"""
    SELECT k.age FROM {EACH_ACCOUNT}, LATERAL ({_OLDEST.format(scope="t.account_id = a.own AND")}) AS k
    ORDER BY k.age DESC LIMIT 1
""")


class TaskReads(Statements):
    """Statements that read tasks whole."""

    def get(self, keys: Sequence[int]) -> dict[int, Task]:
        """These tasks by key; those that do not exist are missing."""
        return {row.task_key: _task(row) for row in self._rows(_GET, keys=array("bigint", keys))}

    def list(
        self,
        scope: Scope,
        statuses: frozenset[Status],
        labels: Mapping[str, str],
        before: int | None,
        limit: int,
    ) -> list[Task]:
        """Tasks without requirements, newest first, with keys below `before`."""
        statement, parameters = _listing(scope, statuses, labels)
        parameters |= {"before": _LATEST if before is None else before, "limit": limit}
        return [_task(row) for row in self._rows(statement, **parameters)]

    def waits_for(self, task_key: int, ttl: float) -> WaitsFor:
        """What a task, which must exist, may be waiting for."""
        return WaitsFor(*self._row(_WAITS_FOR, task_key=task_key, ttl=ttl))

    def exists(self, task_key: int) -> bool:
        """Whether there is such a task."""
        return self._row(_EXISTS, task_key=task_key) is not None

    def accounts_of(self, keys: Sequence[int]) -> dict[int, int]:
        """The accounts of these tasks by key; those that do not exist are missing."""
        return dict(self._rows(_ACCOUNTS_OF, keys=array("bigint", keys)))

    def cleaned_up(self, requests: Sequence[tuple[int, str]]) -> builtins.list[Task]:
        """The tasks of these (account, request_id) as they stood when they were cleaned up, without their payloads."""
        return [_task(row) for row in self._rows(_CLEANED_UP, **_REQUESTS.bind(requests))]

    def events(self, task_key: int, after: int, limit: int) -> builtins.list[TaskEvent]:
        """The moves of a task with numbers above `after`, oldest first."""
        rows = self._rows(_EVENTS, task_key=task_key, after=after, limit=limit)
        return [_event(row) for row in rows]

    def listed(self, keys: Sequence[int]) -> dict[int, Task]:
        """These tasks by key, without requirements; those that do not exist are missing."""
        return {row.task_key: _task(row) for row in self._rows(_GET_LISTED, keys=array("bigint", keys))}

    def histories(self, keys: Sequence[int]) -> dict[int, builtins.list[TaskEvent]]:
        """All moves of these tasks, by task, oldest first."""
        found: dict[int, builtins.list[TaskEvent]] = {}
        for row in self._rows(_HISTORIES, keys=array("bigint", keys)):
            found.setdefault(row.task_key, []).append(_event(row))
        return found

    def oldest_pending_age(self, scope: Scope) -> timedelta | None:
        """How long the oldest pending task waits; None where none does."""
        named = accounts(scope)
        row = self._row(_OLDEST_OF_ACCOUNTS if named else _OLDEST_OF_ALL, **named)
        return None if row is None else timedelta(seconds=float(row[0]))


def _listing(
    scope: Scope, statuses: frozenset[Status], labels: Mapping[str, str]
) -> tuple[sa.TextClause, dict[str, Any]]:
    """One range of an index for each account and state that is asked for, merged: a late page costs what the first one
    costs. With labels it is the range of the first label.
    """
    parameters: dict[str, Any] = accounts(scope)
    of_accounts = bool(parameters)
    for i, (name, value) in enumerate(sorted(labels.items())):
        parameters |= {f"name{i}": name, f"value{i}": value}
    if labels:
        keys = _labelled(len(labels), of_accounts, statuses)
    else:
        keys = " UNION ALL ".join(f"({part})" for part in _parts(of_accounts, statuses))
        keys = f"SELECT s.task_key FROM {EACH_ACCOUNT}, LATERAL ({keys}) AS s" if of_accounts else keys
    head = f"SELECT task_key FROM ({keys}) AS k ORDER BY task_key DESC LIMIT :limit"
    return sa.text(f"SELECT {_LISTED} {_SOURCE} WHERE t.task_key IN ({head}) ORDER BY t.task_key DESC"), parameters


def _labelled(labels: int, of_accounts: bool, statuses: frozenset[Status]) -> str:
    """Tasks with the first label, newest first; each is looked up for whatever else is asked."""
    asked = ["t.account_id = ANY(CAST(:accounts AS bigint[]))"] if of_accounts else []
    if statuses:
        asked.append("(" + " OR ".join(_stands(status) for status in sorted(statuses)) + ")")
    asked += [
        f"EXISTS (SELECT FROM task_labels AS y WHERE (y.name, y.value, y.task_key) = (:name{i}, :value{i}, t.task_key))"
        for i in range(1, labels)
    ]
    passes = f"SELECT FROM tasks AS t WHERE t.task_key = x.task_key AND {' AND '.join(asked) or 'true'} OFFSET 0"
    return (
        f"SELECT x.task_key FROM task_labels AS x WHERE EXISTS ({passes})"
        " AND (x.name, x.value, x.task_key) >= (:name0, :value0, 0)"
        " AND (x.name, x.value, x.task_key) < (:name0, :value0, :before)"
        " ORDER BY x.name DESC, x.value DESC, x.task_key DESC LIMIT :limit"
    )


def _stands(status: Status) -> str:
    if status in RUNNING:
        lease = f"l.task_key = t.task_key AND NOT l.revoked AND l.status = {int(status)}"
        return f"EXISTS (SELECT FROM leases AS l WHERE {lease})"
    own = f"t.status = {int(status)}"
    return f"({_NOT_LEASED}{own})" if status is Status.PENDING else own


def _parts(of_accounts: bool, statuses: frozenset[Status]) -> list[str]:
    """What is open is `pending` in its own row; whether it runs is said by its lease, of which there are few."""
    if not statuses:
        return [_range("", of_accounts, status) for status in _OWN_STATUSES] if of_accounts else [_ALL]
    parts = []
    for status in sorted(statuses):
        if status in RUNNING:
            parts.append(_running(of_accounts, status))
        else:
            parts.append(_range(_NOT_LEASED if status is Status.PENDING else "", of_accounts, status))
    return parts


_OWN_STATUSES = sorted(frozenset(Status) - RUNNING - {Status.NONE})
_NOT_LEASED = "NOT EXISTS (SELECT FROM leases AS l WHERE l.task_key = t.task_key AND NOT l.revoked) AND "


_ALL = "SELECT t.task_key FROM tasks AS t WHERE t.task_key < :before ORDER BY t.task_key DESC LIMIT :limit"


def _running(of_accounts: bool, status: Status) -> str:
    own = "t.account_id = a.own AND " if of_accounts else ""
    return (
        f"SELECT t.task_key FROM leases AS t WHERE {own}NOT t.revoked AND t.status = {int(status)}"
        " AND t.task_key < :before ORDER BY t.task_key DESC LIMIT :limit"
    )


def _range(condition: str, of_accounts: bool, status: Status) -> str:
    """Tasks whose own row has this status, as a range of the index that begins with what they have in common.

    With `status = …` the planner would know that the order of the keys alone is the same, and might walk past all the
    newer tasks of other states or accounts.
    """
    columns, values = ("t.account_id, ", "a.own, ") if of_accounts else ("", "")
    columns, values = f"({columns}t.status, t.task_key)", f"({values}{int(status)}, {{}})"
    return (
        f"SELECT t.task_key FROM tasks AS t WHERE {condition}{columns} >= {values.format(0)}"
        f" AND {columns} < {values.format(':before')}"
        f" ORDER BY {columns.strip('()').replace(',', ' DESC,')} DESC LIMIT :limit"
    )


def _event(row: Any) -> TaskEvent:
    seq, task_key, previous_status, status, *rest = row
    return TaskEvent(seq, task_key, Status(previous_status), Status(status), *rest)


def _task(row: Any) -> Task:
    accept_time: datetime | None = row.accept_time
    timeout = timedelta(milliseconds=row.timeout_ms)
    error = row.error
    return Task(
        task_key=row.task_key,
        account_id=row.account_id,
        topic=row.topic,
        keywords=row.keywords,
        category=row.category,
        requirements=row.requirements,
        tone=row.tone,
        priority=row.priority,
        auto_approve=row.auto_approve,
        status=Status(row.status),
        create_time=row.create_time,
        schedule_time=row.schedule_time,
        submit_time=row.submit_time,
        start_time=row.start_time,
        end_time=row.end_time,
        timeout_time=None if accept_time is None else accept_time + timeout,
        timeout=timeout,
        attempt=row.attempt,
        retry_count=row.retry_count,
        max_retries=row.max_retries,
        auto_retry=row.auto_retry,
        worker_id=row.worker_id,
        progress=None if row.percent is None else Progress(row.percent, row.step or "", row.message or ""),
        error=None if error is None else TaskError(error["reason"], error["message"], error["details"]),
        content_id=row.content_id or 0,
        labels=row.labels or {},
        request_id=row.request_id,
        fence=row.fence,
        creator_options=row.creator_options or {},
        backoff=Backoff(row.initial_backoff_ms, row.backoff_multiplier, row.max_backoff_ms),
    )
