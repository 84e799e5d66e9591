"""What tasks leave that ended long ago, as queries: a row of each table a task, as a scheduler of today writes it.

Tasks end one after the other over some years. Of 1,000 tasks 959 completed, 20 failed, 20 were cancelled and one timed
out. A task that completed has four moves: submitted, leased, started, completed. Moves are numbered as a busy scheduler
does it: of a block of tasks first all submits, then all leases. So a task's history is spread over many pages.
Calls and webhooks leave audit events and deliveries.
"""

from __future__ import annotations

from typing import NamedTuple

from scheduler_svc.domain.task import TEXTS

BLOCK = 1_000
"""Tasks that are under way at the same time. Their number is a multiple of it."""
RARE = 10_000
"""One task of so many is of the account that has few."""
LABELLED = 10
"""One task of so many has the label `team=a`."""
WORKERS = 20
TO_REVIEW = 998
"""Of 1,000 contents the one that waits for its review; all others were published."""


class History(NamedTuple):
    """Some tasks, one after the other. Of them: how many, the number of the first one, and how many moves went before.

    Times are milliseconds since 1970. The last of the accounts has few of them.
    """

    tasks: int
    first: int
    moves: int
    begin: int
    end: int
    accounts: list[int]
    whole: int
    """The oldest so many tasks have their moves, and the oldest so many contents were published."""
    contents: int = 0
    """The newest so many tasks have their contents; if it is more than there are, the others are deleted already."""


_KEYS = """
    SELECT n, (ms << 20) | (n & 1048575) AS task_key, ms,
        to_timestamp(ms / 1000.0) AS made, (30 + n %% 61) AS took,
        CASE WHEN n %% 1000 = 500 THEN 6 WHEN n %% 50 = 1 THEN 5 WHEN n %% 50 = 2 THEN 7 ELSE 4 END AS status,
        CASE WHEN n %% {rare} = {rare} - 1 THEN (%(accounts)s::bigint[])[cardinality(%(accounts)s)]
            ELSE (%(accounts)s::bigint[])[1 + n %% (cardinality(%(accounts)s) - 1)] END AS account_id
    FROM (SELECT {extra} n, %(begin)s + (n - %(first)s) * (%(end)s - %(begin)s) / %(tasks)s AS ms
        FROM ({numbers}) AS g OFFSET 0) AS m
"""


def _tasks(numbers: str, extra: str = "") -> str:
    fields = _KEYS.format(numbers=numbers, extra=extra, rare=RARE)
    return fields.replace("SELECT n,", f"SELECT {extra} n,", 1)


def _numbers(begin: str = "0", end: str = "%(tasks)s", step: int = 1) -> str:
    """Returns numbers of tasks, counted from the first one; without `end` itself."""
    return f"SELECT %(first)s + generate_series({begin}::bigint, {end} - 1, {step}) AS n"


_ALL = _numbers()
_OLDEST_CONTENT = "%(tasks)s - %(contents)s"

_FENCE = "(n * 48271 %% 2147483647)::integer"
_WORKER = f"'worker-' || n %% {WORKERS}"
_ERROR = """
    CASE status WHEN 5 THEN '{"reason": "CREATOR_ERROR", "message": "exit status 3", "details": {}}'
        WHEN 6 THEN '{"reason": "TASK_TIMEOUT", "message": "it ran too long", "details": {}}'
        WHEN 7 THEN '{"reason": "CANCELLED_BY_CLIENT", "message": "cancelled by a client", "details": {}}' END::jsonb
"""

