"""Views for people with psql. Nothing of ours reads them, and they are no part of the contract.

A migration that changes a column which a view reads drops the view first, and creates it anew after it:
docs/development/development.md says how. docs/how-to/sql-views.md shows what the views are for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from scheduler_svc.domain.content import PublishStatus
from scheduler_svc.domain.lifecycle import RETRYABLE, RUNNING, Status
from scheduler_svc.domain.task import BACKOFF, BARRED, SCHEDULED

_LATE = "now() - interval '1 minute'"
_LEASE_TIME = "interval '2 minutes'"
"""The default: the schedulers' own is not in the database."""


def _task_id(table: str) -> str:
    """Returns SQL for the id of a row's task, as `format_task_id` writes it."""
    return f"'task-' || lpad(to_hex({table}.task_key), 16, '0')"


def _status(column: str, *statuses: Status) -> str:
    names = " ".join(f"WHEN {status} THEN '{status.label}'" for status in statuses)
    return f"CASE {column} {names} END"


class View(NamedTuple):
    """A view: what its comment says beyond that it is for people, and its query."""

    shows: str
    query: str


VIEWS = {
    "v_running": View(
        "The attempts that a worker holds, as GetTask shows them; the oldest lease first.",
        f"""
        SELECT {_task_id("l")} AS task_id, l.account_id, a.name AS account,
            {_status("l.status", *sorted(RUNNING))} AS status, l.priority, l.worker_id, l.attempt,
            l.claim_time AS submit_time, l.start_time,
            l.accept_time + l.timeout_ms * interval '1 millisecond' AS timeout_time,
            l.expire_time AS lease_expire_time, l.percent, l.step, l.message, t.retry_count, t.max_retries, p.topic
        FROM (
            SELECT task_key, account_id, status, priority, worker_id, attempt, claim_time, accept_time, start_time,
                timeout_ms, expire_time, percent, step, message
            FROM leases WHERE NOT revoked ORDER BY claim_time, task_key
        ) AS l
        LEFT JOIN tasks AS t ON t.task_key = l.task_key
        LEFT JOIN task_payloads AS p ON p.task_key = l.task_key
        LEFT JOIN accounts AS a ON a.account_id = l.account_id
        """,
    ),
    "v_waiting": View(
        "The pending tasks, and why each waits: the pending_reason of GetTask, and in words.",
        f"""
        SELECT {_task_id("w")} AS task_id, w.account_id, a.name AS account, w.priority, r.pending_reason,
            CASE
                WHEN w.cause = {BARRED} THEN 'its former attempt, which its worker has not let go of'
                WHEN r.pending_reason = 'backoff' THEN 'the time before its next attempt'
                WHEN r.pending_reason = 'scheduled' THEN 'its schedule time'
                WHEN r.pending_reason = 'account_limit'
                    THEN 'another task of its account to end: its limit is ' || a.max_concurrent_tasks
                WHEN r.pending_reason = 'rate_limit'
                    THEN 'a minute to pass: its account may start ' || a.max_starts_per_minute || ' within one'
                WHEN r.pending_reason = 'paused' THEN 'contentgen dispatch resume: dispatch is paused'
                WHEN r.pending_reason = 'no_workers' THEN 'a worker: none is connected'
                ELSE 'a free slot, or its turn'
            END AS waits_for,
            coalesce(w.ready_time, (SELECT max(e.event_time) FROM task_events AS e WHERE e.task_key = w.task_key))
                AS since,
            w.due_time, w.expire_time, t.attempt, t.retry_count, t.error ->> 'reason' AS last_error_reason,
            t.error ->> 'message' AS last_error_message, t.create_time, p.topic
        FROM (
            SELECT task_key, account_id, priority, ready_time, expire_time,
                CAST(NULL AS smallint) AS cause, CAST(NULL AS timestamptz) AS due_time FROM ready
            UNION ALL
            SELECT task_key, account_id, priority, NULL, expire_time, cause, due_time FROM delayed
        ) AS w
        LEFT JOIN (
            SELECT x.account_id, x.name, x.max_concurrent_tasks, x.max_starts_per_minute,
                x.max_concurrent_tasks > 0 AND x.max_concurrent_tasks <= (
                    SELECT count(*) FROM leases AS l WHERE l.account_id = x.account_id) AS at_limit,
                x.max_starts_per_minute > 0 AND x.max_starts_per_minute <= (
                    SELECT coalesce(sum(s.n), 0) + greatest(0, q.tagged - (
                        SELECT count(*) FROM ready AS y WHERE y.account_id = x.account_id AND y.tag IS NOT NULL))
                    FROM start_quotas AS q LEFT JOIN LATERAL unnest(q.times, q.counts) AS s(time, n)
                        ON s.time > now() - interval '1 minute'
                    WHERE q.account_id = x.account_id GROUP BY q.tagged) AS at_quota,
                EXISTS (SELECT FROM pauses AS u WHERE u.account_id IN (0, x.account_id)) AS paused
            FROM accounts AS x OFFSET 0
        ) AS a ON a.account_id = w.account_id
        CROSS JOIN LATERAL (
            SELECT CASE
                WHEN w.cause = {BACKOFF} THEN 'backoff'
                WHEN w.cause = {SCHEDULED} THEN 'scheduled'
                WHEN a.at_limit THEN 'account_limit'
                WHEN a.at_quota THEN 'rate_limit'
                WHEN a.paused THEN 'paused'
                WHEN EXISTS (SELECT FROM workers WHERE connected AND heartbeat_time > now() - {_LEASE_TIME})
                    THEN 'all_slots_busy'
                ELSE 'no_workers'
            END AS pending_reason
        ) AS r
        LEFT JOIN tasks AS t ON t.task_key = w.task_key
        LEFT JOIN task_payloads AS p ON p.task_key = w.task_key
        """,
    ),
    "v_failures": View(
        "The tasks that failed or timed out for good, and why; the latest first.",
        f"""
        SELECT {_task_id("t")} AS task_id, t.account_id, a.name AS account,
            {_status("t.status", *sorted(RETRYABLE))} AS status, t.error ->> 'reason' AS error_reason,
            t.error ->> 'message' AS error_message, t.error -> 'details' ->> 'exit_code' AS exit_code, t.worker_id,
            t.attempt, t.retry_count, t.max_retries, t.create_time, t.start_time, t.end_time, p.topic
        FROM (
            SELECT task_key, account_id, status, error, worker_id, attempt, retry_count, max_retries, create_time,
                start_time, end_time
            FROM tasks
            WHERE status IN ({", ".join(map(str, sorted(RETRYABLE)))}) AND end_time IS NOT NULL
            ORDER BY end_time DESC, task_key DESC
        ) AS t
        LEFT JOIN task_payloads AS p ON p.task_key = t.task_key
        LEFT JOIN accounts AS a ON a.account_id = t.account_id
        """,
    ),
    "v_stuck": View(
        "What should have moved on a minute ago or more.",
        f"""
        SELECT 'task' AS kind, {_task_id("l")} AS id, l.account_id, l.worker_id AS holder, l.attempt,
            CASE
                WHEN l.expire_time < {_LATE} THEN 'its lease has expired, and no scheduler has ended it'
                WHEN l.timeout_time < {_LATE} THEN 'it is past its timeout, and no scheduler has ended it'
                ELSE 'its worker is silent: without a heartbeat its lease expires'
            END AS problem,
            CASE WHEN l.expire_time < {_LATE} THEN l.expire_time WHEN l.timeout_time < {_LATE} THEN l.timeout_time
                ELSE l.heartbeat_time END AS since
        FROM (
            SELECT x.task_key, x.account_id, x.worker_id, x.attempt, x.expire_time, w.heartbeat_time,
                coalesce(x.accept_time, x.claim_time + {_LEASE_TIME}) + x.timeout_ms * interval '1 millisecond'
                    AS timeout_time
            FROM leases AS x LEFT JOIN workers AS w ON w.worker_id = x.worker_id WHERE NOT x.revoked
        ) AS l
        WHERE l.expire_time < {_LATE} OR l.timeout_time < {_LATE} OR l.heartbeat_time < {_LATE}
        UNION ALL
        SELECT 'task', {_task_id("l")}, l.account_id, l.worker_id, l.attempt,
            'its lease is revoked, and its worker has not let go of it', l.since
        FROM (
            SELECT x.task_key, x.account_id, x.worker_id, x.attempt, coalesce((
                SELECT max(e.event_time) FROM task_events AS e WHERE e.task_key = x.task_key AND e.attempt = x.attempt
            ), x.claim_time) AS since FROM leases AS x WHERE x.revoked
        ) AS l
        WHERE l.since < {_LATE}
        UNION ALL
        SELECT 'task', {_task_id("d")}, d.account_id, NULL, d.attempt - 1,
            'its wait is over, and no scheduler has made it ready', d.due_time
        FROM delayed AS d
        WHERE d.due_time < {_LATE} AND NOT EXISTS (SELECT FROM leases AS l WHERE l.task_key = d.task_key)
        UNION ALL
        SELECT 'task', {_task_id("r")}, r.account_id, NULL, r.attempt - 1,
            'later tasks of its account and priority have been started before it', r.ready_time
        FROM ready AS r JOIN (
            SELECT account_id, priority, to_timestamp(max(task_key >> 20) / 1000.0) AS create_time
            FROM leases WHERE NOT revoked GROUP BY account_id, priority
        ) AS newest ON newest.account_id = r.account_id AND newest.priority = r.priority
        WHERE r.ready_time < newest.create_time - interval '1 minute'
        UNION ALL
        SELECT 'delivery', CAST(d.delivery_id AS text), w.account_id, NULL, d.attempt_count,
            'it is due, and no scheduler has tried it', d.next_attempt_time
        FROM webhook_deliveries AS d JOIN webhooks AS w ON w.webhook_id = d.webhook_id
        WHERE w.active AND d.next_attempt_time < {_LATE} AND NOT EXISTS (
            SELECT FROM webhook_deliveries AS e WHERE e.next_attempt_time IS NOT NULL AND e.task_key = d.task_key
                AND e.webhook_id = d.webhook_id AND e.delivery_id < d.delivery_id)
        UNION ALL
        SELECT 'content', CAST(p.content_id AS text), p.account_id, p.publisher, p.attempt_count,
            'its publisher has not reported, and its claim has expired', p.claim_expire_time
        FROM publish_pool AS p WHERE p.status = {PublishStatus.PUBLISHING} AND p.claim_expire_time < {_LATE}
        """,
    ),
    "v_locks": View(
        "The sessions of this database that wait for a lock, with whom they wait for; and those that have held locks on"
        " our tables for 5 s though nobody waits.",
        """
        SELECT h.pid AS holder_pid, h.usename AS holder_role, h.application_name AS holder_application,
            h.client_addr AS holder_address, h.state AS holder_state, clock_timestamp() - h.xact_start AS held_for,
            h.query AS holder_query, x.locked, w.pid AS waiting_pid, w.application_name AS waiting_application,
            clock_timestamp() - x.waitstart AS waiting_for, w.query AS waiting_query
        FROM pg_stat_activity AS w
        CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS b(pid)
        JOIN pg_stat_activity AS h ON h.pid = b.pid
        CROSS JOIN LATERAL (
            SELECT min(l.waitstart) AS waitstart, coalesce(
                max(CAST(CAST(l.relation AS regclass) AS text)) FILTER (WHERE l.locktype = 'tuple' OR NOT l.granted),
                max(l.locktype) FILTER (WHERE NOT l.granted)) AS locked
            FROM pg_locks AS l WHERE l.pid = w.pid
        ) AS x
        WHERE w.datname = current_database() AND w.wait_event_type = 'Lock'
        UNION ALL
        SELECT h.pid, h.usename, h.application_name, h.client_addr, h.state, clock_timestamp() - h.xact_start, h.query,
            l.locked, NULL, NULL, NULL, NULL
        FROM pg_stat_activity AS h
        CROSS JOIN LATERAL (
            SELECT string_agg(DISTINCT CAST(c.relname AS text), ', ') AS locked
            FROM pg_locks AS k JOIN pg_class AS c ON c.oid = k.relation
            WHERE k.pid = h.pid AND k.locktype = 'relation' AND k.granted
                AND k.mode NOT IN ('AccessShareLock', 'ShareUpdateExclusiveLock') AND c.relkind = 'r'
                AND c.relnamespace = (SELECT t.relnamespace FROM pg_class AS t WHERE t.oid = CAST('tasks' AS regclass))
        ) AS l
        WHERE h.datname = current_database() AND h.backend_type = 'client backend' AND l.locked IS NOT NULL
            AND h.xact_start < clock_timestamp() - interval '5 seconds'
            AND NOT EXISTS (
                SELECT FROM pg_stat_activity AS w
                WHERE w.wait_event_type = 'Lock' AND h.pid = ANY(pg_blocking_pids(w.pid)))
        """,
    ),
}


def definitions() -> Iterator[str]:
    """Yields the statements that create the views."""
    for name, view in VIEWS.items():
        yield f"CREATE VIEW {name} AS {view.query}"
        yield f"COMMENT ON VIEW {name} IS 'For people; a later version may change or replace it. {view.shows}'"
