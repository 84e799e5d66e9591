"""The head of what is ready where priorities rise with the wait: part of the claim, see `leases`.

Nothing is moved: a task's place in its index stays, and how high it competes is computed as it is claimed, by the
formula of `domain/fairness.effective`.

Of each priority the first rows are looked at, from its floor on, without a lock. A row competes by the longest wait
among itself and those behind it: to let an old row pass a young one would break the fair order between accounts, and to
let it wait for that would starve it, so the young one is pulled along. All are then served by how high they compete,
and between equals by that wait.

Each is locked by its key. Behind the last one that was looked at of a priority the claim goes on along the index, so
none comes twice: where another replica holds what was looked at, nothing lower is served before what waits there, and
no slot stays free.
"""

from __future__ import annotations

from scheduler_svc.domain.bounds import MAX_PRIORITY, MIN_PRIORITY
from scheduler_svc.store.dispatch.floors import floor

MIN_EXAMINED = 8
"""Rows of each priority that a claim looks at, at least: accounts whose first task may pull others along."""

_SLOTS = "cardinality(CAST(:worker_id AS text[]))"

_READY = "task_key, priority, tag, account_id, attempt, timeout_ms"
_WAIT = "CAST(extract(epoch FROM now() - since) AS float8)"
AGED_ORDER = "effective DESC, since, priority DESC, tag, task_key"
AGED_HEAD = f"""
    seen AS MATERIALIZED (
        SELECT w.* FROM generate_series({MAX_PRIORITY}, {MIN_PRIORITY}, -1) AS p(priority), LATERAL (
            SELECT priority, tag, task_key, ready_time FROM ready AS r
            WHERE r.priority = p.priority AND r.tag >= {floor("p.priority")}
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
                SELECT {_READY} FROM ready AS r WHERE r.task_key = o.task_key AND r.tag IS NOT NULL
                ORDER BY r.task_key FOR UPDATE SKIP LOCKED) AS itself
            UNION ALL
            SELECT * FROM (
                SELECT {_READY} FROM ready AS r
                WHERE o.last AND r.priority = o.priority AND r.tag >= o.tag
                    AND (r.tag, r.task_key) > (o.tag, o.task_key)
                ORDER BY r.priority DESC, r.tag, r.task_key
                LIMIT {_SLOTS} FOR UPDATE SKIP LOCKED) AS behind) AS w
        LIMIT (SELECT CASE WHEN going THEN {_SLOTS} ELSE 0 END FROM dispatch)
    )"""
"""The CTEs up to `head`, in the order `AGED_ORDER`; `:aging` is how many seconds a step up takes."""
