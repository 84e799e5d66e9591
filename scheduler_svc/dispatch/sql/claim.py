"""The claim: one statement that leases what is ready to the slots that are free, with history and counts.

One round trip, and one commit. In order, it

1. claims nothing while everything is paused (account 0 of `pauses`), or while a pause is being committed, and says
   whether it was the latter: then, or if somebody else holds that lock, it is locked out;
2. locks the head of one index, whatever the backlog: priority by priority, each from its floor on, a row for each slot.
   Where priorities rise with the wait, the head is that of `AGED_HEAD`. Tasks whose `expire_time` has passed are left
   to the loop that cancels them;
3. takes as many slots as the head has rows, so of all workers with free slots only the first ones are read, and locks
   their sessions against a hello that would replace them, but not against heartbeats;
4. gives the head to the slots whose sessions it got, in order, and writes leases, history and counts.

Rows that another session has locked are skipped, since others wait for this claim. The CTEs are materialized: as the
inner side of a join a LIMIT might run twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from scheduler_svc.database.batch import UnnestedRows
from scheduler_svc.database.connections import AdvisoryLock
from scheduler_svc.database.statements import KEPT, Statements, payload, task
from scheduler_svc.dispatch.rows import Claimed
from scheduler_svc.dispatch.sql.tags import floor
from scheduler_svc.dispatch.sql.waiting import UNEXPIRED
from scheduler_svc.domain.dispatch import QUEUES, URGENT_REFILL_LIMIT
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import Grant, LeaseEnd
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import MAX_PRIORITY, MIN_PRIORITY, READY
from scheduler_svc.schema.payloads import BRIEF, BRIEF_WIDTH, NULL_BRIEF, brief

# The head of `ready` if priorities rise with the wait. A task keeps its position in its index. Its effective priority
# is computed as it is claimed, by the formula of `effective` in `domain/dispatch.py`.
#
# The claim examines the first rows of each priority, from its floor on, without locking them. A row competes by the
# longest wait among itself and the rows behind it. If an old row passed a young one, the fair order between accounts
# would break; if it waited for the young one, it would starve. So the young one is pulled along. Rows are then served
# by effective priority, and among equals by that wait.
#
# Each row is locked by its key. Behind the last examined row of a priority the claim continues along the index, so no
# row comes twice. If another replica holds the examined rows, those behind them are served before any lower priority,
# and no slot stays free.


MIN_EXAMINED = 8
"""Rows of each priority that a claim examines, at least: of accounts whose first task may pull others along."""
_SLOTS = "cardinality(CAST(:worker_id AS text[]))"
_READY = "task_key, priority, tag, account_id, attempt, timeout_ms, ready_time"
_WAIT = "CAST(extract(epoch FROM now() - since) AS float8)"
AGED_ORDER = "effective DESC, since, priority DESC, tag, task_key"
_AGED_HEAD = f"""
    seen AS MATERIALIZED (
        SELECT w.* FROM {{queues}} AS p(priority), LATERAL (
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
            least({MAX_PRIORITY}, (priority & {QUEUES - 1}) + floor(greatest(0, {_WAIT}) / CAST(:aging AS float8)))
                AS effective, last{{turn}}
        FROM pulled ORDER BY {{order}}
    ),
    head AS MATERIALIZED (
        SELECT w.*, o.effective, o.since{{turns}} FROM ranked AS o, LATERAL (
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
_PRIORITIES = f"generate_series({MAX_PRIORITY}, {MIN_PRIORITY}, -1)"
AGED_HEAD = _AGED_HEAD.format(queues=_PRIORITIES, turn="", turns="", order=AGED_ORDER)
"""The CTEs up to `head`, in the order `AGED_ORDER`; `:aging`: seconds of wait that raise the priority by one."""
# Queues of one priority take turns, in an order that each claim draws: their tags are of different virtual times, and
# by age the queue of one account with an old backlog would always be first.
_ROUTED_ORDER = "effective DESC, turn, draw, tag, task_key"
_ROUTED_HEAD = _AGED_HEAD.format(
    queues=f"""(SELECT s.selector_id * {QUEUES} + p.priority
            FROM unnest(CAST(:selectors AS smallint[])) AS s(selector_id), {_PRIORITIES} AS p(priority))""",
    turn=", row_number() OVER (PARTITION BY priority ORDER BY tag, task_key) AS turn, random() AS draw",
    turns=", o.turn, o.draw",
    order=_ROUTED_ORDER,
)
"""The same for the queues of several worker selectors."""

UNLOCKED = f"pg_try_advisory_xact_lock_shared({AdvisoryLock.DISPATCH.key})"
"""The first condition of a claim. A pause of everything waits for claims in progress; later claims do not wait for it.
"""
UNPAUSED = "NOT EXISTS (SELECT FROM pauses WHERE account_id = 0)"
"""The second one."""
_WAIT_FOR_CLAIMS = sa.text(f"SELECT pg_advisory_xact_lock({AdvisoryLock.DISPATCH.key})")
"""Waits for claims in progress, and locks out later ones."""
_ADD_PAUSE = sa.text("""
    INSERT INTO pauses (account_id) VALUES (:account_id) ON CONFLICT (account_id) DO UPDATE SET by_operator = true
""")
"""Pauses dispatch of an account, or of everything."""
_LIST_PAUSES = sa.text("SELECT account_id FROM pauses WHERE by_operator ORDER BY account_id")
"""Reads which accounts are paused."""
_REMOVE_PAUSE = sa.text("UPDATE pauses SET by_operator = false WHERE account_id = :account_id")
"""Resumes dispatch, unless a budget is used up."""
_STOP = sa.text("""
    INSERT INTO pauses (account_id, budget_until, by_operator) VALUES (:account_id, :until, false)
    ON CONFLICT (account_id) DO UPDATE SET budget_until = excluded.budget_until
""")
"""Stops the starts of an account until a time; null: no more."""
_DROP_ENDED_PAUSE = sa.text("""
    DELETE FROM pauses WHERE account_id = :account_id AND NOT by_operator AND budget_until IS NULL
""")
"""Deletes what stops nothing any more."""


class Pauses(Statements):
    def add(self, account_id: int) -> None:
        """Pauses an account, or everything (0), from the commit on. Idempotent."""
        if account_id == 0:
            self._row(_WAIT_FOR_CLAIMS)
        self._run(_ADD_PAUSE, account_id=account_id)

    def remove(self, account_id: int) -> None:
        self._run(_REMOVE_PAUSE, account_id=account_id)
        self._run(_DROP_ENDED_PAUSE, account_id=account_id)

    def stop(self, account_id: int, until: datetime | None) -> None:
        """Stops the starts of an account whose budget is used up, or (None) lets it go, from the commit on."""
        self._run(_STOP, account_id=account_id, until=until)
        self._run(_DROP_ENDED_PAUSE, account_id=account_id)

    def list(self) -> list[int]:
        """Returns the accounts that are paused, in ascending order; 0 stands for everything."""
        return [account_id for (account_id,) in self._rows(_LIST_PAUSES)]


SLOTS = UnnestedRows(worker_id="text", session_key="bigint")
_HEAD = f"""
    head AS MATERIALIZED (
        SELECT w.* FROM generate_series({MAX_PRIORITY}, {MIN_PRIORITY}, -1) AS p(priority), LATERAL (
            SELECT {_READY} FROM ready AS r
            WHERE r.priority = p.priority AND r.tag >= {floor("p.priority")} AND {UNEXPIRED}
            ORDER BY r.priority DESC, r.tag, r.task_key
            LIMIT {_SLOTS} FOR UPDATE SKIP LOCKED) AS w
        LIMIT (SELECT CASE WHEN going THEN {_SLOTS} ELSE 0 END FROM dispatch)
    )"""
_CLAIM = f"""
    WITH dispatch AS MATERIALIZED (
        SELECT unlocked, unlocked AND {UNPAUSED} AS going FROM (SELECT {UNLOCKED} AS unlocked) AS l
    ),
    {{head}},
    slots AS MATERIALIZED (
        SELECT worker_id, session_key, n FROM (
            SELECT *, row_number() OVER () AS n FROM {SLOTS.source}) AS s
        WHERE n <= (SELECT count(*) FROM head)
    ),
    sessions AS MATERIALIZED (SELECT DISTINCT worker_id, session_key FROM slots),
    present AS MATERIALIZED (
        SELECT w.session_key FROM sessions AS s JOIN workers AS w USING (worker_id, session_key)
        WHERE NOT w.desired_drain
    ),
    open AS MATERIALIZED (
        SELECT w.session_key FROM sessions AS s JOIN workers AS w USING (worker_id, session_key)
        WHERE NOT w.desired_drain FOR KEY SHARE OF w SKIP LOCKED
    ),
    shut AS MATERIALIZED (SELECT session_key FROM sessions EXCEPT SELECT session_key FROM open),
    takers AS MATERIALIZED (
        SELECT ARRAY(
            SELECT worker_id FROM slots WHERE session_key <> ALL(ARRAY(SELECT session_key FROM shut)) ORDER BY n
        ) AS workers
    ),
    numbered AS MATERIALIZED (
        SELECT *, (row_number() OVER (ORDER BY {{order}}))::integer AS n,
            (random() * 2147483646)::integer AS fence
        FROM head
    ),
    grants AS MATERIALIZED (
        SELECT *, (SELECT workers FROM takers)[n] AS worker_id FROM numbered
        WHERE n <= (SELECT cardinality(workers) FROM takers)
    ),
    gone AS (DELETE FROM ready WHERE task_key = ANY(ARRAY(SELECT task_key FROM grants))),
    lease AS (
        INSERT INTO leases
            (task_key, attempt, fence, worker_id, status, account_id, priority, tag, timeout_ms, claim_time,
            expire_time)
        SELECT task_key, attempt, fence, worker_id, {Status.SUBMITTED}, account_id, priority, tag, timeout_ms,
            now(), now() + make_interval(secs => CAST(:ttl AS float8) + 1)
        FROM grants ORDER BY task_key
    ),
    event AS (
        INSERT INTO task_events (task_key, previous_status, status, attempt, fence, worker_id, reason)
        SELECT task_key, {Status.PENDING}, {Status.SUBMITTED}, attempt, fence, worker_id, 'LEASED' FROM grants
    ),
    lines AS MATERIALIZED (
        SELECT account_id, priority, count(*) AS n, max(tag) AS tag FROM grants GROUP BY account_id, priority
    ),
    short AS MATERIALIZED (
        SELECT account_id, s.refill > '-Infinity' AS low, (s.finish - l.tag)
            * (SELECT a.weight FROM accounts AS a WHERE a.account_id = l.account_id) AS ahead
        FROM lines AS l, LATERAL (
            SELECT finish, refill FROM shares AS x
            WHERE (x.account_id, x.priority) >= (l.account_id, l.priority)
                AND (x.account_id, x.priority) <= (l.account_id, l.priority)
            OFFSET 0) AS s
        WHERE l.tag >= s.refill
    ),
    moved AS (
        SELECT account_id, sum(n)::bigint AS n FROM lines GROUP BY account_id
        UNION ALL
        SELECT 0, sum(n)::bigint FROM lines HAVING count(*) > 0
    ),
    delta AS (
        INSERT INTO count_deltas (account_id, kind, n)
        SELECT account_id, kind, sign * n
        FROM moved, (VALUES ({Status.PENDING}, -1), ({Status.SUBMITTED}, 1), ({READY}, -1)) AS k(kind, sign)
    )
    SELECT (SELECT NOT unlocked FROM dispatch) AS locked_out, {KEPT} AS kept,
        ARRAY(SELECT session_key FROM shut EXCEPT SELECT session_key FROM present) AS closed,
        ARRAY(SELECT session_key FROM shut INTERSECT SELECT session_key FROM present) AS busy,
        ARRAY(SELECT account_id FROM short) AS short,
        ARRAY(SELECT account_id FROM short WHERE low AND ahead < {URGENT_REFILL_LIMIT}) AS urgent, 0 AS n,
        NULL::bigint AS task_key, NULL::integer AS attempt,
        NULL::integer AS fence, NULL::text AS worker_id, NULL::bigint AS account_id, NULL::smallint AS priority,
        NULL::bigint AS timeout_ms, NULL::jsonb AS labels, NULL::boolean AS auto_approve,
        NULL::boolean AS failed_elsewhere, NULL::float8 AS waited, NULL::text AS traceparent, NULL::text AS tracestate,
        {NULL_BRIEF}
    UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, NULL, g.n, g.task_key, g.attempt, g.fence, g.worker_id, g.account_id,
        CAST(g.priority & {QUEUES - 1} AS smallint), g.timeout_ms, p.labels, t.auto_approve,
        coalesce(t.lease_end = {LeaseEnd.FAILED} AND t.worker_id <> g.worker_id, false),
        greatest(CAST(extract(epoch FROM now() - g.ready_time) AS float8), 0), p.traceparent, p.tracestate, {BRIEF}
    FROM grants AS g, {payload("g")}, {task("g", "t")}
    ORDER BY n
"""
CLAIM = sa.text(_CLAIM.format(head=_HEAD, order="priority DESC, tag, task_key"))
"""Leases the head of `ready` to open sessions, one task for each slot, with history and counts."""
CLAIM_AGED = sa.text(_CLAIM.format(head=AGED_HEAD, order=AGED_ORDER))
"""The same where priorities rise with the wait; `:aging` is how many seconds a step up takes."""
CLAIM_ROUTED = sa.text(_CLAIM.format(head=_ROUTED_HEAD, order=_ROUTED_ORDER))
"""The same for workers whose labels match worker selectors: from the queues of all of `:selectors`."""


def claimed_rows(rows: Sequence[Any]) -> Claimed:
    """Returns the claim's answer. Its first row has whether it was locked out, the sessions that got nothing and the
    accounts whose windows need a refill; the others have a grant each.
    """
    locked_out, kept, closed, busy, short, urgent, *_ = rows[0]
    grants = [Grant(LeaseRef(*row[7:10]), brief(row[-BRIEF_WIDTH:]), *row[10:-BRIEF_WIDTH]) for row in rows[1:]]
    sessions = frozenset(closed), frozenset(busy)
    return Claimed(grants, *sessions, frozenset(short), frozenset(urgent), locked_out, kept=kept or "")
