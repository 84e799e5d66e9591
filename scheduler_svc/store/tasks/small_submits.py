"""The small submit: one statement that checks few new tasks, and stores them with history, counts and tags, or nothing.

It is called a few rows at a time, so what joins them by comparing all with all costs nothing. Request ids come before
shares, as in other submits: two sessions then never wait for each other.
"""

from __future__ import annotations

import sqlalchemy as sa

from scheduler_svc.application.records import SmallSubmit
from scheduler_svc.application.tasks.ledger import ALL_ACCOUNTS, READY
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.rollup import SUBMITTED
from scheduler_svc.store.dispatch.reservations import GROUPS, bind_counts, reserved
from scheduler_svc.store.engine.batch import Insert
from scheduler_svc.store.tasks.payloads import TRACED_PAYLOADS, stored_traced
from scheduler_svc.store.tasks.pending_counts import pending_of
from scheduler_svc.store.tasks.tasks import LABELS, TASKS

_REQUESTS = Insert("request_ids", account_id="bigint", request_id="text", task_key="bigint", fingerprint="bytea")
"""Remembers request ids, which must be new."""

_GO = "EXISTS (SELECT FROM go)"
_ADDED = f"(SELECT sum(r.count) FROM {GROUPS.source} WHERE r.account_id = a.account_id)"
_REFUSED = f"""
    SELECT FROM {GROUPS.source} LEFT JOIN accounts AS a USING (account_id)
    WHERE a.active IS NOT TRUE OR (a.max_priority > 0 AND r.priority > a.max_priority)
        OR CASE WHEN a.max_pending_tasks > 0
            THEN ({pending_of("a.account_id")}) + {_ADDED} > a.max_pending_tasks ELSE false END
"""
_KNOWN = """
    SELECT FROM (
            SELECT unnest(CAST(:request_account_id AS bigint[])) AS own,
                unnest(CAST(:request_request_id AS text[])) AS id) AS r,
        LATERAL (SELECT FROM request_ids WHERE account_id = r.own AND request_id = r.id OFFSET 0) AS known
"""

SMALL_SUBMIT = sa.text(f"""
    WITH go AS MATERIALIZED (
        SELECT now() AS now FROM ({pending_of(str(ALL_ACCOUNTS))}) AS p
        WHERE p.n + cardinality(CAST(:task_task_key AS bigint[])) <= :max_pending
            AND NOT EXISTS ({_REFUSED}) AND NOT EXISTS ({_KNOWN})
    ),
    new AS MATERIALIZED (
        SELECT *, row_number() OVER (PARTITION BY account_id, priority ORDER BY task_key) AS place
        FROM (
            SELECT unnest(CAST(:task_task_key AS bigint[])) AS task_key,
                unnest(CAST(:task_account_id AS bigint[])) AS account_id,
                unnest(CAST(:task_priority AS smallint[])) AS priority,
                unnest(CAST(:task_timeout_ms AS bigint[])) AS timeout_ms) AS r
        WHERE {_GO}
    ),
    {TASKS.part("task", _GO)},
    {TRACED_PAYLOADS.part("payload", _GO)},
    {LABELS.part("label", _GO)},
    {_REQUESTS.part("request", _GO)},
    event AS (
        INSERT INTO task_events (task_key, previous_status, status, attempt, reason)
        SELECT task_key, {Status.NONE}, {Status.PENDING}, 0, 'SUBMITTED' FROM new ORDER BY task_key
    ),
    {reserved(f"{_GO} AND (SELECT count(*) FROM request) >= 0")},
    queued AS (
        INSERT INTO ready (task_key, priority, tag, account_id, attempt, timeout_ms)
        SELECT task_key, priority, CASE WHEN place <= s.tagged
            THEN greatest(s.now, s.finish - (s.tagged - place + 1) / s.weight) END, account_id, 1, timeout_ms
        FROM new JOIN reserved AS s USING (account_id, priority)
    ),
    moved AS (SELECT account_id, count(*) AS n FROM new GROUP BY account_id),
    delta AS (
        INSERT INTO count_deltas (account_id, kind, n)
        SELECT account_id, kind, n
        FROM (SELECT * FROM moved UNION ALL SELECT {ALL_ACCOUNTS}, sum(n)::bigint FROM moved HAVING count(*) > 0) AS n,
            (VALUES ({Status.PENDING}), ({READY})) AS k(kind)
    ),
    rollup AS (
        INSERT INTO rollup_deltas (account_id, kinds, numbers)
        SELECT account_id, ARRAY[{SUBMITTED}], ARRAY[n] FROM moved
    )
    SELECT go.now, s.* FROM go, reserved AS s
""")
"""Stores few new tasks that are ready at once, with payloads, labels, request ids, history, counts and tags."""


def bound(new: SmallSubmit, max_pending: int) -> dict[str, object]:
    """The parameters of `SMALL_SUBMIT`."""
    return {
        "max_pending": max_pending,
        **TASKS.bind_part("task", new.tasks),
        **TRACED_PAYLOADS.bind_part("payload", [stored_traced(row) for row in new.payloads]),
        **LABELS.bind_part("label", new.labels),
        **_REQUESTS.bind_part("request", sorted(new.requests)),
        **bind_counts(new.counts),
    }
