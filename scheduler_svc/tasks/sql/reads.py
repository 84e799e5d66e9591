"""Tasks as readers see them: the task's own row, its payload, and the lease that it has now."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from scheduler_svc.database.batch import UnnestedRows, array
from scheduler_svc.database.statements import EACH_ACCOUNT, Page, Statements, accounts, payload
from scheduler_svc.dispatch.sql.selectors import served
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.ids import KEY_MAX
from scheduler_svc.domain.lifecycle import ENDED, RetryBackoff, Status
from scheduler_svc.domain.task import AttemptProgress, EndPlace, Task, TaskError, TaskEvent, TaskFilter, TraceContext
from scheduler_svc.schema.payloads import BRIEF, BRIEF_WIDTH, LISTED_BRIEF, brief
from scheduler_svc.tasks.rows import FoundTasks, WaitsFor
from scheduler_svc.tasks.sql import lists
from scheduler_svc.tasks.sql.cleaned import CLEANED_TASK
from scheduler_svc.tasks.sql.lists import ListQuery, Span

_COLUMNS = """
    {brief}, t.task_key, t.account_id, t.priority, t.auto_approve,
    coalesce(l.status, t.status) AS status, t.create_time, t.schedule_time,
    coalesce(l.claim_time, t.submit_time) AS submit_time,
    CASE WHEN l.task_key IS NULL THEN t.start_time ELSE l.start_time END AS start_time, t.end_time, l.accept_time,
    t.timeout_ms, coalesce(l.attempt, t.attempt) AS attempt, t.retry_count, t.max_retries, t.auto_retry,
    coalesce(l.worker_id, t.worker_id, '') AS worker_id, l.percent, l.step, l.message, t.error, t.content_id,
    p.labels, coalesce(p.request_id, '') AS request_id, l.fence,
    t.initial_backoff_ms, t.backoff_multiplier, t.max_backoff_ms, t.schedule_id, p.regenerates_content_id,
    t.expire_time, p.unique_key, p.unique_for_ms, p.traceparent, p.tracestate, p.worker_selector
"""
# A revoked lease only bars its task; it is not the task's any more.
_SOURCE = f"""
    FROM tasks AS t CROSS JOIN {payload("t")}
    LEFT JOIN LATERAL (SELECT * FROM leases AS x WHERE x.task_key = t.task_key AND NOT x.revoked OFFSET 0) AS l ON true
"""
_WHOLE = _COLUMNS.format(brief=BRIEF)
_LISTED = _COLUMNS.format(brief=LISTED_BRIEF)

_THESE = "WHERE t.task_key = ANY(CAST(:keys AS bigint[]))"
_GET_TASKS = sa.text(f"SELECT {_WHOLE} {_SOURCE} {_THESE}")
"""Reads tasks whole."""
_GET_LISTED = sa.text(f"SELECT {_LISTED} {_SOURCE} {_THESE}")
"""Reads tasks without their requirements."""

# A task that was cleaned up, as its request_id keeps it: without its payload, and no lease is left.
_REQUESTS = UnnestedRows(account_id="bigint", request_id="text")
_CLEANED_UP = sa.text(f"""
    SELECT {_WHOLE} FROM {_REQUESTS.source} JOIN request_ids AS q USING (account_id, request_id),
        LATERAL {CLEANED_TASK} AS t
        LEFT JOIN task_payloads AS p ON false LEFT JOIN leases AS l ON false
    WHERE q.end_time IS NOT NULL