TASKS = f"""
    SELECT task_key, account_id, status, 5, true, true, 0, 0, 0,
        0, 1800000, made, NULL, ran::integer, CASE WHEN ran THEN {_FENCE} END,
        CASE WHEN NOT ran THEN 0 WHEN status = 4 THEN 1 ELSE 2 END, CASE WHEN ran THEN {_WORKER} END,
        CASE WHEN ran THEN made + interval '1 s' END, CASE WHEN ran THEN made + interval '2 s' END,
        made + interval '2 s' + took * interval '1 s', CASE WHEN status = 4 THEN n + 1 END, {_ERROR}, 0,
        NULL, NULL, NULL, NULL, NULL
    FROM (SELECT *, status <> 7 AS ran FROM ({_tasks(_ALL)}) AS t) AS t
"""
_BRIEF = ", ".join({"topic": "'topic ' || n", "category": "'benchmark'"}.get(text, "''") for text in TEXTS)
PAYLOADS = f"""
    SELECT task_key, {_BRIEF},
        CASE WHEN n %% {LABELLED} = 0 THEN jsonb '{{"team": "a"}}' END, NULL, NULL, NULL,
        NULL, NULL, NULL, NULL, NULL
    FROM ({_tasks(_ALL)}) AS t
"""
LABELS = f"""
    SELECT 'team', 'a', task_key
    FROM ({_tasks(_numbers(step=LABELLED))}) AS t
"""
# Of each block: all submits, all leases, all starts, all ends.
_MOVES = f"""
    SELECT %(moves)s + i + 1 AS seq, i / {BLOCK} %% 4 AS move, %(first)s + i / {4 * BLOCK} * {BLOCK} + i %% {BLOCK} AS n
    FROM (SELECT generate_series(0::bigint, 4 * least(%(whole)s, %(tasks)s) - 1) AS i) AS s
"""
# A cancelled task was never leased: the first and the last of its moves only.
EVENTS = f"""
    SELECT task_key, seq, CASE WHEN ran THEN move ELSE move / 3 END,
        CASE move WHEN 3 THEN status ELSE move + 1 END,
        made + CASE move WHEN 3 THEN 2 + took ELSE move END * interval '1 s',
        leased::integer, CASE WHEN leased THEN {_FENCE} END, CASE WHEN leased THEN {_WORKER} END,
        CASE move WHEN 0 THEN 'SUBMITTED' WHEN 1 THEN 'LEASED' WHEN 2 THEN 'STARTED' ELSE CASE status
            WHEN 4 THEN 'COMPLETED' WHEN 5 THEN 'CREATOR_ERROR' WHEN 6 THEN 'TASK_TIMEOUT'
            ELSE 'CANCELLED_BY_CLIENT' END END,
        NULL, NULL
    FROM (SELECT *, status <> 7 AS ran, status <> 7 AND move > 0 AS leased
        FROM ({_tasks(_MOVES, "seq, move,")}) AS e) AS e
    WHERE ran OR move IN (0, 3)
"""


def _completed(numbers: str) -> str:
    return f"SELECT * FROM ({_tasks(numbers)}) AS t WHERE status = 4"


CONTENTS = f"""
    SELECT n + 1, account_id, task_key, 'topic ' || n, b.body, '', '', 'benchmark', '[]', length(b.body) / 6,
        0.9, CASE WHEN n %% 1000 = {TO_REVIEW} THEN 1 ELSE 2 END, '', made + (2 + took) * interval '1 s', NULL, 1, '1',
        '', NULL, NULL, NULL, NULL, NULL, NULL
    FROM ({_completed(_numbers(_OLDEST_CONTENT))}) AS t JOIN seed_bodies AS b ON b.id = n %% 1000
"""
_WHOLE = _numbers(_OLDEST_CONTENT, f"least(%(tasks)s, {_OLDEST_CONTENT} + %(whole)s)")
_PUBLISHED = f"SELECT * FROM ({_completed(_WHOLE)}) AS t WHERE n %% 1000 <> {TO_REVIEW}"
POOL = f"""
    SELECT n + 1, account_id, 5, NULL, 3, '', 'claim', NULL, 1,
        NULL, 'https://example.com/' || n, 'publisher', made + interval '3 minutes'
    FROM ({_PUBLISHED}) AS t
"""
ATTEMPTS = f"""
    SELECT n + 1, 1, 'publisher', made + interval '3 minutes', made + interval '3 minutes 2 s', true, ''
    FROM ({_PUBLISHED}) AS t
"""

