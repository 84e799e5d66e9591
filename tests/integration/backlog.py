"""A large backlog, and the plans of the statements that read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from scheduler_svc.database.connections import ALONE_TIMEOUT, LOCK_TIMEOUT, Timeouts
from scheduler_svc.database.statements import BEGIN
from scheduler_svc.domain.ids import KEY_MAX
from scheduler_svc.transactions import Tx, make_engine
from tests.harness.payloads import COLUMNS, NO_OTHER_TEXTS

BACKLOG = 70_000
TAGGED = 20_000
ROWS = 10
PAGE = 50
AGING = 900.0
DUE = 500
QUIET_WEBHOOKS = 5_000
WITH_TAGS = 9
"""Priorities of which some tasks have a tag."""
SCHEDULED = 15_000
_EMPTY = """
    ALTER TABLE tasks SET (autovacuum_enabled = false);
    ALTER TABLE task_payloads SET (autovacuum_enabled = false);
    ALTER TABLE ready SET (autovacuum_enabled = false);
    ALTER TABLE delayed SET (autovacuum_enabled = false);
    ALTER TABLE shares SET (autovacuum_enabled = false);
    ALTER TABLE leases SET (autovacuum_enabled = false);
    ALTER TABLE contents SET (autovacuum_enabled = false);
    ALTER TABLE content_grams SET (autovacuum_enabled = false);
    ALTER TABLE content_revisions SET (autovacuum_enabled = false);
    ALTER TABLE assets SET (autovacuum_enabled = false);
    ALTER TABLE content_assets SET (autovacuum_enabled = false);
    ALTER TABLE publish_pool SET (autovacuum_enabled = false);
    ALTER TABLE task_labels SET (autovacuum_enabled = false);
    ALTER TABLE task_events SET (autovacuum_enabled = false);
    ALTER TABLE unique_keys SET (autovacuum_enabled = false);
    ALTER TABLE request_ids SET (autovacuum_enabled = false);
    ALTER TABLE count_deltas SET (autovacuum_enabled = false);
    ALTER TABLE cleaned_events SET (autovacuum_enabled = false);
    ALTER TABLE webhooks SET (autovacuum_enabled = false);
    ALTER TABLE webhook_deliveries SET (autovacuum_enabled = false);
    ALTER TABLE audit_events SET (autovacuum_enabled = false);
    ALTER TABLE task_rollups SET (autovacuum_enabled = false);
    ALTER TABLE rollup_deltas SET (autovacuum_enabled = false);
    ANALYZE;
