"""What the database holds at the end, read as it is: past all of the product's code, by SQL of the checker's own."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2

from lab.chaos.evidence import Event, Stored, StoredContent, StoredTask, StoredTick
from scheduler_svc.domain.content import ReviewStatus
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.domain.lifecycle import Status

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BATCH_SIZE = 2_000

# A revoked lease only bars its task: the state is the task's own.
_TASKS = """
    SELECT t.task_key, t.account_id, coalesce(l.status, t.status), p.request_id, p.topic, t.auto_approve, t.retry_count,
        t.max_retries, t.content_id,
        array_remove(ARRAY[
            (SELECT 'ready' FROM ready AS r WHERE r.task_key = t.task_key),
            (SELECT 'delayed' FROM delayed AS d WHERE d.task_key = t.task_key),
            CASE WHEN l.task_key IS NOT NULL THEN 'leases' END], NULL), t.timeout_ms
    FROM tasks AS t LEFT JOIN task_payloads AS p USING (task_key)
    LEFT JOIN leases AS l ON l.task_key = t.task_key AND NOT l.revoked
"""
_EVENTS = """
    SELECT task_key, previous_status, status, extract(epoch FROM event_time)::float8, attempt, coalesce(worker_id, ''),
        reason, coalesce(message, '')
    FROM task_events ORDER BY task_key, seq
"""
_CONTENTS = """
    SELECT content_id, task_key, account_id, body, review_status, ARRAY(
        SELECT coalesce(n.sha256, '') FROM content_assets AS n WHERE n.content_id = c.content_id ORDER BY n.position)
    FROM contents AS c
"""
_ASSETS = "SELECT sha256 FROM assets WHERE complete"
_TICKS = """
    SELECT task_key, schedule_id, extract(epoch FROM tick)::float8 FROM schedule_tasks WHERE tick IS NOT NULL
"""
_POOL = "SELECT content_id FROM publish_pool"
_LEASES = "SELECT task_key FROM leases"
_LOGS = "SELECT task_key, attempt FROM attempt_logs"
_CAPS = "SELECT account_id, max_concurrent_tasks FROM accounts WHERE max_concurrent_tasks > 0"


def read_stored(dsn: str) -> Stored:
    """Returns all that the database holds, as of one moment. `dsn` is libpq's, or a URL without a driver's name."""
    with closing(psycopg2.connect(dsn)) as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        return _read(connection)


def sha256(text: str) -> str:
    """Returns the hash by which bodies and topics are compared."""
    return hashlib.sha256(text.encode()).hexdigest()


def _read(connection: psycopg2.extensions.connection) -> Stored:
    events: dict[str, list[Event]] = defaultdict(list)
    for key, previous, status, *rest in _rows(connection, _EVENTS):
        events[format_task_id(key)].append(Event(Status(previous), Status(status), *rest))
    return Stored(
        tasks={task.task_id: task for task in map(_task, _rows(connection, _TASKS))},
        events=events,
        contents=[*map(_content, _rows(connection, _CONTENTS))],
        pool=[content_id for (content_id,) in _rows(connection, _POOL)],
        leases=[format_task_id(key) for (key,) in _rows(connection, _LEASES)],
        logs={(format_task_id(key), attempt) for key, attempt in _rows(connection, _LOGS)},
        ticks=[StoredTick(format_task_id(key), *rest) for key, *rest in _rows(connection, _TICKS)],
        assets={sha256 for (sha256,) in _rows(connection, _ASSETS)},
        caps=dict(_rows(connection, _CAPS)),
    )


def _rows(connection: psycopg2.extensions.connection, sql: str) -> Iterator[Any]:
    """Some at a time: all bodies of a long campaign need not be in memory at once."""
    with connection.cursor(name="evidence") as cursor:
        cursor.itersize = _BATCH_SIZE
        cursor.execute(sql)
        yield from cursor


def _task(row: Any) -> StoredTask:
    key, account_id, status, request_id, topic, auto_approve, retries, max_retries, content_id, places, limit = row
    return StoredTask(
        format_task_id(key),
        account_id,
        Status(status),
        request_id,
        sha256(topic or ""),
        auto_approve,
        retries,
        max_retries,
        content_id,
        tuple(places),
        limit / 1000,
    )


def _content(row: Any) -> StoredContent:
    content_id, key, account_id, body, review_status, assets = row
    run = _UUID.search(body)
    named, status = run[0] if run else None, ReviewStatus(review_status).label
    return StoredContent(content_id, format_task_id(key), account_id, sha256(body), named, status, tuple(assets))