COUNTS = """
    INSERT INTO task_counts SELECT coalesce(account_id, 0), status, count(*)
        FROM tasks WHERE status <> 1 GROUP BY GROUPING SETS ((account_id, status), (status))
"""
LATER = 10_000_000_000
"""The number of the first task that is written later on."""
RESERVE = "SELECT setval('event_seq', last_value + %(moves)s) - %(moves)s FROM event_seq"
COUNT_MORE = f"""
    INSERT INTO count_deltas (account_id, kind, n) SELECT coalesce(account_id, 0), status, count(*)
        FROM ({_tasks(_ALL)}) AS t GROUP BY GROUPING SETS ((account_id, status), (status))
"""
_DURATION = "1000 + ceil(ln(extract(epoch FROM end_time - start_time)::float8) / ln(1.1::float8))::smallint"
ROLLUPS = f"""
    INSERT INTO task_rollups (account_id, resolution, time, kind, n)
    SELECT coalesce(account_id, 0), r.resolution, r.time, kind, sum(n) FROM (
        SELECT account_id, date_trunc('hour', time, 'UTC') AS hour, kind, count(*) AS n FROM (
            SELECT account_id, create_time AS time, 1::smallint AS kind FROM tasks
            UNION ALL SELECT account_id, end_time, status FROM tasks
            UNION ALL SELECT account_id, end_time, {_DURATION} FROM tasks WHERE status = 4
        ) AS moves WHERE time > now() - interval '400 days' GROUP BY 1, 2, 3
    ) AS hours, LATERAL (VALUES (1::smallint, hour), (2::smallint, date_trunc('day', hour, 'UTC')))
        AS r(resolution, time)
    WHERE r.resolution = 2 OR hour > now() - interval '40 days'
    GROUP BY GROUPING SETS ((account_id, r.resolution, r.time, kind), (r.resolution, r.time, kind))
"""

OF_TASKS = {"tasks": TASKS, "task_payloads": PAYLOADS, "task_labels": LABELS, "task_events": EVENTS}
TABLES = OF_TASKS | {"contents": CONTENTS, "publish_pool": POOL, "publish_attempts": ATTEMPTS}
AFTERWARDS = {
    "counts": COUNTS,
    "rollups": ROLLUPS,
    "numbers": """
        SELECT setval('event_seq', (SELECT max(seq) FROM task_events)),
            setval('content_seq', (SELECT max(content_id) FROM contents))
    """,
    "the search index, as if it had read all contents": """
        UPDATE search_index SET indexed_to = (SELECT max(content_id) FROM contents)
    """,
}


AUDIT = """
    SELECT ((%(begin)s + n * (%(end)s - %(begin)s) / %(rows)s) * 1000 + n %% 1000) << 10, 'producer', account_id,
        CASE WHEN n %% 20 > 0 THEN 'TaskService/SubmitTask' WHEN n %% 40 = 0 THEN 'TaskService/CancelTask'
            ELSE 'ContentService/PublishContent' END,
        'task:task-' || lpad(to_hex(n), 16, '0'), CASE WHEN n %% 1000 = 0 THEN 'NOT_FOUND' ELSE 'OK' END, ''
    FROM (SELECT n, (%(accounts)s::bigint[])[1 + n %% cardinality(%(accounts)s)] AS account_id
        FROM (SELECT generate_series(0::bigint, %(rows)s - 1) AS n) AS g OFFSET 0) AS e
"""
DELIVERIES = """
    SELECT n + 1, %(webhook)s, 'task.ended', n, 'msg-' || n, '{"status": "completed"}', 2, 1,
        NULL, ended + interval '3 days', 200, '', ended - interval '1 s', ended
    FROM (SELECT n, to_timestamp((%(begin)s + n * (%(end)s - %(begin)s) / %(rows)s) / 1000.0) AS ended
        FROM (SELECT generate_series(0::bigint, %(rows)s - 1) AS n) AS g OFFSET 0) AS d
"""
WEBHOOK = """
    INSERT INTO webhooks (account_id, url, event_types, active, secret)
        VALUES (%(account)s, 'https://example.com/', ARRAY['task.ended'], false, 'whsec_c2VlZA==') RETURNING webhook_id
"""
AFTER_CALLS = """
    SELECT setval('webhook_deliveries_delivery_id_seq', coalesce(max(delivery_id), 1)) FROM webhook_deliveries
"""
