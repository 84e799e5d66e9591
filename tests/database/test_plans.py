"""Hot statements and lists read a few pages at a backlog of 70,000, whatever the statistics say."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa

from scheduler_svc.assets.work import ContentAssetRow
from scheduler_svc.contents.sql.reads import MAX_EXAMINED as CONTENTS_EXAMINED
from scheduler_svc.database.connections import ALONE_TIMEOUT, LOCK_TIMEOUT, Timeouts
from scheduler_svc.database.statements import BEGIN
from scheduler_svc.dispatch.rows import FlowMark
from scheduler_svc.domain.account import ALL, Scope
from scheduler_svc.domain.audit import SUBMITS, AuditFilter
from scheduler_svc.domain.content import ContentFilter, PublishStatus, ReviewStatus
from scheduler_svc.domain.dispatch import Starts
from scheduler_svc.domain.ids import KEY_MAX, LeaseRef
from scheduler_svc.domain.lease import LeaseEnd
from scheduler_svc.domain.lifecycle import ENDED, OPEN, RETRYABLE, Status
from scheduler_svc.domain.publishing import PoolFilter, PoolPosition
from scheduler_svc.domain.rollup import Resolution
from scheduler_svc.domain.task import Brief, EndPlace, Task, TaskFilter
from scheduler_svc.domain.webhook import DeliveryStatus, EventType
from scheduler_svc.domain.worker import RunningAttempt
from scheduler_svc.leases.rows import EndedAttempt, LeaseChange, NamedLease, ReportedResult
from scheduler_svc.schedules.work import FiredSchedule, ScheduleTask
from scheduler_svc.tasks.rows import UniqueKey
from scheduler_svc.tasks.sql.lists import MAX_EXAMINED
from scheduler_svc.transactions import Tx, make_engine
from scheduler_svc.webhooks.work import DeliveryOutcome, WebhookEvent
from tests.harness.cluster import Databases
from tests.harness.scheduling import COLUMNS, NO_OTHER_TEXTS, RESULT, Scheduling, new_task, sent

pytestmark = pytest.mark.integration

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
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
            EXECUTE format('ALTER TABLE %I SET (autovacuum_enabled = false)', name);
        END LOOP;
    END $$;
    ANALYZE
"""
_FILLED = f"""
    INSERT INTO accounts (name, max_concurrent_tasks, weight) SELECT 'a', 0, 1 FROM generate_series(1, 5);
    INSERT INTO tasks (task_key, account_id, status, priority, auto_approve, auto_retry, max_retries, timeout_ms,
            attempt, fence, lease_end, end_time, content_id)
        SELECT k, 1 + k % 5, CASE WHEN done THEN 4 ELSE 1 END, 5, true, true, 3, 60000, done::integer,
            CASE WHEN done THEN 7 END, done::integer, CASE WHEN done THEN now() - k * interval '100 ms' END,
            CASE WHEN done THEN k END
        FROM (SELECT k, k <= 20000 AS done FROM generate_series(1, {BACKLOG} + 30000) AS k) AS g;
    INSERT INTO task_payloads ({COLUMNS}, labels, request_id, traceparent)
        SELECT task_key, 'a topic', {NO_OTHER_TEXTS},
        CASE WHEN task_key % 10 = 0 THEN jsonb '{{"team": "a"}}' END, 'r' || task_key,
        '00-' || lpad(CAST(task_key AS text), 32, '0') || '-b7ad6b7169203331-01' FROM tasks;
    INSERT INTO request_ids SELECT account_id, 'r' || task_key, task_key, '', now() FROM tasks;
    INSERT INTO request_ids (account_id, request_id, task_key, fingerprint, create_time, end_time)
        SELECT 1, 'old' || k, k, '', now() - interval '8 days', now() - interval '8 days'
        FROM generate_series(1000001, 1000000 + 2 * {ROWS}) AS k;
    INSERT INTO unique_keys SELECT 1, 'key ' || task_key, task_key, now() FROM tasks;
    INSERT INTO contents SELECT task_key, account_id, task_key, CASE WHEN task_key % 2000 = 0 THEN 'rare' ELSE '' END,
        'body', '', '', '', '[]', 4, NULL, 2 FROM tasks WHERE status = 4;
    ALTER SEQUENCE content_seq RESTART 1000001;
    INSERT INTO content_revisions SELECT content_id, number, '', now(), '', 'body', '', '', '', ''
        FROM contents, generate_series(1, 2) AS number;
    INSERT INTO content_assignments SELECT content_id, 'anna', 'boris' FROM contents;
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
    INSERT INTO channel_events (channel_id, event_type, data, due_time)
        SELECT 1 + k % 3, 'task.failed', '{{}}', to_timestamp(k) FROM generate_series(1, 60000) AS k;
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
        return [
            node["Relation Name"] for node in self.nodes if node["Node Type"] == "Seq Scan" and node["Actual Loops"]
        ]

    @property
    def compared(self) -> float:
        """How many pairs of rows joins compared in vain."""
        return float(sum(node.get("Rows Removed by Join Filter", 0) * node["Actual Loops"] for node in self.nodes))


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
        with engine.connect() as connection:
            connection.exec_driver_sql("SET statement_timeout = '20s'")  # cancels statements that read far too much
            connection.exec_driver_sql(BEGIN)  # work that commits by itself stays in this transaction
            with sent(connection.engine) as statements:
                assert work(Tx(connection, aging=aging)), "the statement found its rows"
            connection.exec_driver_sql("ROLLBACK")
            return [plan for statement in statements for plan in _explained(connection, statement)]


def check(plans: Iterable[Plan], most: float, *, scans: Set[str] = frozenset()) -> None:
    """Each reads so many pages at the most, and no tables from end to end but these."""
    for plan in plans:
        assert plan.buffers <= most, plan
        assert set(plan.scanned) <= scans, plan


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


# Hot statements and lists read a few pages at a backlog of 70,000, whatever the statistics say.
#
# Each statement is taken from the function that runs it, and explained as it ran. `kept` plans were made while the
# tables were empty, like those of an idle scheduler; `stale` statistics are those of empty tables, as during a burst;
# `fresh` ones are current.


# A row costs three or four pages for each index that is read or written for it.
MAX_BUFFERS_A_ROW = 60
MAX_BUFFERS_A_PAGE = 20 * PAGE
NUMBERS_BYTES = 16
"""Of an account and a content."""
MAX_BUFFERS_AN_EXAMINED_ROW = 12
"""Pages that are read to examine a task: an index or two, and its row."""
SLOTS = [("w", 1)] * ROWS


@pytest.fixture(scope="module")
def filled(databases: Databases, template: str) -> Iterator[Backlog]:
    with databases.lent(template) as url:
        backlog = Backlog(url)
        works = (*HOT.values(), *LONGER.values(), *WATCHED.values(), *map(filtered, FILTERED))
        backlog.fill(works, AGED.values())
        yield backlog
        backlog.close()


@pytest.fixture(scope="module", params=["kept", "stale", "fresh"])
def backlog(filled: Backlog, request: pytest.FixtureRequest) -> Backlog:
    if request.param == "stale":
        filled.plan_anew()
    if request.param == "fresh":
        filled.analyze()
    return filled


planned_anew = pytest.mark.parametrize("backlog", ["stale", "fresh"], indirect=True)
"""For tests of the connections of calls alone: they plan each statement again, and keep no plan."""
LAST = BACKLOG + 30_000
KEYS = range(20_001, 20_001 + ROWS)
REFS = [LeaseRef(key, 1, 7) for key in KEYS]


def close_lock_mark(tx: Tx) -> bool:
    tx.window.close(1)
    tx.window.lock(1)
    tx.window.mark(1, [FlowMark(1, True, 0.0), FlowMark(6, False, None)], closed=True)
    return True


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def record_deliveries(tx: Tx) -> bool:
    ids = range(60_001 - ROWS, 60_001)
    tx.deliveries.record([DeliveryOutcome(key, 1 + key % 3, EPOCH, True, False, 200, "", 5.0) for key in ids])
    return True


def store_events(tx: Tx) -> bool:
    tx.deliveries.store([WebhookEvent(EventType.TASK_ENDED, 1 + key % 2, key, "{}") for key in KEYS])
    return bool(tx.now)


def count_starts(tx: Tx) -> bool:
    tx.start_quotas.count(3, 1, [Starts(tx.now, 1)])
    tx.start_quotas.subtract_tags({1: 1, 3: 1})
    return True


def store_expiries(tx: Tx) -> bool:
    """Of tasks that are delayed, and of tasks that are ready."""
    times = dict.fromkeys(range(30_001 - ROWS // 2, 30_001 + ROWS // 2), EPOCH)
    tx.expiry.submit(times)
    tx.expiry.set(times)
    return True


def take_unique_keys(tx: Tx) -> bool:
    """Of keys that others hold, and of keys that nobody holds."""
    rows = [UniqueKey(1, f"key {key}", 10_000_000 + key, EPOCH) for key in range(LAST + 1 - ROWS, LAST + 1 + ROWS)]
    tx.unique_keys.insert(rows)
    tx.unique_keys.lock(rows)
    tx.unique_keys.held(rows)
    tx.unique_keys.replace(rows)
    tx.unique_keys.store(dict.fromkeys(KEYS, ("key", timedelta(hours=1))))
    tx.unique_keys.of_tasks(KEYS)
    return True


def update_tasks(tx: Tx) -> bool:
    before = Task(
        task_key=40_000,
        account_id=1,
        brief=Brief("a topic"),
        priority=5,
        auto_approve=True,
        status=Status.PENDING,
        create_time=EPOCH,
        schedule_time=None,
        timeout=timedelta(seconds=60),
        max_retries=3,
        auto_retry=True,
        labels={"team": "a"},
        request_id="",
    )
    tx.tasks.update(before)
    tx.tasks.update_payload(before, before._replace(labels={"team": "b"}))
    tx.waiting.keep_ready_time(before.task_key, EPOCH)
    return True


def record_ticks(tx: Tx) -> bool:
    tx.schedules.record([FiredSchedule(i, None, None, None, None, "") for i in range(1, 1 + ROWS)])
    tx.schedules.add_tasks([ScheduleTask(10_000_000 + key, 2, tx.now + timedelta(seconds=key)) for key in KEYS])
    return True


def store_small(tx: Tx) -> Any:
    """Of two accounts, of which one has a quota, with request ids and labels."""
    new = [
        (10_000_000 + n, new_task(account_id=1 + n % 2, request_id=f"small {n}", labels={"n": str(n)}))
        for n in range(ROWS)
    ]
    counts = Counter((task.account_id, task.priority) for _, task in new)
    return tx.submits.store_small(new, counts, 10_000_000)


HOT: dict[str, Callable[[Tx], Any]] = {
    "small submit": store_small,
    "claim": lambda tx: tx.leases.claim(SLOTS, 120.0).grants,
    "lock": lambda tx: tx.leases.lock(KEYS),
    "lock a worker's": lambda tx: tx.leases.lock_of_worker("v"),
    "renew": lambda tx: tx.leases.renew([NamedLease(*ref, "w") for ref in REFS], 120.0),
    "renew, skipping locked": lambda tx: tx.leases.renew(
        [NamedLease(*ref, "w") for ref in REFS], 120.0, skip_locked=True
    ),
    "change": lambda tx: tx.leases.change([LeaseChange(*ref, True, True, 5, "", "") for ref in REFS]),
    "delete": lambda tx: tx.leases.delete(REFS),
    "revoke": lambda tx: tx.leases.revoke(REFS),
    "complete": lambda tx: tx.leases.complete([ReportedResult(*ref) for ref in REFS]),
    "lock tasks": lambda tx: tx.tasks.lock(KEYS),
    "peek": lambda tx: tx.tasks.peek(KEYS),
    "traces": lambda tx: tx.tasks.traces(KEYS),
    "end attempts": lambda tx: tx.tasks.end_attempts(
        [EndedAttempt(*ref, LeaseEnd.FAILED, Status.FAILED, "w", None, None, 0, 0, 0, 0, None) for ref in REFS]
    ),
    "remove": lambda tx: tx.waiting.remove(range(30_001, 30_001 + ROWS)),
    "remove for an attempt": lambda tx: tx.waiting.remove_next([(key, 1) for key in range(30_001, 30_001 + ROWS)]),
    "take unique keys": take_unique_keys,
    "store expiries": store_expiries,
    "update a task": update_tasks,
    "expired": lambda tx: tx.expiry.expired(ROWS),
    "remove expired": lambda tx: tx.expiry.remove(range(29_001, 29_001 + ROWS)),
    "cancel expired": lambda tx: tx.tasks.cancel_waiting(range(30_001, 30_001 + ROWS), "{}"),
    "queue heads": lambda tx: tx.waiting.heads(ROWS),
    "other backlogs": lambda tx: tx.system.backlogs(ROWS),
    "the next expiry": lambda tx: tx.expiry.next() is not None,
    "reserve": lambda tx: tx.waiting.reserve({(account, 5): 1 for account in range(1, 6)}),
    "admit": lambda tx: tx.window.admit(1, 1, ROWS, 0.0, 1.0),
    "untag": lambda tx: tx.window.untag(1, 1, ROWS),
    "close, lock and mark": close_lock_mark,
    "accounts with backlog": lambda tx: tx.window.accounts_with_backlog(0, ROWS),
    "raise floors": lambda tx: tx.floors.rise(),
    "standing": lambda tx: tx.submits.context([1, 2]),
    "fold": lambda tx: tx.counts.fold(ROWS),
    "starts": count_starts,
    "reopened accounts": lambda tx: tx.start_quotas.reopened(),
    "schedules that are due": lambda tx: tx.schedules.lock_due(tx.now, ROWS, [9]),
    "accounts of schedules that are due": lambda tx: tx.schedules.due_accounts(tx.now, ROWS, [9]),
    "the next schedule": lambda tx: tx.schedules.next_due() or True,
    "ticks that ran": lambda tx: tx.schedules.ran([(1, datetime.fromtimestamp(key, UTC)) for key in KEYS]),
    "record ticks": record_ticks,
    "store events": store_events,
    "claim deliveries": lambda tx: tx.deliveries.claim({1: 1, 2: 0}, ROWS, timedelta(seconds=30))[0],
    "when a delivery is due": lambda tx: tx.deliveries.next_due([1]) is not None,
    "record deliveries": record_deliveries,
    "what is scheduled for later days": lambda tx: tx.submits.scheduled_from(20_000 + 10 * ROWS),
}
LONGER: dict[str, Callable[[Tx], Any]] = {
    "settle": lambda tx: tx.window.account_queue(1, PAGE),
    "new tags": lambda tx: tx.window.renew(1, 1, 0.0, 1.0),
    "due": lambda tx: tx.waiting.take_due(DUE),
}
"""Hot statements of more rows, which have their own tests."""
AGED: dict[str, Callable[[Tx], Any]] = {"claim": HOT["claim"], "settle": LONGER["settle"]}
"""Statements that differ if priorities rise with the wait."""


@pytest.mark.costly("the first test fills a database; it begins first, so that one process runs them all", seconds=3)
def test_the_claim_reads_only_the_head_of_one_index(backlog: Backlog) -> None:
    """None of the untagged tasks, which have the highest priority here: of a paused account, or one with a limit."""
    (plan,) = backlog.plans(backlog.hot, HOT["claim"])
    assert plan.found_by("ready_order") == ROWS
    assert sum(rows for _, rows in plan.read("ready")) <= 2 * ROWS  # and deletes them by their keys


def test_results_find_their_leases_by_key_by_a_plan_made_when_there_was_one(db_url: str) -> None:
    with closing(Backlog(db_url)) as backlog:
        scheduling = Scheduling(backlog.hot)
        first = scheduling.claim_of_new()
        scheduling.sql("VACUUM ANALYZE leases")
        scheduling.report(first, RESULT)
        scheduling.fill(1, 300)
        results = [ReportedResult(*ref) for ref in scheduling.claim(300)]
        (plan,) = backlog.plans(backlog.hot, lambda tx: tx.leases.complete(results))
    assert plan.compared <= 10 * len(results), plan


@pytest.mark.parametrize("what", HOT)
def test_a_hot_statement_reads_a_few_pages_a_row(backlog: Backlog, what: str) -> None:
    check(backlog.plans(backlog.hot, HOT[what]), MAX_BUFFERS_A_ROW * ROWS, scans={"backups"})  # which has one row


def test_a_claim_with_ageing_reads_the_head_of_each_priority(backlog: Backlog) -> None:
    """As many of each as there are slots, by the index of the order; then the rows that it takes, by key."""
    (plan,) = backlog.plans(backlog.hot, AGED["claim"], AGING)
    assert plan.buffers <= MAX_BUFFERS_A_ROW * ROWS, plan
    assert plan.found_by("ready_order") == WITH_TAGS * ROWS, plan
    assert plan.found_by("ready_pkey") == 2 * ROWS, plan
    assert sum(rows for _, rows in plan.read("ready")) == (WITH_TAGS + 2) * ROWS
    assert not plan.scanned, plan


def test_a_claim_with_ageing_skips_locked_rows_along_the_same_index(backlog: Backlog) -> None:
    with backlog.cold.connect() as other:
        other.exec_driver_sql(f"{BEGIN}; SELECT FROM ready WHERE task_key <= 30000 + 10 * {ROWS} FOR UPDATE")
        (plan,) = backlog.plans(backlog.hot, AGED["claim"], AGING)
        other.exec_driver_sql("ROLLBACK")
    assert plan.buffers <= MAX_BUFFERS_A_ROW * ROWS, plan
    assert plan.found_by("ready_order") == WITH_TAGS * ROWS + ROWS, plan
    assert not plan.scanned, plan


@planned_anew
def test_a_hello_reads_its_worker_s_leases_only(backlog: Backlog) -> None:
    """On the connections of calls, which plan each statement again: 10 of 5,000 workers."""
    (plan,) = backlog.plans(backlog.cold, HOT["lock a worker's"])
    assert plan.buffers <= MAX_BUFFERS_A_ROW * ROWS, plan
    assert plan.found_by("leases_by_worker") == ROWS, plan


def test_pending_counts_are_read_only_for_accounts_with_a_limit(backlog: Backlog) -> None:
    (unlimited,) = backlog.plans(backlog.hot, lambda tx: tx.submits.context([1]))
    (limited,) = backlog.plans(backlog.hot, lambda tx: tx.submits.context([2]))
    assert not (*unlimited.scanned, *limited.scanned)
    assert unlimited.found_by("count_deltas_by_transaction") < limited.found_by("count_deltas_by_transaction")
    assert limited.found_by("count_deltas_by_transaction") <= 2 * (20_000 / 30 + ROWS), limited


@planned_anew
@pytest.mark.parametrize("account_id", [None, 1, 2, 3], ids=["all", "no bar", "a limit", "a quota of starts"])
def test_a_demand_is_read_from_counts_alone(backlog: Backlog, account_id: int | None) -> None:
    """Of tasks nothing is read; of what is small by nature anything may be."""
    work = (lambda tx: tx.loads.all()) if account_id is None else (lambda tx: tx.loads.of(account_id))
    (plan,) = backlog.plans(backlog.cold, work)
    assert set(plan.scanned) <= {"accounts", "count_floor", "pauses", "start_quotas", "task_counts"}, plan
    for table in ("ready", "delayed", "leases", "tasks"):
        assert not plan.read(table), plan


@pytest.mark.parametrize("account_id", [1, 2, 3], ids=["without a limit", "with a limit", "with a quota of starts"])
def test_an_account_is_settled_by_its_own_window(backlog: Backlog, account_id: int) -> None:
    """Reads its own tags and a batch of its untagged tasks, not those of others and not all.

    With ageing it reads waits too if seats are few, which they never are for an account without a limit.
    """
    for aging, looks in ((0.0, 0), (AGING, 0 if account_id == 1 else 10)):
        (plan,) = backlog.plans(backlog.hot, lambda tx: tx.window.account_queue(account_id, PAGE), aging)
        heads = 10  # of the priorities
        assert sum(rows for _, rows in plan.read("ready")) <= TAGGED / 5 + 2 * PAGE + heads + looks * PAGE
        assert 2 * PAGE <= plan.found_by("ready_backlog") <= (2 + looks) * PAGE, plan
        assert 2 <= plan.found_by("shares_pkey") <= 10, plan
        assert not plan.scanned


def test_new_tags_are_given_to_an_account_s_own_tasks(backlog: Backlog) -> None:
    (plan,) = backlog.plans(backlog.hot, LONGER["new tags"])
    assert plan.buffers <= MAX_BUFFERS_A_ROW * TAGGED / 10
    assert not plan.scanned


def test_due_tasks_are_read_without_the_others(backlog: Backlog) -> None:
    (plan,) = backlog.plans(backlog.hot, LONGER["due"])
    assert not plan.scanned, plan
    assert max(rows for _, rows in plan.read("delayed")) <= DUE, plan


@planned_anew
def test_expired_tasks_are_found_by_the_indexes_that_hold_only_what_expires(backlog: Backlog) -> None:
    for name in ("expired", "the next expiry"):
        (plan,) = backlog.plans(backlog.cold, HOT[name])
        assert plan.found_by("ready_expiry") + plan.found_by("delayed_expiry") <= 2 * ROWS, plan
        check([plan], MAX_BUFFERS_A_ROW)


Page = Callable[[int | None], Work]
"""A page of a list, the first one or one behind a key."""


def listed_pool(scope: Scope, after: int | None) -> Work:
    """Behind an entry of the priority that all entries have."""
    position = None if after is None else PoolPosition(5, after)
    return lambda tx: tx.publish_pool.list(scope, PoolFilter(), position, PAGE)


def audited(scope: Scope, before: int | None, *, actor: str = "", method: str = "") -> Work:
    wants = AuditFilter(actor, method, high=before or KEY_MAX)
    return lambda tx: tx.audit.list(scope, wants, PAGE)


def tasks_of(wanted: TaskFilter) -> Page:
    return lambda before: lambda tx: tx.task_reads.list(wanted, before, PAGE)


def oldest_tasks_of(wanted: TaskFilter) -> Page:
    return lambda after: lambda tx: tx.task_reads.list(wanted, after, PAGE, oldest_first=True)


def contents_of(scope: Scope) -> Page:
    return lambda before: lambda tx: tx.contents.list(scope, ContentFilter(), before, PAGE)


def schedules_of(scope: Scope) -> Page:
    return lambda after: lambda tx: tx.schedules.list(scope, after or 0, PAGE)


def found_behind(scope: Scope) -> Page:
    return lambda after: lambda tx: tx.task_reads.find(TaskFilter(scope, COMPLETED | FAILED), after or 0, PAGE)


COMPLETED, FAILED = frozenset({Status.COMPLETED}), frozenset({Status.FAILED})
PENDING, PROCESSING = frozenset({Status.PENDING}), frozenset({Status.PROCESSING})
ONE, TWO = Scope.of(1), Scope((1, 2))
scopes = pytest.mark.parametrize("scope", [ALL, ONE, TWO], ids=["all", "an account", "two accounts"])
LISTS: dict[str, tuple[Page, int, int]] = {
    "all tasks": (tasks_of(TaskFilter()), 1_000, 1),
    "an account's tasks": (tasks_of(TaskFilter(ONE)), 1_000, 1),
    "an account's tasks, the oldest first": (oldest_tasks_of(TaskFilter(ONE)), 90_000, 1),
    "completed tasks": (tasks_of(TaskFilter(statuses=COMPLETED)), 1_000, 1),
    "tasks of several states": (tasks_of(TaskFilter(statuses=COMPLETED | FAILED)), 1_000, 1),
    "an account's completed tasks": (tasks_of(TaskFilter(ONE, COMPLETED)), 1_000, 1),
    "pending tasks": (tasks_of(TaskFilter(statuses=PENDING)), 31_000, 1),
    "an account's pending tasks": (tasks_of(TaskFilter(ONE, PENDING)), 31_000, 1),
    "running tasks": (tasks_of(TaskFilter(statuses=PROCESSING)), 21_000, 1),
    "tasks with a label": (tasks_of(TaskFilter(labels={"team": "a"})), 1_000, 1),
    "tasks of a schedule": (tasks_of(TaskFilter(schedule_id=1)), 1_000, 1),
    "schedules": (schedules_of(ALL), 19_000, 1),
    "an account's schedules": (schedules_of(ONE), 19_000, 1),
    "contents": (contents_of(ALL), 1_000, 1),
    "an account's contents": (contents_of(ONE), 1_000, 1),
    "a webhook's deliveries": (lambda before: lambda tx: tx.deliveries.list(1, None, before, PAGE), 1_000, 1),
    "audit events": (partial(audited, ALL), 1_000, 1),
    "an account's audit events": (partial(audited, ONE), 1_000, 1),
    "the audit events of a method": (partial(audited, ALL, method="TaskService/CancelTask"), 1_000, 1),
    "the publish pool": (partial(listed_pool, ALL), 19_000, 1),
    "an account's publish pool": (partial(listed_pool, ONE), 19_000, 1),
    "tasks of a bulk call": (found_behind(ALL), 19_000, 1),
    "an account's tasks of a bulk call": (found_behind(ONE), 19_000, 1),
    "two accounts' tasks": (tasks_of(TaskFilter(TWO)), 1_000, 2),
    "two accounts' completed tasks": (tasks_of(TaskFilter(TWO, COMPLETED)), 1_000, 2),
    "two accounts' contents": (contents_of(TWO), 1_000, 2),
    "two accounts' publish pool": (partial(listed_pool, TWO), 19_000, 2),
}
"""Lists, a key far behind, and what a page costs at the most, in pages of one account."""


@planned_anew
def test_a_page_of_several_accounts_reads_the_bodies_of_its_contents_only(backlog: Backlog) -> None:
    """Of a hundred accounts that would be a hundred pages of bodies; only ids are read of the others."""
    (plan,) = backlog.plans(backlog.cold, lambda tx: tx.contents.list(TWO, ContentFilter(), None, PAGE))
    reading = [node for node in plan.nodes if node.get("Relation Name") == "contents"]
    whole = [node["Actual Rows"] * node["Actual Loops"] for node in reading if node["Plan Width"] > NUMBERS_BYTES]
    assert whole == [PAGE]


@planned_anew
@pytest.mark.parametrize("what", LISTS)
def test_a_late_page_costs_as_much_as_the_first_one(backlog: Backlog, what: str) -> None:
    make, late, pages = LISTS[what]
    for before in (None, late):
        (plan,) = backlog.plans(backlog.cold, make(before))
        check([plan], MAX_BUFFERS_A_PAGE * pages)


@planned_anew
@pytest.mark.parametrize("rows", ["", " ORDER BY end_time DESC", " WHERE account_id = 1"])
def test_the_latest_failures_are_read_by_an_index(backlog: Backlog, rows: str) -> None:
    """Of the view for people; a tenth of what has ended are failures."""
    with backlog.cold.connect() as connection:
        connection.exec_driver_sql(f"{BEGIN}; UPDATE tasks SET status = 5, content_id = NULL WHERE task_key <= 2000")
        plan = plan_of(connection, f"SELECT * FROM v_failures{rows} LIMIT {PAGE}")
        connection.exec_driver_sql("ROLLBACK")
    assert plan.found_by("task_payloads_pkey") == PAGE, plan
    assert not set(plan.scanned) - {"accounts"}, plan


@planned_anew
def test_a_page_of_what_runs_looks_its_tasks_up(backlog: Backlog) -> None:
    """Of the view for people; leases are few, and read whole."""
    with backlog.cold.connect() as connection:
        plan = plan_of(connection, f"SELECT * FROM v_running LIMIT {PAGE}")
    assert plan.found_by("tasks_pkey") == plan.found_by("task_payloads_pkey") == PAGE, plan
    assert not set(plan.scanned) - {"accounts", "leases"}, plan


LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
FILTERED: dict[str, TaskFilter] = {
    "a label of an account that has none": TaskFilter(Scope.of(99), labels={"all": "x"}),
    "a label and a state that no task has": TaskFilter(statuses=FAILED, labels={"all": "x"}),
    "a label and a state that few tasks have": TaskFilter(statuses=frozenset({Status.SUBMITTED}), labels={"all": "x"}),
    "a label and a state that old tasks have": TaskFilter(statuses=COMPLETED, labels={"all": "x"}),
    "two labels, one of them of nobody": TaskFilter(labels={"all": "x", "team": "nobody"}),
    "two labels of many, but never both": TaskFilter(labels={"new": "x", "old": "x"}),
    "many with the label, and many in the state, but never both": TaskFilter(statuses=COMPLETED, labels={"new": "x"}),
    "the same of two accounts": TaskFilter(Scope((1, 2)), COMPLETED, {"new": "x"}),
    "a schedule and a state that no task has": TaskFilter(statuses=FAILED, schedule_id=1),
    "a schedule and an account that has none": TaskFilter(Scope.of(99), schedule_id=1),
    "a schedule of many, and a label and a state that old tasks have": TaskFilter(
        statuses=COMPLETED, labels={"all": "x"}, schedule_id=1
    ),
    "a reason that no task has": TaskFilter(error_reasons=("CREATOR_ERROR",)),
    "a time before which no task was created": TaskFilter(created_before=LONG_AGO),
    "a worker that has run nothing": TaskFilter(worker_id="nobody"),
    "a worker of running tasks": TaskFilter(statuses=frozenset({Status.PROCESSING}), worker_id="nobody"),
    "a topic that no task has": TaskFilter(topic="春天"),
    "a topic and a label": TaskFilter(labels={"all": "x"}, topic="春天"),
    "all of these of two accounts": TaskFilter(
        TWO,
        error_reasons=("CREATOR_ERROR",),
        created_after=LONG_AGO,
        created_before=datetime(2100, 1, 1, tzinfo=UTC),
        worker_id="nobody",
        topic="春天",
    ),
}
BULK: dict[str, TaskFilter] = {
    "open tasks": TaskFilter(statuses=OPEN, labels={"all": "x"}, topic="春天"),
    "failed tasks": TaskFilter(statuses=RETRYABLE, has_retries_left=True),
    "ended tasks of two accounts": TaskFilter(TWO, ENDED, deletable_since=LONG_AGO),
}


def filtered(what: str) -> Callable[[Tx], Any]:
    return lambda tx: tx.task_reads.list(FILTERED[what], None, PAGE)


def batch_of(what: str) -> Callable[[Tx], Any]:
    return lambda tx: tx.task_reads.find(BULK[what], 0, PAGE)


@pytest.mark.parametrize("what", FILTERED)
def test_a_page_of_a_filter_examines_a_bounded_number(backlog: Backlog, what: str) -> None:
    """Even if 100,000 tasks have the label. The hot connection planned while none had it.

    All of these tasks are misdated: for a filter by time a third statement looks at some of them.
    """
    for engine in backlog.engines:
        plans = backlog.plans(engine, filtered(what))
        assert len(plans) == 2 + bool(FILTERED[what].created_after or FILTERED[what].created_before)
        check(plans, MAX_BUFFERS_AN_EXAMINED_ROW * MAX_EXAMINED + MAX_BUFFERS_A_PAGE, scans={"leases"})


ENDS: dict[str, tuple[TaskFilter, int]] = {
    "all": (TaskFilter(), MAX_BUFFERS_A_PAGE),
    "an account's failures": (TaskFilter(ONE, FAILED), MAX_BUFFERS_A_PAGE),
    "an account's": (TaskFilter(ONE), MAX_BUFFERS_AN_EXAMINED_ROW * MAX_EXAMINED),
    "two accounts' without a match": (TaskFilter(TWO, labels={"all": "x"}, topic="春天"), 90_000),
}
"""Lists in the order of ends, and what a page costs at the most."""


@planned_anew
@pytest.mark.parametrize("first_ended", [False, True])
@pytest.mark.parametrize("what", ENDS)
def test_a_page_of_ends_walks_along_their_index_or_sorts_few(backlog: Backlog, what: str, first_ended: bool) -> None:
    wanted, most = ENDS[what]
    for behind in (None, EndPlace(datetime.now(UTC) - timedelta(seconds=1_000), 10_000)):
        work = partial(ends_behind, wanted, behind, first_ended)
        check(backlog.plans(backlog.cold, work), most, scans={"leases"})


def ends_behind(wanted: TaskFilter, behind: EndPlace | None, first_ended: bool, tx: Tx) -> bool:
    return tx.task_reads.list_ended(wanted, behind, PAGE, first_ended=first_ended) is not None


@planned_anew
@pytest.mark.parametrize("what", BULK)
def test_a_batch_of_a_bulk_call_examines_a_bounded_number(backlog: Backlog, what: str) -> None:
    plans = backlog.plans(backlog.cold, batch_of(what))
    assert len(plans) == 2
    check(plans, MAX_BUFFERS_AN_EXAMINED_ROW * MAX_EXAMINED + MAX_BUFFERS_A_PAGE, scans={"leases"})


@planned_anew
@scopes
@pytest.mark.parametrize("wanted", [{"actor": "nobody"}, {"method": SUBMITS[1]}], ids=["an actor", "a method"])
def test_a_page_of_audit_events_examines_a_bounded_number(
    backlog: Backlog, wanted: dict[str, str], scope: Scope
) -> None:
    plans = backlog.plans(backlog.cold, audited(scope, None, **wanted))
    assert len(plans) == 2
    check(plans, MAX_BUFFERS_AN_EXAMINED_ROW * MAX_EXAMINED)


@planned_anew
@scopes
def test_a_period_of_rollups_reads_its_hours(backlog: Backlog, scope: Scope) -> None:
    start, hour = datetime.fromtimestamp(3_600 * 500, UTC), timedelta(hours=1)
    (plan,) = backlog.plans(backlog.cold, lambda tx: tx.rollups.read(scope, Resolution.HOUR, start, start + 20 * hour))
    assert set(plan.scanned) <= {"rollup_deltas"}, plan
    assert sum(rows for _, rows in plan.read("task_rollups")) <= 20 * 20 * len(scope.accounts or (0,)), plan


def test_a_fold_of_rollups_reads_what_it_folds(backlog: Backlog) -> None:
    for engine in backlog.engines:
        fold = backlog.plans(engine, lambda tx: tx.rollups.fold(ROWS))[-1]
        assert fold.buffers <= MAX_BUFFERS_A_ROW * ROWS, fold


def test_stored_audit_events_and_their_accounts_are_found_by_keys(backlog: Backlog) -> None:
    own = [("task", 25_001), ("content", 1), ("schedule", 1), ("webhook", 2), ("delivery", 1)]
    works = (lambda tx: tx.audit.stored(range(1, ROWS)), lambda tx: tx.audit.accounts_of(own))
    for engine, work in product(backlog.engines, works):
        (plan,) = backlog.plans(engine, work)
        assert plan.buffers <= MAX_BUFFERS_A_ROW * ROWS, plan
        assert not set(plan.scanned) - {"webhooks"}, plan


def content_plans(backlog: Backlog, scope: Scope, wanted: ContentFilter, *, oldest_first: bool = False) -> list[Plan]:
    """Of the statements that read the first page of a list of contents."""
    return backlog.plans(
        backlog.cold, lambda tx: tx.contents.list(scope, wanted, None, PAGE, oldest_first=oldest_first)
    )


@planned_anew
@scopes
@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize("status", ReviewStatus)
def test_a_page_of_contents_by_review_reads_those_only(
    backlog: Backlog, status: ReviewStatus, oldest_first: bool, scope: Scope
) -> None:
    """All of them are approved."""
    wanted, most = ContentFilter(status), MAX_BUFFERS_AN_EXAMINED_ROW * CONTENTS_EXAMINED
    plans = content_plans(backlog, scope, wanted, oldest_first=oldest_first)
    assert len(plans) == 2
    check(plans, (most if status == ReviewStatus.APPROVED else 50))


@planned_anew
@scopes
def test_a_search_of_few_rejected_contents_looks_at_each(backlog: Backlog, scope: Scope) -> None:
    """And not at all contents that have the words."""
    wanted = ContentFilter(ReviewStatus.REJECTED, words=("topic",))
    plans = content_plans(backlog, scope, wanted)
    assert sum(plan.buffers for plan in plans) <= 100
    assert not any("content_grams" in plan.statement for plan in plans)


@planned_anew
@pytest.mark.parametrize("oldest_first", [False, True])
def test_what_is_assigned_is_found_by_its_index(backlog: Backlog, oldest_first: bool) -> None:
    """Where the planner knows of few contents, it reads all for as many as a page examines."""
    assigned, page = content_plans(backlog, ALL, ContentFilter(assignee="anna"), oldest_first=oldest_first)
    check([assigned], 50 + CONTENTS_EXAMINED)
    check([page], MAX_BUFFERS_AN_EXAMINED_ROW * CONTENTS_EXAMINED, scans={"contents"})


MATCHES_NOTHING = [
    ContentFilter(publish_status=PublishStatus.FAILED),
    ContentFilter(labels={"team": "none", "all": "x"}),
    ContentFilter(category="none", min_quality_score=9.0, created_before=datetime(2020, 1, 1, tzinfo=UTC)),
]


@planned_anew
@scopes
@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize("wanted", MATCHES_NOTHING)
def test_a_page_of_filtered_contents_examines_a_bounded_number(
    backlog: Backlog, wanted: ContentFilter, oldest_first: bool, scope: Scope
) -> None:
    plans = content_plans(backlog, scope, wanted, oldest_first=oldest_first)
    assert len(plans) == 2
    check(plans, 2 * MAX_BUFFERS_AN_EXAMINED_ROW * CONTENTS_EXAMINED)


@planned_anew
@scopes
@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize(("words", "named"), [(("RARE", "topic"), 20), (("topic",), CONTENTS_EXAMINED), (("none",), 0)])
def test_a_search_reads_the_contents_that_its_index_names(
    backlog: Backlog, words: tuple[str, ...], named: int, oldest_first: bool, scope: Scope
) -> None:
    wanted = ContentFilter(words=words)
    plans = content_plans(backlog, scope, wanted, oldest_first=oldest_first)
    (compared,) = [plan for plan in plans if "strpos" in plan.statement]
    assert sum(rows for _, rows in compared.read("contents")) <= named + PAGE, compared
    check(plans, 2 * MAX_BUFFERS_AN_EXAMINED_ROW * CONTENTS_EXAMINED, scans={"search_index"})


@planned_anew
@pytest.mark.parametrize(
    ("scope", "index"),
    [(ALL, "contents_waiting"), (Scope.of(1), "contents_waiting_by_account"), (TWO, "contents_waiting_by_account")],
    ids=["all", "an account", "two accounts"],
)
def test_a_claim_of_a_review_reads_nothing_that_does_not_wait(backlog: Backlog, scope: Scope, index: str) -> None:
    plans = backlog.plans(backlog.cold, lambda tx: [tx.reviews.claim(scope, "anna", timedelta(minutes=10))])
    plans += backlog.plans(backlog.cold, lambda tx: [tx.reviews.lock_held("anna", PAGE)])
    for plan in plans:
        assert {node for node, rows in plan.read("contents") if rows} <= {f"Index Scan {index}"}, plan
        check([plan], 50)


@planned_anew
@pytest.mark.parametrize(("account_id", "index"), [(0, "publish_pool_claims"), (1, "publish_pool_claims_by_account")])
def test_a_claim_of_the_pool_reads_no_row_that_is_not_due(backlog: Backlog, account_id: int, index: str) -> None:
    lease = timedelta(minutes=10)
    (plan,) = backlog.plans(backlog.cold, lambda tx: tx.publish_pool.claim(Scope.of(account_id), ROWS, lease, "p"))
    assert (f"Index Scan {index}", ROWS) in plan.read("publish_pool"), plan
    assert not plan.scanned, plan
    # besides the cost of each row, the head of the index that is scheduled for later: some 200 entries a page
    assert plan.buffers <= MAX_BUFFERS_A_ROW * ROWS + SCHEDULED / 100, plan


@planned_anew
@pytest.mark.parametrize(("account_id", "index"), [(0, "publish_pool_retries"), (1, "publish_pool_retries_by_account")])
def test_retries_that_are_due_are_found_without_those_that_wait(backlog: Backlog, account_id: int, index: str) -> None:
    (plan,) = backlog.plans(backlog.cold, lambda tx: tx.publish_pool.resume(Scope.of(account_id), ROWS))
    assert ROWS <= plan.found_by(index) <= 100, plan  # with old statistics all that are due, and a sort
    check([plan], MAX_BUFFERS_A_ROW * ROWS)


@planned_anew
@scopes
@pytest.mark.parametrize("status", PublishStatus)
def test_a_page_of_the_pool_by_status_reads_its_own_rows(backlog: Backlog, status: PublishStatus, scope: Scope) -> None:
    """Of 20,000 entries few are being published, and many are pending."""
    (plan,) = backlog.plans(
        backlog.cold, lambda tx: tx.publish_pool.list(scope, PoolFilter(frozenset([status])), None, PAGE)
    )
    check([plan], 2 * MAX_BUFFERS_A_PAGE)


@planned_anew
@scopes
def test_a_page_of_the_pool_by_time_examines_a_bounded_part_of_it(
    backlog: Backlog, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler_svc.publishing.sql.MAX_EXAMINED", ROWS)
    wanted = PoolFilter(scheduled_after=datetime(2030, 1, 31, tzinfo=UTC))
    plans = backlog.plans(backlog.cold, lambda tx: tx.publish_pool.list(scope, wanted, None, PAGE).rows == [])
    assert len(plans) == 2
    check(plans, 2 * len(PublishStatus) * MAX_BUFFERS_A_ROW * ROWS)


@planned_anew
@pytest.mark.parametrize("begin", [20_001, 31_001], ids=["they run on", "they do not"])
def test_attempt_outcomes_are_keyed_lookups(backlog: Backlog, begin: int) -> None:
    """Beside the leases, of which there are few."""
    attempts = [RunningAttempt(key, 1, "w") for key in range(begin, begin + ROWS)]
    (plan,) = backlog.plans(backlog.cold, lambda tx: tx.polls.attempt_counts(attempts))
    assert plan.buffers <= MAX_BUFFERS_A_ROW * ROWS + MAX_BUFFERS_A_PAGE, plan
    assert "task_events" not in plan.scanned


def cancel_waiting(keys: Sequence[int], skip_locked: bool, tx: Tx) -> bool:
    tx.tasks.lock(keys, skip_locked=skip_locked)
    tx.leases.lock(range(20_001, 20_001 + ROWS), skip_locked=skip_locked)
    return len(tx.waiting.remove(keys, skip_locked=skip_locked)) == tx.tasks.cancel_waiting(keys, "{}") == len(keys)


def lock_and_delete_contents(tx: Tx) -> bool:
    tx.contents.delete(list(tx.contents.lock(range(10, 10 + ROWS))))
    return True


ASSETS = [f"{n:064x}" for n in range(ROWS)]
DELIVERED = DeliveryStatus.DELIVERED


def name_assets(tx: Tx) -> bool:
    stored = tx.assets.lock_complete(ASSETS)
    tx.assets.name([ContentAssetRow(30_001, n, 1, "a.png", sha256, None) for n, sha256 in enumerate(ASSETS)])
    return len(stored) == ROWS


def collect_assets(tx: Tx) -> bool:
    return tx.assets.lock_unnamed(ASSETS, timedelta(0)) == [] and tx.assets.lock_retired(timedelta(0), ROWS) == []


IN_FEW_PAGES: dict[str, tuple[int, Work]] = {
    "old rollups": (600, lambda tx: tx.rollups.delete(Resolution.HOUR, timedelta(days=1), ROWS)),
    "old audit events": (600, lambda tx: tx.sweeps.delete_audit_events(0, KEY_MAX, ROWS)),
    "attempts to publish": (5, lambda tx: tx.publish_pool.attempts(1_001, 1, PAGE)),
    "a task's history": (20, lambda tx: tx.task_reads.events(31_000, 0, PAGE)),
    "a clean-up": (600, lambda tx: tx.ended.lock(range(10, 20), tx.now) and tx.ended.delete(range(10, 20))),
    "a bulk cancel": (600, partial(cancel_waiting, range(30_001, 30_001 + ROWS), False)),
    "a bulk cancel, skipping locked": (600, partial(cancel_waiting, range(30_001, 30_001 + ROWS), True)),
    "ended tasks to delete": (600, lambda tx: tx.sweeps.lock_ended(None, timedelta(0), ROWS)),
    "ended tasks of which none is due": (ROWS, lambda tx: [tx.sweeps.lock_ended(None, timedelta(hours=1), ROWS)]),
    "old contents": (600, lambda tx: tx.sweeps.contents(10_000, ROWS)),
    "old deliveries": (600, lambda tx: tx.sweeps.delete_deliveries(DELIVERED, None, timedelta(seconds=1), ROWS)),
    "deliveries to give up": (600, lambda tx: tx.sweeps.exhaust_deliveries(ROWS)),
    "a backlog that cannot be too long": (600, lambda tx: tx.deliveries.mark_backlogs(1_000_000) == []),
    "request ids to forget": (600, lambda tx: tx.ended.forget_requests(None, ROWS)),
    "an asset": (60, lambda tx: tx.assets.get(ALL, ASSETS[1])),
    "an account's asset": (60, lambda tx: tx.assets.get(ONE, ASSETS[1])),
    "two accounts' asset": (60, lambda tx: tx.assets.get(TWO, ASSETS[1])),
    "assets to name": (600, name_assets),
    "assets to collect": (600, collect_assets),
    "contents to delete": (600, lock_and_delete_contents),
}
"""Statements of calls and loops: how many pages each reads at the most, for ten rows or a page."""
FOUND_BY = {
    "ended tasks to delete": {"tasks_ended": ROWS},
    "old contents": {"contents_pkey": ROWS},
    "deliveries to give up": {"webhook_deliveries_expiring": ROWS},
}
"""How many rows an index gives to some of them."""

LARGE = {
    "assets", "audit_events", "content_assets", "contents", "delayed", "leases", "publish_pool", "ready", "request_ids",
    "task_events", "task_labels", "task_payloads", "task_rollups", "tasks", "webhook_deliveries",
}  # fmt: skip


@planned_anew
@pytest.mark.parametrize("what", IN_FEW_PAGES)
def test_a_statement_of_calls_and_loops_reads_a_few_pages(backlog: Backlog, what: str) -> None:
    most, work = IN_FEW_PAGES[what]
    for plan in backlog.plans(backlog.hot if work is name_assets else backlog.cold, work):
        assert plan.buffers <= most, plan
        assert not set(plan.scanned) & LARGE, plan
        for index, rows in FOUND_BY.get(what, {}).items():
            assert plan.found_by(index) == rows, plan


def moves_long_ago(tx: Tx, scope: Scope) -> dict[int, int]:
    return tx.changes.page_of_scope(scope, 1_000, LAST, 2 * ROWS, ROWS)[0]


WATCHED: dict[str, Callable[[Tx], Any]] = {
    "what moved": lambda tx: tx.changes.page(LAST - ROWS, LAST, 500),
    "a page of what moved long ago": lambda tx: tx.changes.page(1_000, LAST, ROWS),
    "what moved of an account long ago": lambda tx: moves_long_ago(tx, Scope((1,))),
    "what moved of several accounts long ago": lambda tx: moves_long_ago(tx, Scope((1, 2))),
    "what moved of some tasks": lambda tx: tx.changes.page_of(KEYS, 1_000, LAST, 500),
    "histories": lambda tx: tx.task_reads.histories(KEYS),
    "tasks": lambda tx: tx.task_reads.listed(KEYS),
    "open tasks": lambda tx: tx.changes.open_tasks(ALL, 25_000, ROWS),
    "open tasks of accounts": lambda tx: tx.changes.open_tasks(Scope((1, 2)), 25_000, ROWS),
    "accounts": lambda tx: tx.task_reads.accounts_of(KEYS),
    "an event": lambda tx: tx.changes.has(31_000, 31_000),
    "what was cleaned": lambda tx: tx.changes.cleaned_since(1),
    "up to where all was cleaned": lambda tx: tx.changes.cleaned_to(ALL),
    "up to where accounts were cleaned": lambda tx: tx.changes.cleaned_to(Scope((2, 3))),
}


@pytest.mark.parametrize("what", WATCHED)
def test_watchers_read_a_few_pages_a_row(backlog: Backlog, what: str) -> None:
    check(backlog.plans(backlog.hot, WATCHED[what]), MAX_BUFFERS_A_ROW * ROWS, scans={"event_seq"})


def test_moves_are_read_as_a_range_of_one_index(backlog: Backlog) -> None:
    (plan,) = backlog.plans(backlog.hot, WATCHED["what moved"])
    assert plan.read("task_events") == [("Index Scan task_events_by_seq", ROWS)]


@planned_anew
@pytest.mark.parametrize("scope", [ALL, ONE], ids=["all", "an account"])
def test_the_age_of_the_oldest_pending_task_needs_no_scan(backlog: Backlog, scope: Scope) -> None:
    (plan,) = backlog.plans(backlog.cold, lambda tx: tx.task_reads.oldest_pending_age(scope))
    assert plan.read("tasks")[0][1] <= 5_001, plan  # past running tasks, which are older
    assert "tasks" not in plan.scanned