""")
"""Reads deleted tasks as their request ids keep them."""

_QUEUE = "coalesce((SELECT r.priority FROM ready AS r WHERE r.task_key = t.task_key), 0)"
_WAITS_FOR = sa.text(f"""
    SELECT (SELECT cause FROM delayed WHERE task_key = :task_key),
        (SELECT count(*) FROM (
            SELECT FROM leases AS l WHERE l.account_id = a.account_id LIMIT nullif(a.max_concurrent_tasks, 0)) AS l
        ) = a.max_concurrent_tasks AND a.max_concurrent_tasks > 0,
        CASE WHEN a.max_starts_per_minute > 0 THEN (
            SELECT coalesce(sum(s.n), 0) + greatest(0, q.tagged - (
                    SELECT count(*) FROM ready AS r WHERE r.account_id = a.account_id AND r.tag IS NOT NULL))
            FROM start_quotas AS q LEFT JOIN LATERAL unnest(q.times, q.counts) AS s(time, n)
                ON s.time > clock_timestamp() - interval '1 minute'
            WHERE q.account_id = a.account_id GROUP BY q.tagged
        ) >= a.max_starts_per_minute ELSE false END,
        EXISTS (SELECT FROM pauses AS p WHERE p.account_id IN (0, a.account_id) AND p.by_operator),
        (SELECT budget_until FROM pauses AS p WHERE p.account_id = a.account_id),
        EXISTS (SELECT FROM workers WHERE connected AND heartbeat_time > now() - make_interval(secs => :ttl)),
        {served(_QUEUE, "make_interval(secs => :ttl)")},
        (SELECT due_time FROM delayed WHERE task_key = :task_key)
    FROM tasks AS t JOIN accounts AS a USING (account_id) WHERE t.task_key = :task_key
""")
"""Reads what a task may be waiting for."""

_ACCOUNTS_OF = sa.text("SELECT task_key, account_id FROM tasks WHERE task_key = ANY(CAST(:keys AS bigint[]))")
"""Reads the accounts of some tasks."""
_EVENT_COLUMNS = """
    seq, task_key, previous_status, status, event_time, attempt, fence, coalesce(worker_id, ''), reason,
    coalesce(message, ''), retry_count
"""
# Both columns are compared: with `task_key = …` the order of the numbers alone would do, and the planner might walk
# through everybody's.
_PAGE_OF_EVENTS = sa.text(f"""
    SELECT {_EVENT_COLUMNS} FROM task_events
    WHERE (task_key, seq) > (:task_key, :after) AND (task_key, seq) <= (:task_key, {KEY_MAX})
    ORDER BY task_key, seq LIMIT :limit
""")
"""Reads a page of a task's history."""
_HISTORIES = sa.text(f"""
    SELECT {_EVENT_COLUMNS} FROM task_events WHERE task_key = ANY(CAST(:keys AS bigint[])) ORDER BY task_key, seq
""")
"""Reads the histories of tasks."""

# Keys grow with time, so the first pending one is the oldest. The few leased ones before it are skipped.
_OLDEST = f"""
    SELECT extract(epoch FROM now() - t.create_time) AS age FROM tasks AS t
    WHERE {{scope}} t.status = {Status.PENDING} AND NOT EXISTS
        (SELECT FROM leases AS l WHERE l.task_key = t.task_key AND NOT l.revoked)
    ORDER BY t.task_key LIMIT 1
"""
_OLDEST_OF_ALL = sa.text(_OLDEST.format(scope=""))
"""Reads the age of the oldest pending task."""
_OLDEST_OF_ACCOUNTS = sa.text(f"""
    SELECT k.age FROM {EACH_ACCOUNT}, LATERAL ({_OLDEST.format(scope="t.account_id = a.own AND")}) AS k
    ORDER BY k.age DESC LIMIT 1
""")
"""Reads the age of the oldest pending task of some accounts."""