"""
_FILLED = f"""
    INSERT INTO accounts (name, max_concurrent_tasks, weight) SELECT 'a', 0, 1 FROM generate_series(1, 5);
    INSERT INTO tasks (task_key, account_id, status, priority, auto_approve, auto_retry, max_retries, timeout_ms,
            attempt, fence, lease_end, end_time, content_id)
        SELECT k, 1 + k % 5, CASE WHEN done THEN 4 ELSE 1 END, 5, true, true, 3, 60000, done::integer,
            CASE WHEN done THEN 7 END, done::integer, CASE WHEN done THEN now() END, CASE WHEN done THEN k END
        FROM (SELECT k, k <= 20000 AS done FROM generate_series(1, {BACKLOG} + 30000) AS k) AS g;
    INSERT INTO task_payloads ({COLUMNS}, labels, request_id, traceparent)
        SELECT task_key, 'a topic', {NO_OTHER_TEXTS},
        CASE WHEN task_key % 10 = 0 THEN jsonb '{{"team": "a"}}' END, 'r' || task_key,
        '00-' || lpad(CAST(task_key AS text), 32, '0') || '-b7ad6b7169203331-01' FROM tasks;
    INSERT INTO request_ids SELECT account_id, 'r' || task_key, task_key, '', now(), NULL FROM tasks;
    INSERT INTO request_ids SELECT 1, 'old' || k, k, '', now() - interval '8 days', '{{}}'
        FROM generate_series(1000001, 1000000 + 2 * {ROWS}) AS k;
    INSERT INTO unique_keys SELECT 1, 'key ' || task_key, task_key, now() FROM tasks;
    INSERT INTO contents SELECT task_key, account_id, task_key, CASE WHEN task_key % 2000 = 0 THEN 'rare' ELSE '' END,
        'body', '', '', '', '[]', 4, NULL, 2 FROM tasks WHERE status = 4;
    INSERT INTO content_revisions SELECT content_id, number, '', now(), '', 'body', '', '', '', ''
        FROM contents, generate_series(1, 2) AS number;
    INSERT INTO assets (sha256, size, complete, media_type)
        SELECT lpad(to_hex(k), 64, '0'), 1, true, 'image/png' FROM generate_series(0, 999) AS k;
    INSERT INTO content_assets (content_id, position, account_id, name, sha256)
        SELECT content_id, n, account_id, 'a.png', lpad(to_hex((content_id + n) % 1000), 64, '0')
        FROM contents, generate_series(0, 1) AS n;
    INSERT INTO publish_pool (content_id, account_id, priority, schedule_time)
        SELECT content_id, account_id, 5, CASE WHEN content_id <= {SCHEDULED} THEN now() + interval '1 h' END
        FROM contents;
    UPDATE publish_pool SET status = CASE WHEN content_id <= 2000 THEN 3 ELSE 4 END, claim_id = 'c',
            next_attempt_time = CASE WHEN content_id > 3000 THEN now() + interval '1 h' * (3900 - content_id) END,
            schedule_time = NULL
        WHERE content_id <= 4000;
    UPDATE publish_pool SET status = 2, claim_id = 'c', claim_expire_time = now() + interval '1 h'
        WHERE content_id BETWEEN 4001 AND 4200;
    INSERT INTO publish_attempts (content_id, number, publisher, published, error)
        SELECT content_id, n, 'p', n = 20, '' FROM publish_pool, generate_series(1, 20) AS n WHERE status = 3
        ORDER BY content_id, n;
    INSERT INTO leases (task_key, attempt, fence, worker_id, status, account_id, priority, tag, timeout_ms, claim_time,
            accept_time, start_time, expire_time)
        SELECT task_key, 1, 7, CASE WHEN task_key % 500 = 0 THEN 'v' ELSE 'w' END, 3, account_id, 5, 0, 60000, now(),
            now(), now(), now() + interval '1 s'
        FROM tasks WHERE task_key BETWEEN 20001 AND 25000;
    INSERT INTO workers (worker_id, session_key, folder_id, session_number, process_id, hostname, version, slots,
            labels, creator_path, creator_version, scheduler_id, connected, draining, connect_time, heartbeat_time,
            desired_drain)
        VALUES ('w', 1, 'f', 1, 'p', 'h', '', 1, '{{}}', '', '', '', true, false, now(), now(), false);
    INSERT INTO delayed (task_key, priority, account_id, attempt, timeout_ms, due_time, cause)
        SELECT task_key, 5, account_id, 1, 60000, now() + interval '1 h' * (task_key - 25000 - {DUE}), 1
        FROM tasks WHERE task_key BETWEEN 25001 AND 30000;
    INSERT INTO ready SELECT task_key, 1 + task_key % 10, CASE
            WHEN task_key <= 30000 + {TAGGED} AND task_key % 10 < 9 THEN task_key END, account_id, 1, 60000
        FROM tasks WHERE task_key > 30000;
    UPDATE ready SET expire_time = now() + interval '1 s' * (task_key - {BACKLOG} - 30000 + 990)
        WHERE task_key > {BACKLOG} + 29000;
    UPDATE delayed SET expire_time = now() + interval '1 h' * (task_key - 29000 - 2 * {ROWS})
        WHERE task_key > 29000;
    INSERT INTO shares SELECT account_id, priority, coalesce(max(tag), 0), 0, true, false, NULL
        FROM ready GROUP BY 1, 2;
    UPDATE accounts SET max_concurrent_tasks = 2000, max_pending_tasks = 2000 WHERE account_id = 2;
    UPDATE accounts SET max_starts_per_minute = 2000 WHERE account_id = 3;
    INSERT INTO start_quotas VALUES (3, 0, ARRAY[now()], ARRAY[1]);
    INSERT INTO task_labels SELECT 'team', 'a', task_key FROM tasks WHERE task_key % 10 = 0;
    INSERT INTO task_labels SELECT 'all', 'x', task_key FROM tasks;
    INSERT INTO task_labels SELECT CASE WHEN task_key > 20000 THEN 'new' ELSE 'old' END, 'x', task_key FROM tasks;
    INSERT INTO schedule_tasks SELECT task_key, 1, to_timestamp(task_key) FROM tasks;
    INSERT INTO schedules (account_id, name, cron, time_zone, template, catch_up, overlap, jitter, paused, next_tick,
            due_time)
        SELECT 1 + k % 5, '', '0 9 * * *', 'UTC', '', 2, 1, interval '0', false, t, t
        FROM (SELECT k, now() + interval '1 h' * (k - {ROWS} - 0.5) AS t FROM generate_series(1, 20000) AS k) AS s;
    INSERT INTO task_events (task_key, previous_status, status, attempt, reason)
        SELECT task_key, 0, 1, 0, '' FROM tasks ORDER BY task_key;
    INSERT INTO cleaned_events SELECT a, CASE WHEN a = 3 THEN 2 ELSE 1 END FROM generate_series(1, 20000) AS a;
    INSERT INTO webhooks (account_id, url, event_types, secret)
        SELECT a, 'u', ARRAY['task.ended'], 's' FROM generate_series(0, 2) AS a;
    INSERT INTO webhooks (account_id, url, event_types, secret)
        SELECT 10 + a, 'u', ARRAY['task.ended'], 's' FROM generate_series(1, {QUIET_WEBHOOKS}) AS a;
    INSERT INTO webhook_deliveries (webhook_id, event_type, task_key, message_id, data, status, attempt_count,
            next_attempt_time, expire_time, end_time)
        SELECT 1 + k % 3, 'task.ended', k / 2, 'm' || k, '{{}}', CASE WHEN waits THEN 1 ELSE 2 END, 1,
            CASE WHEN waits THEN to_timestamp(0) + interval '1 s' * CASE WHEN k > 60000 - 3 * {ROWS} THEN 0
                ELSE 4000000000 END END, now() + interval '1 h' * CASE WHEN k > 60000 - 3 * {ROWS} THEN -1 ELSE 1 END,
            CASE WHEN NOT waits THEN now() - interval '1 s' * (400000 - 10 * k) END
        FROM (SELECT k, k > 30000 AS waits FROM generate_series(1, 60000) AS k) AS g;
    INSERT INTO task_rollups SELECT k % 5, 1, to_timestamp(3600 * (k / 20)), k % 20, 1
        FROM generate_series(1, 100000) AS k;
    INSERT INTO rollup_deltas (account_id, kinds, numbers)
        SELECT k % 5, ARRAY[1 + k % 6], '{{1}}' FROM generate_series(1, 20000) AS k;
    INSERT INTO audit_events SELECT k, CASE WHEN k % 10 = 0 THEN 'b' ELSE 'a' END, 1 + k % 5,
            CASE WHEN k % 2 = 0 THEN 'TaskService/SubmitTask' ELSE 'TaskService/CancelTask' END, '', 'OK'
        FROM generate_series(1, 50000) AS k;
    INSERT INTO count_deltas (account_id, kind, n) SELECT k % 5, 1 + k % 6, 1 FROM generate_series(1, 20000) AS k;
    INSERT INTO count_deltas (account_id, kind, n) SELECT -20000 - k, 1, 1 FROM generate_series(1, 20 * {ROWS}) AS k;
