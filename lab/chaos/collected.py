"""What is read at the end, each in a way of its own: the database, the API, and what is left on the machine.

The database is read as it is: past all of the product's code, by SQL of the checker's own.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2

from contentgen import ContentGenerationClient, RequestError
from contentgen.client.results import Task
from lab.chaos.evidence import AnsweredTask, Answers, Event, Leftover, Stored, StoredContent, StoredTask, StoredTick
from scheduler_svc.domain.content import ReviewStatus
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.domain.lifecycle import Status
from tests.harness.cluster import rows_of
from tests.harness.processes import belonging_to

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

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
_TICKS = """
    SELECT task_key, schedule_id, extract(epoch FROM tick)::float8 FROM schedule_tasks WHERE tick IS NOT NULL
"""
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
        pool=[content_id for (content_id,) in _rows(connection, "SELECT content_id FROM publish_pool")],
        leases=[format_task_id(key) for (key,) in _rows(connection, "SELECT task_key FROM leases")],
        logs={(format_task_id(key), attempt) for key, attempt in _rows(connection, _LOGS)},
        ticks=[StoredTick(format_task_id(key), *rest) for key, *rest in _rows(connection, _TICKS)],
        assets={sha256 for (sha256,) in _rows(connection, "SELECT sha256 FROM assets WHERE complete")},
        caps=dict(_rows(connection, _CAPS)),
    )


def _rows(connection: psycopg2.extensions.connection, sql: str) -> Iterator[Any]:
    """Yields some at a time: all bodies of a long campaign need not be in memory at once."""
    with connection.cursor(name="evidence") as cursor:
        cursor.itersize = 2_000
        cursor.execute(sql)
        yield from cursor


def _task(row: Any) -> StoredTask:
    key, account_id, status, request_id, topic, auto_approve, retries, max_retries, content_id, places, limit = row
    task_id, topic_sha256 = format_task_id(key), sha256(topic or "")
    so_far = (retries, max_retries, content_id, tuple(places), limit / 1000)
    return StoredTask(task_id, account_id, Status(status), request_id, topic_sha256, auto_approve, *so_far)


def _content(row: Any) -> StoredContent:
    content_id, key, account_id, body, review_status, assets = row
    run = _UUID.search(body)
    named, status = run[0] if run else None, ReviewStatus(review_status).label
    return StoredContent(content_id, format_task_id(key), account_id, sha256(body), named, status, tuple(assets))


# What the API says: of every task that was acknowledged, its history and its content, and the counts.


_BATCH_SIZE = 500
_PAGE = 1_000


def ask(target: str, task_ids: Iterable[str], accounts: Iterable[int]) -> Answers:
    """Asks schedulers that are well: for each task, for the counts of these accounts and for those of all."""
    with ContentGenerationClient(target, timeout=60.0) as client, ThreadPoolExecutor(8) as callers:
        tasks = list(_tasks(client, sorted(set(task_ids))))
        names = [task["task_id"] for task in tasks]
        content_ids = {task["task_id"]: task["content_id"] for task in tasks if task["content_id"]}
        answers = zip(content_ids, callers.map(client.get_content, content_ids.values()), strict=True)
        contents = {task_id: content for task_id, content in answers if content}
        files = sorted({asset["sha256"] for content in contents.values() for asset in content["assets"]})

        def history(task_id: str) -> list[tuple[Status, int]]:
            events = client.iter_task_events(task_id, page_size=_PAGE)
            return [(Status[event["status"].upper()], event["attempt"]) for event in events]

        def digest(name: str) -> str:
            """Returns the SHA-256 of the bytes; what the API says instead, if it gives none."""
            try:
                return hashlib.sha256(client.read_asset(name)).hexdigest()
            except RequestError as error:
                return str(error)

        return Answers(
            tasks={
                task["task_id"]: AnsweredTask(Status[task["status"].upper()], task["account_id"], sha256(task["topic"]))
                for task in tasks
            },
            counts={scope: dict(client.get_task_stats(scope)["counts"].items()) for scope in {0, *accounts}},
            histories=dict(zip(names, callers.map(history, names), strict=True)),
            bodies={task_id: sha256(content["body"]) for task_id, content in contents.items()},
            pool=[entry["content_id"] for entry in client.iter_publish_pool(page_size=_PAGE)],
            files=dict(zip(files, callers.map(digest, files), strict=True)),
        )


def _tasks(client: ContentGenerationClient, task_ids: list[str]) -> Iterator[Task]:
    """Yields those that exist."""
    for begin in range(0, len(task_ids), _BATCH_SIZE):
        yield from filter(None, client.get_task_statuses(task_ids[begin : begin + _BATCH_SIZE]))


# What is left once all services have stopped: nothing should be.


_OF_WORKERS = {
    "scratch folder": "workers/*/scratch/*",
    "spool file": "workers/*/spool/*",
    "asset": "workers/*/assets/*",
    "mark of a started CLI": "workers/*/started/*",
}

_CHECKER = "checker"
"""Names its own connections, of which the last one may still be ending."""
_CONNECTIONS = """
    SELECT pid || ' ' || application_name || ': ' || query FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND application_name <> %s
"""


def settled(look: Callable[[], list[Leftover]], limit: float) -> list[Leftover]:
    """Returns what is left after the seconds that the kernel may take."""
    deadline = time.monotonic() + limit
    while (leftovers := look()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return leftovers


def left_by_services(folder: Path, workers: Sequence[Path], dsn: str, spared: frozenset[int]) -> list[Leftover]:
    """Schedulers and workers have stopped, PostgreSQL has not: processes of `folder`, files of `workers`, connections.

    `workers` are their data folders; `spared` the process ids of PostgreSQL and of the campaign itself.
    """
    files = (
        Leftover(kind, str(path))
        for worker in workers
        for kind, pattern in _OF_WORKERS.items()
        for path in sorted(worker.glob(pattern))
    )
    with closing(psycopg2.connect(dsn, application_name=_CHECKER)) as connection:
        connections = [Leftover("connection", what) for (what,) in rows_of(connection, _CONNECTIONS, _CHECKER)]
    return [*_processes(folder, spared), *files, *connections]


def left_by_postgres(folder: Path, sockets: Sequence[Path], spared: frozenset[int]) -> list[Leftover]:
    """PostgreSQL has stopped, too: processes of `folder` again, and the folders of its sockets."""
    folders = [Leftover("socket folder", str(path)) for path in sockets if path.exists()]
    return [*_processes(folder, spared), *folders]


def _processes(folder: Path, spared: frozenset[int]) -> list[Leftover]:
    return [Leftover("process", repr(process)) for process in belonging_to(folder) if process.pid not in spared]