class TaskReads(Statements):
    def get(self, keys: Sequence[int]) -> dict[int, Task]:
        """Returns these tasks by key; those that do not exist are missing."""
        return {row.task_key: _task(row) for row in self._named_rows(_GET_TASKS, keys=array("bigint", keys))}

    def list(
        self, wanted: TaskFilter, behind: int | None, limit: int, *, oldest_first: bool = False
    ) -> Page[Task, int]:
        """Returns the tasks without requirements behind that key, newest or oldest first; `rest` is a key.

        Returns at most `limit`: fewer, with more to come, if it would have to examine too many that do not match.
        """
        span = self._span(wanted).behind(behind, oldest_first=oldest_first)
        query = ListQuery.of(wanted, oldest_first=oldest_first)
        walk, read = self._walk(query, wanted, span)
        rows = list(self._named_rows(_page(query, walk), **lists.values(wanted), **read._asdict(), limit=limit))
        return Page([_task(row) for row in rows], span.unread(read) if len(rows) < limit else None)

    def list_ended(
        self, wanted: TaskFilter, behind: EndPlace | None, limit: int, *, first_ended: bool = False
    ) -> Page[Task, EndPlace]:
        """Returns those that have ended, as `list` does, by their ends: the last or the first of them first."""
        filtered = ListQuery.of(wanted, oldest_first=first_ended) != ListQuery(oldest_first=first_ended)
        wanted = replace(wanted, statuses=(wanted.statuses or ENDED) & ENDED)
        if not wanted.statuses:
            return Page([], None)
        query, span = ListQuery.of(wanted, oldest_first=first_ended), self._span(wanted)
        first, last = (lists.FIRST_END, lists.LAST_END) if first_ended else (lists.LAST_END, lists.FIRST_END)
        place = (behind or first)._asdict()
        walk, read = self._examined(query, wanted, span) if filtered else (None, span)
        if filtered and read != span:
            walk, skipped = None, lists.MAX_EXAMINED - 1
            end = self._row(lists.last_examined(ListQuery(oldest_first=first_ended)), **place, skipped=skipped)
            last = EndPlace(*end) if end else last
        bounds = {**place, "last_time": last.end_time, "last_key": last.task_key, **span._asdict()}
        page = _ended_page(query, walk)
        rows = list(self._named_rows(page, **lists.values(wanted), **bounds, limit=KEY_MAX, rows=limit))
        stopped = len(rows) < limit and last not in {lists.FIRST_END, lists.LAST_END}
        return Page([_task(row) for row in rows], last if stopped else None)

    def find(self, wanted: TaskFilter, after: int, limit: int) -> FoundTasks:
        """Returns the keys of up to `limit` tasks, oldest first, with keys above `after`; fewer as in `list`."""
        span = self._span(wanted).behind(after, oldest_first=True)
        query = ListQuery.of(wanted, oldest_first=True)
        walk, read = self._walk(query, wanted, span)
        rows = self._rows(_found(query, walk), **lists.values(wanted), **read._asdict(), limit=limit)
        keys = [row[0] for row in rows]
        return FoundTasks(keys, keys[-1] if len(keys) == limit else span.unread(read))

    def _span(self, task_filter: TaskFilter) -> Span:
        """Returns the keys of tasks that were created at the filter's times, whatever the clocks were then."""
        span = Span.of(task_filter)
        if span == Span():
            return span
        times = {"created_after": task_filter.created_after, "created_before": task_filter.created_before}
        return span.widened(*self._row(lists.MISDATED_KEYS, **times, limit=lists.MAX_MISDATED + 1))

    def _walk(self, query: ListQuery, task_filter: TaskFilter, span: Span) -> tuple[int, Span]:
        """Returns the condition by which a page walks, and which part of the span it reads."""
        if not query.examines:  # each task that it reads belongs on the page
            return 0, span
        return self._examined(query, task_filter, span)

    def _examined(self, query: ListQuery, task_filter: TaskFilter, span: Span) -> tuple[int, Span]:
        """Returns the same, where a page examines tasks."""
        ranges = max(1, query.ranges * len(task_filter.scope.accounts or (0,)))
        examined = lists.MAX_EXAMINED
        skipped = {"skipped": examined - 1, "skipped_each": max(1, examined // ranges) - 1}
        ends = self._row(lists.ends(query), **lists.values(task_filter), **skipped, **span._asdict())
        walk, end = (max if query.oldest_first else min)(enumerate(ends), key=itemgetter(1))
        return walk, span._replace(high=end) if query.oldest_first else span._replace(low=end)

    def waits_for(self, task_key: int, ttl: float) -> WaitsFor:
        """Returns what a task, which must exist, may be waiting for."""
        return WaitsFor(*self._row(_WAITS_FOR, task_key=task_key, ttl=ttl))

    def accounts_of(self, keys: Sequence[int]) -> dict[int, int]:
        """Returns the accounts of these tasks by key; those that do not exist are missing."""
        return dict(self._rows(_ACCOUNTS_OF, keys=array("bigint", keys)))

    def cleaned_up(self, requests: Sequence[tuple[int, str]]) -> builtins.list[Task]:
        """Returns the tasks of these (account, request_id) as they were when they were cleaned up, without payloads."""
        return [_task(row) for row in self._named_rows(_CLEANED_UP, **_REQUESTS.bind(requests))]

    def events(self, task_key: int, after: int, limit: int) -> builtins.list[TaskEvent]:
        """Returns the moves of a task with numbers above `after`, oldest first."""
        rows = self._rows(_PAGE_OF_EVENTS, task_key=task_key, after=after, limit=limit)
        return [_event(row) for row in rows]

    def listed(self, keys: Sequence[int]) -> dict[int, Task]:
        """Returns these tasks by key, without requirements; those that do not exist are missing."""
        return {row.task_key: _task(row) for row in self._named_rows(_GET_LISTED, keys=array("bigint", keys))}

    def histories(self, keys: Sequence[int]) -> dict[int, builtins.list[TaskEvent]]:
        """Returns all moves of these tasks, by task, oldest first."""
        moves: dict[int, builtins.list[TaskEvent]] = {}
        for event in map(_event, self._rows(_HISTORIES, keys=array("bigint", keys))):
            moves.setdefault(event.task_key, []).append(event)
        return moves

    def oldest_pending_age(self, scope: Scope) -> timedelta | None:
        """Returns how long the oldest pending task has waited; None if none is pending."""
        parameters = accounts(scope)
        row = self._row(_OLDEST_OF_ACCOUNTS if parameters else _OLDEST_OF_ALL, **parameters)
        return None if row is None else timedelta(seconds=float(row[0]))


@lru_cache(maxsize=200)
def _page(query: ListQuery, walk: int) -> sa.TextClause:
    """Reads a page of tasks, without their requirements."""
    keys = lists.keys(query, walk)
    return sa.text(f"SELECT {_LISTED} {_SOURCE} WHERE t.task_key = ANY(ARRAY({keys})) ORDER BY t.task_key{query.order}")


@lru_cache(maxsize=200)
def _ended_page(query: ListQuery, walk: int | None) -> sa.TextClause:
    """Reads a page of tasks that have ended, in the order of ends, without their requirements."""
    order = f"t.end_time{query.order}, t.task_key{query.order}"
    these = lists.ended(query, walk)
    return sa.text(f"SELECT {_LISTED} {_SOURCE} WHERE t.task_key = ANY(ARRAY({these})) ORDER BY {order}")


@lru_cache(maxsize=200)
def _found(query: ListQuery, walk: int) -> sa.TextClause:
    """Reads the keys of a page of tasks, for bulk calls."""
    return sa.text(lists.keys(query, walk))


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
        brief=brief(row[:BRIEF_WIDTH]),
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
        progress=None if row.percent is None else AttemptProgress(row.percent, row.step or "", row.message or ""),
        error=None if error is None else TaskError(error["reason"], error["message"], error["details"]),
        content_id=row.content_id or 0,
        regenerates_content_id=row.regenerates_content_id or 0,
        labels=row.labels or {},
        request_id=row.request_id,
        fence=row.fence,
        backoff=RetryBackoff(row.initial_backoff_ms, row.backoff_multiplier, row.max_backoff_ms),
        schedule_id=row.schedule_id or 0,
        expire_time=row.expire_time,
        unique_key=row.unique_key or "",
        unique_for=timedelta(milliseconds=row.unique_for_ms or 0),
        worker_selector=row.worker_selector or {},
        trace=TraceContext(row.traceparent, row.tracestate or "") if row.traceparent else None,
    )