"""

_AS_LONG_AS_REAL_ONES = """
    UPDATE content_grams SET grams = grams || ARRAY(SELECT -n FROM generate_series(1, 100) AS n);
"""


Work = Callable[[Tx], Any]


@dataclass
class Plan:
    """The rows and pages that one statement read."""

    statement: str
    buffers: int
    nodes: list[dict[str, Any]] = field(default_factory=list)

    def read(self, relation: str) -> list[tuple[str, float]]:
        """The nodes that read a relation: the kind with its index, and how many rows they gave."""
        return [
            (f"{node['Node Type']} {node.get('Index Name', '')}".strip(), node["Actual Rows"] * node["Actual Loops"])
            for node in self.nodes
            if node.get("Relation Name") == relation and "Scan" in node["Node Type"]
        ]

    def found_by(self, index: str) -> float:
        """How many rows an index gave."""
        nodes = [node for node in self.nodes if node.get("Index Name") == index]
        return float(sum(node["Actual Rows"] * node["Actual Loops"] for node in nodes))

    @property
    def scanned(self) -> list[str]:
        """The tables that were read from end to end."""
        return [node["Relation Name"] for node in self.nodes if node["Node Type"] == "Seq Scan"]


class Backlog:
    """A database with a long queue, and the plans of statements on it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.hot = make_engine(url, 1, hot=True)
        self.cold = make_engine(url, 1, timeouts=Timeouts(LOCK_TIMEOUT, ALONE_TIMEOUT))  # no caller waits for the fill
        self.engines = [self.hot]
        """Those that differ in this state: only the hot one keeps plans."""

    def fill(self, works: Iterable[Work], aged: Iterable[Work]) -> None:
        """Fills it once the hot connection has planned the statements of `works`, and of `aged` with ageing."""
        self._execute(_EMPTY)
        for work in works:
            self._run(work)
        for work in aged:
            self._run(work, AGING)
        self._execute(_FILLED)
        with self.cold.connect() as connection:
            tx = Tx(connection)
            tx.search.index_next(0, KEY_MAX, BACKLOG)
            tx.commit()
        self._execute(_AS_LONG_AS_REAL_ONES)

    def _run(self, work: Work, aging: float = 0.0) -> None:
        with self.hot.connect() as connection:
            connection.exec_driver_sql(BEGIN)
            work(Tx(connection, aging=aging))
            connection.exec_driver_sql("ROLLBACK")

    def plan_anew(self) -> None:
        self.hot.dispose()
        self.hot = make_engine(self._url, 1, hot=True)
        self.engines = [self.hot, self.cold]

    def analyze(self) -> None:
        self._execute("ANALYZE")

    def _execute(self, script: str) -> None:
        with self.cold.begin() as connection:
            connection.exec_driver_sql(script, execution_options={"no_parameters": True})

    def close(self) -> None:
        self.hot.dispose()
        self.cold.dispose()

    def plans(self, engine: sa.Engine, work: Work, aging: float = 0.0) -> list[Plan]:
        """The plans of the statements that `work` runs, with or without ageing. All changes are rolled back."""
        statements: list[str] = []

        def ran(_c: object, _cursor: object, statement: str, *_more: object) -> None:
            statements.append(statement)

        with engine.connect() as connection:
            connection.exec_driver_sql("SET statement_timeout = '20s'")  # cancels statements that read far too much
            connection.exec_driver_sql(BEGIN)  # work that commits by itself stays in this transaction
            sa.event.listen(connection, "before_cursor_execute", ran)
            assert work(Tx(connection, aging=aging)), "the statement found its rows"
            sa.event.remove(connection, "before_cursor_execute", ran)
            connection.exec_driver_sql("ROLLBACK")
            return [plan for statement in statements for plan in _explained(connection, statement)]


def _explained(connection: sa.Connection, script: str) -> list[Plan]:
    """The plans of a statement, or of all that a script executes: what it prepares or locks is left out."""
    script = script.removeprefix(f"{BEGIN}; ")
    executed = [f"EXECUTE{part.partition('; PREPARE ')[0]}" for part in script.split("; EXECUTE")[1:]] or [script]
    connection.exec_driver_sql(BEGIN)
    plans = [plan_of(connection, statement) for statement in executed]
    connection.exec_driver_sql("ROLLBACK")
    return plans


def plan_of(connection: sa.Connection, statement: str) -> Plan:
    """The plan of one statement, which it runs."""
    explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "
    document = connection.exec_driver_sql(explain + statement, execution_options={"no_parameters": True}).scalar_one()
    root = (document if isinstance(document, list) else json.loads(document))[0]["Plan"]
    plan = Plan(statement, root["Shared Hit Blocks"] + root["Shared Read Blocks"])
    _collect(root, plan.nodes)
    return plan


def _collect(node: dict[str, Any], nodes: list[dict[str, Any]]) -> None:
    nodes.append(node)
    for child in node.get("Plans", []):
        _collect(child, nodes)
