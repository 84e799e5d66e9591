"""The head of `ready` if priorities rise with the wait: a part of the claim.

A task keeps its position in its index. Its effective priority is computed as it is claimed, by the formula of
`domain/fairness.effective`.

The claim examines the first rows of each priority, from its floor on, without locking them. A row competes by the
longest wait among itself and the rows behind it. If an old row passed a young one, the fair order between accounts
would break; if it waited for the young one, it would starve. So the young one is pulled along. Rows are then served by
effective priority, and among equals by that wait.

Each row is locked by its key. Behind the last examined row of a priority the claim continues along the index, so no row
comes twice. If another replica holds the examined rows, those behind them are served before any lower priority, and no
slot stays free.
"""

from __future__ import annotations

from scheduler_svc.dispatch.sql.expiry import UNEXPIRED
from scheduler_svc.dispatch.sql.tags import floor
from scheduler_svc.domain.bounds import MAX_PRIORITY, MIN_PRIORITY

MIN_EXAMINED = 8
"""Rows of each priority that a claim examines, at least: of accounts whose first task may pull others along."""

_SLOTS = "cardinality(CAST(:worker_id AS text[]))"

_READY = "task_key, priority, tag, account_id, attempt, timeout_ms, ready_time"
_WAIT = "CAST(extract(epoch FROM now() - since) AS float8)"
AGED_ORDER = "effective DESC, since, priority DESC, tag, task_key"
AGED_HEAD = f"""
    seen AS MATERIALIZED (
        SELECT w.* FROM generate_series({MAX_PRIORITY}, {MIN_PRIORITY}, -1) AS p(priority), LATERAL (
            SELECT priority, tag, task_key, ready_time FROM ready AS r
            WHERE r.priority = p.priority AND r.tag >= {floor("p.priority")} AND {UNEXPIRED}
            ORDER BY r.priority DESC, r.tag, r.task_key
            LIMIT greatest({_SLOTS}, {MIN_EXAMINED})) AS w
    ),
    pulled AS (
        SELECT priority, tag, task_key, min(ready_time) OVER behind AS since, row_number() OVER behind = 1 AS last
        FROM seen WINDOW behind AS (PARTITION BY priority ORDER BY tag DESC, task_key DESC)
    ),
    ranked AS MATERIALIZED (
        SELECT priority, tag, task_key, since,
            least({MAX_PRIORITY}, priority + floor(greatest(0, {_WAIT}) / CAST(:aging AS float8))) AS effective, last
        FROM pulled ORDER BY {AGED_ORDER}
    ),
    head AS MATERIALIZED (
        SELECT w.*, effective, since FROM ranked AS o, LATERAL (
            SELECT * FROM (
                SELECT {_READY} FROM ready AS r WHERE r.task_key = o.task_key AND r.tag IS NOT NULL AND {UNEXPIRED}
                ORDER BY r.task_key FOR UPDATE SKIP LOCKED) AS itself
            UNION ALL
            SELECT * FROM (
                SELECT {_READY} FROM ready AS r
                WHERE o.last AND r.priority = o.priority AND r.tag >= o.tag
                    AND (r.tag, r.task_key) > (o.tag, o.task_key) AND {UNEXPIRED}
                ORDER BY r.priority DESC, r.tag, r.task_key
                LIMIT {_SLOTS} FOR UPDATE SKIP LOCKED) AS behind) AS w
        LIMIT (SELECT CASE WHEN going THEN {_SLOTS} ELSE 0 END FROM dispatch)
    )"""
"""The CTEs up to `head`, in the order `AGED_ORDER`; `:aging`: seconds of wait that raise the priority by one."""
