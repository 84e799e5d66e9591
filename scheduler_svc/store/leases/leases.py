"""Leases: claim, renewal, change, end. Every write names lease and attempt; zero rows is an answer, never ignored."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from scheduler_svc.application.records import ClaimedRows, CompletedTask, Grant, LeaseChange, LiveLease, Named, Renewed
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.content import TITLE_LENGTH
from scheduler_svc.domain.fairness import URGENT
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import End
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.store.dispatch.ageing import AGED_HEAD, AGED_ORDER
from scheduler_svc.store.dispatch.floors import floor
from scheduler_svc.store.dispatch.pauses import MAY_CLAIM
from scheduler_svc.store.engine.batch import Batch, array
from scheduler_svc.store.engine.keyed_lookups import leased, payload, task
from scheduler_svc.store.engine.rows import Session, Statements
from scheduler_svc.store.scopes import account_filter
from scheduler_svc.store.tasks.payloads import BRIEF, BRIEF_WIDTH, NULL_BRIEF, brief

# The whole claim, with its history and its counts: one round trip, and one commit.
#
# Nothing while everything is paused, nor while that is being decided (see store/pauses.py). Then the head of one index,
# whatever the backlog: priority by priority, each from its floor on, until there is one for each slot. It is
# materialized, for as the inner side of a join its LIMIT might run twice. Where priorities rise with the wait, it is
# another head (see store/ageing.py), and all else is the same. The n-th of the head is for the n-th slot, so
# of all workers that have room only those of the first slots are looked at. Their sessions are held against a hello
# that would replace them, but not against their states; a row that somebody holds is skipped, since others wait for
# this claim. The head goes to the slots that are left, in order; payloads are only read. The first row that comes back
# has the sessions that got nothing and the accounts whose windows want to be filled again, the others a grant each.
_SLOTS = Batch(worker_id="text", session_key="bigint")
_HEAD = f"""
    head AS MATERIALIZED (
        SELECT w.* FROM generate_series(10, 1, -1) AS p(priority), LATERAL (
            SELECT task_key, priority, tag, account_id, attempt, timeout_ms FROM ready AS r
            WHERE r.priority = p.priority AND r.tag >= {floor("p.priority")}
            ORDER BY r.priority DESC, r.tag, r.task_key
            LIMIT cardinality(CAST(:worker_id AS text[])) FOR UPDATE SKIP LOCKED) AS w
        LIMIT (SELECT CASE WHEN going THEN cardinality(CAST(:worker_id AS text[])) ELSE 0 END FROM dispatch)
    )"""
_CLAIM_SQL = f"""
    WITH dispatch AS MATERIALIZED (
        SELECT {MAY_CLAIM} AS going
    ),
    {{head}},
    slots AS MATERIALIZED (
        SELECT worker_id, session_key, n FROM (
            SELECT *, row_number() OVER () AS n FROM {_SLOTS.source}) AS s
        WHERE n <= (SELECT count(*) FROM head)
    ),
    sessions AS MATERIALIZED (SELECT DISTINCT worker_id, session_key FROM slots),
    present AS MATERIALIZED (
        SELECT w.session_key FROM sessions AS s JOIN workers AS w USING (worker_id, session_key)
        WHERE NOT w.wanted_drain
    ),
    open AS MATERIALIZED (
        SELECT w.session_key FROM sessions AS s JOIN workers AS w USING (worker_id, session_key)
        WHERE NOT w.wanted_drain FOR KEY SHARE OF w SKIP LOCKED
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
        SELECT task_key, attempt, fence, worker_id, 2, account_id, priority, tag, timeout_ms,
            now(), now() + make_interval(secs => CAST(:ttl AS float8) + 1)
        FROM grants ORDER BY task_key
    ),
    event AS (
        INSERT INTO task_events (task_key, previous_status, status, attempt, fence, worker_id, reason)
        SELECT task_key, 1, 2, attempt, fence, worker_id, 'LEASED' FROM grants
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
        SELECT account_id, kind, sign * n FROM moved, (VALUES (1, -1), (2, 1), (8, -1)) AS k(kind, sign)
    )
    SELECT ARRAY(SELECT session_key FROM shut EXCEPT SELECT session_key FROM present) AS closed,
        ARRAY(SELECT session_key FROM shut INTERSECT SELECT session_key FROM present) AS busy,
        ARRAY(SELECT account_id FROM short) AS short,
        ARRAY(SELECT account_id FROM short WHERE low AND ahead < {URGENT}) AS urgent, 0 AS n,
        NULL::bigint AS task_key, NULL::integer AS attempt,
        NULL::integer AS fence, NULL::text AS worker_id, NULL::bigint AS account_id, NULL::smallint AS priority,
        NULL::bigint AS timeout_ms, NULL::jsonb AS labels, NULL::boolean AS auto_approve,
        NULL::boolean AS failed_elsewhere, {NULL_BRIEF}
    UNION ALL
    SELECT NULL, NULL, NULL, NULL, g.n, g.task_key, g.attempt, g.fence, g.worker_id, g.account_id, g.priority,
        g.timeout_ms, p.labels, t.auto_approve,
        coalesce(t.lease_end = {int(End.FAILED)} AND t.worker_id <> g.worker_id, false), {BRIEF}
    FROM grants AS g, {payload("g")}, {task("g", "t")}
    ORDER BY n
"""
_CLAIM = sa.text(_CLAIM_SQL.format(head=_HEAD, order="priority DESC, tag, task_key"))
_CLAIM_AGED = sa.text(_CLAIM_SQL.format(head=AGED_HEAD, order=AGED_ORDER))

_LIVE = """
    task_key, attempt, fence, worker_id, status, revoked, account_id, priority, tag, timeout_ms, claim_time,
    accept_time, start_time
"""
_LOCK = sa.text(
    f"SELECT {_LIVE} FROM leases WHERE task_key = ANY(CAST(:keys AS bigint[])) ORDER BY task_key FOR UPDATE"
)
# A range that one index alone can serve, in its order.
_OF_WORKER = sa.text(f"""
    SELECT {_LIVE} FROM leases
    WHERE (worker_id, task_key) >= (:worker_id, 0) AND (worker_id, task_key) <= (:worker_id, 9223372036854775807)
    ORDER BY worker_id, task_key
""")
_LOCK_OF_WORKER, _LOCK_FREE_OF_WORKER = (
    sa.text(f"{_OF_WORKER.text} FOR UPDATE {skip}") for skip in ("", "SKIP LOCKED")
)

# Judged by the start of the transaction. What is locked is just being renewed or ended, or a stranger holds it: the
# next tick comes back to it, and a renewal that holds it comes before the reaper (rule 11).
_LOCK_EXPIRED = sa.text(
    f"""SELECT {_LIVE} FROM leases
    WHERE expire_time < now() AND account_id <> ALL(CAST(:but AS bigint[]))
    ORDER BY task_key LIMIT :limit FOR UPDATE SKIP LOCKED"""
)
# Past its own timeout since it was taken into a slot; or not taken into one for that long and a lease time more. What
# ran out is lost, however long it took.
_LOCK_TIMED_OUT = sa.text(f"""
    SELECT {_LIVE} FROM leases
    WHERE NOT revoked AND coalesce(accept_time, claim_time + make_interval(secs => CAST(:ttl AS float8)))
        + timeout_ms * interval '1 millisecond' < now()
        AND expire_time >= now()
        AND (CAST(:accounts AS bigint[]) IS NULL OR account_id = ANY(CAST(:accounts AS bigint[])))
        AND account_id <> ALL(CAST(:but AS bigint[]))
    ORDER BY task_key LIMIT :limit FOR UPDATE SKIP LOCKED
""")

_NAMED = Batch(task_key="bigint", attempt="integer", fence="integer", worker_id="text")
# A lease that lives a second longer than promised need not be written again for a second: under load most states then
# only read. What is renewed by the update is known by its rows, the rest by what stood there already. What somebody
# else holds is waited for, or told apart.
_RENEW_SQL = f"""
    WITH mine AS MATERIALIZED (
        SELECT l.* FROM {_NAMED.source}, LATERAL (
            SELECT task_key, attempt, fence, expire_time FROM leases AS l
            WHERE l.task_key = r.task_key AND l.attempt = r.attempt AND l.fence = r.fence
                AND l.worker_id = r.worker_id AND NOT l.revoked
            OFFSET 0) AS l
    ),
    aged AS MATERIALIZED (
        SELECT * FROM mine WHERE expire_time < now() + make_interval(secs => CAST(:ttl AS float8))
    ),
    free AS MATERIALIZED (
        SELECT task_key FROM leases WHERE task_key = ANY(ARRAY(SELECT task_key FROM aged))
        ORDER BY task_key FOR NO KEY UPDATE {{skip}}
    ),
    due AS (
        UPDATE leases SET expire_time = now() + make_interval(secs => CAST(:ttl AS float8) + 1)
        WHERE NOT revoked AND task_key = ANY(ARRAY(SELECT task_key FROM free))
        RETURNING task_key, attempt, fence
    )
    SELECT task_key, attempt, fence, false FROM due
    UNION ALL
    SELECT task_key, attempt, fence, false FROM mine
    WHERE expire_time >= now() + make_interval(secs => CAST(:ttl AS float8))
    UNION ALL
    SELECT task_key, attempt, fence, true FROM aged WHERE task_key <> ALL(ARRAY(SELECT task_key FROM free))
"""
_RENEW, _RENEW_FREE = (sa.text(_RENEW_SQL.format(skip=skip)) for skip in ("", "SKIP LOCKED"))

# A revoked lease ends once a state names it no longer after having named it. What is locked, a later state comes to.
_REFS = Batch(task_key="bigint", attempt="integer", fence="integer")
_END_UNNAMED_REVOKED = sa.text(f"""
    DELETE FROM leases WHERE task_key = ANY(ARRAY(
        SELECT task_key FROM leases
        WHERE revoked AND named AND worker_id = ANY(CAST(:workers AS text[]))
            AND (task_key, attempt, fence) NOT IN (SELECT task_key, attempt, fence FROM {_REFS.source})
        ORDER BY task_key FOR UPDATE SKIP LOCKED))
    RETURNING account_id
""")
_NAME_REVOKED = sa.text(f"""
    UPDATE leases SET named = true WHERE task_key = ANY(ARRAY(
        SELECT task_key FROM leases
        WHERE revoked AND NOT named AND worker_id = ANY(CAST(:workers AS text[]))
            AND (task_key, attempt, fence) IN (SELECT task_key, attempt, fence FROM {_REFS.source})
        ORDER BY task_key FOR NO KEY UPDATE SKIP LOCKED))
""")

_CHANGE = Batch(
    task_key="bigint",
    attempt="integer",
    fence="integer",
    accepted="boolean",
    processing="boolean",
    percent="smallint",
    step="text",
    message="text",
)
# The rows are locked, so that their places hold still.
_UPDATE = sa.text(f"""
    UPDATE leases AS l SET
        accept_time = CASE WHEN r.accepted THEN coalesce(l.accept_time, now()) ELSE l.accept_time END,
        start_time = CASE WHEN r.processing THEN coalesce(l.start_time, now()) ELSE l.start_time END,
        status = CASE WHEN r.processing THEN 3 ELSE l.status END,
        percent = coalesce(r.percent, l.percent), step = coalesce(r.step, l.step),
        message = coalesce(r.message, l.message)
    FROM {_CHANGE.source}, LATERAL (
        SELECT ctid FROM leases AS x
        WHERE x.task_key = r.task_key AND x.attempt = r.attempt AND x.fence = r.fence AND NOT x.revoked
        OFFSET 0) AS place
    WHERE l.ctid = place.ctid
""")

# These name leases by lists: a task has one lease at most, and the caller has locked it and compared all three.
_THESE = """
    task_key = ANY(CAST(:task_key AS bigint[])) AND attempt = ANY(CAST(:attempt AS integer[]))
    AND fence = ANY(CAST(:fence AS integer[]))
"""
_DELETE = sa.text(f"DELETE FROM leases WHERE {_THESE}")
_REVOKE = sa.text(f"UPDATE leases SET revoked = true WHERE {_THESE} AND NOT revoked")

_COMPLETED = f"""
    RETURNING t.task_key, t.content_id, t.account_id, left(p.topic, {TITLE_LENGTH}), p.category, t.priority,
        t.schedule_time, t.auto_approve
"""
# `+ 0`: on old statistics the planner believes that nothing is pending, and would join through the index of statuses.
# The fence of a result: the lease goes and the task completes, or neither. Whoever gets a row back owns the task.
_COMPLETE = sa.text(f"""
    WITH gone AS (
        DELETE FROM leases WHERE {_THESE} AND NOT revoked
        RETURNING task_key, attempt, fence, worker_id, claim_time, coalesce(start_time, now()) AS start_time,
            nextval('content_seq') AS content_id
    )
    UPDATE tasks AS t SET status = 4, lease_end = 1, attempt = gone.attempt, fence = gone.fence,
        worker_id = gone.worker_id, submit_time = gone.claim_time, start_time = gone.start_time, end_time = now(),
        content_id = gone.content_id, error = NULL, losses = 0, refusals = 0
    FROM gone, {payload("gone")}, {task("gone", "place")}
    WHERE t.ctid = place.ctid AND t.status + 0 = 1 AND t.attempt < gone.attempt
    {_COMPLETED}
""")
# A late result has no lease any more; its task still names it as the last one, which ran out (4).
_COMPLETE_LATE = sa.text(f"""
    UPDATE tasks AS t SET status = 4, lease_end = 1, start_time = coalesce(t.start_time, now()), end_time = now(),
        content_id = nextval('content_seq'), error = NULL, losses = 0, refusals = 0
    FROM {_REFS.source}, {payload("r")}, {task("r", "place")}
    WHERE t.ctid = place.ctid AND t.attempt = r.attempt AND t.fence = r.fence AND t.status + 0 = 1
        AND t.lease_end = 4
        AND NOT {leased("t")}
    {_COMPLETED}
""")


class Leases(Statements):
    """Statements on `leases`."""

    def __init__(self, session: Session, aging: float = 0.0) -> None:
        """`aging`: seconds of wait after which a task competes one priority higher; 0: never."""
        super().__init__(session)
        self._aging = aging

    def claim(self, slots: Sequence[tuple[str, int]], ttl: float) -> ClaimedRows:
        """Moves the head of `ready` to leases: one for each of these slots whose session is open, in order.

        A slot is a worker with its session. What it returns is committed: it is a transaction alone.
        """
        rows: list[Any] = list(self._claimed(_SLOTS.bind(slots) | {"ttl": ttl}))
        closed, busy, short, urgent, *_ = rows[0]
        grants = [Grant(LeaseRef(*row[5:8]), brief(row[-BRIEF_WIDTH:]), *row[8:-BRIEF_WIDTH]) for row in rows[1:]]
        return ClaimedRows(grants, frozenset(closed), frozenset(busy), frozenset(short), frozenset(urgent))

    def _claimed(self, parameters: dict[str, Any]) -> sa.CursorResult[Any]:
        if self._aging:
            return self._session.execute_alone(_CLAIM_AGED, parameters | {"aging": self._aging})
        return self._session.execute_alone(_CLAIM, parameters)

    def lock(self, keys: Sequence[int]) -> dict[int, LiveLease]:
        """The leases that these tasks have now, by task, locked in the order of the keys."""
        return {lease.ref.task_key: lease for lease in map(_live, self._rows(_LOCK, keys=array("bigint", keys)))}

    def of_worker(self, worker_id: str) -> list[LiveLease]:
        """All leases of a worker."""
        return [_live(row) for row in self._rows(_OF_WORKER, worker_id=worker_id)]

    def lock_of_worker(self, worker_id: str, *, skip_locked: bool = False) -> list[LiveLease]:
        """The same, locked; `skip_locked`: without those that somebody else holds."""
        statement = _LOCK_FREE_OF_WORKER if skip_locked else _LOCK_OF_WORKER
        return [_live(row) for row in self._rows(statement, worker_id=worker_id)]

    def lock_expired(self, limit: int, but: Collection[int] = ()) -> list[LiveLease]:
        """Leases that ran out, locked; without those that somebody else holds, or of the accounts `but`."""
        return [_live(row) for row in self._rows(_LOCK_EXPIRED, limit=limit, but=array("bigint", but))]

    def lock_timed_out(self, ttl: float, limit: int, scope: Scope, but: Collection[int] = ()) -> list[LiveLease]:
        """Leases whose run, or whose wait for a slot, has taken too long; locked, and without the same."""
        accounts = account_filter(scope)
        found = self._rows(_LOCK_TIMED_OUT, ttl=ttl, limit=limit, accounts=accounts, but=array("bigint", but))
        return [_live(row) for row in found]

    def renew(self, named: Sequence[Named], ttl: float, *, skip_locked: bool = False) -> Renewed:
        """Renews what is live and its worker's own; `skip_locked`: but for what somebody else holds."""
        outcome = Renewed(set(), set())
        for *ref, skipped in self._rows(_RENEW_FREE if skip_locked else _RENEW, ttl=ttl, **_NAMED.bind(named)):
            if not skipped:
                outcome.renewed.add(LeaseRef(*ref))
            elif skip_locked:
                outcome.skipped.add(LeaseRef(*ref))
        return outcome

    def settle_revoked(self, workers: Sequence[str], named: Sequence[LeaseRef]) -> list[int]:
        """Ends revoked leases that these workers named before and name no more; returns the account of each."""
        parameters = {"workers": array("text", workers)} | _REFS.bind(named)
        ended = [row[0] for row in self._rows(_END_UNNAMED_REVOKED, **parameters)]
        self._run(_NAME_REVOKED, **parameters)
        return ended

    def change(self, rows: Sequence[LeaseChange]) -> int:
        """Moves live leases forward; returns how many rows moved, which must be all."""
        return self._run(_UPDATE, **_CHANGE.bind(rows))

    def delete(self, refs: Sequence[LeaseRef]) -> int:
        """Removes leases that ended; returns how many went, which must be all."""
        return self._run(_DELETE, **_REFS.bind(refs))

    def revoke(self, refs: Sequence[LeaseRef]) -> int:
        """Marks leases as revoked: they bar their tasks until their worker lets go or they expire."""
        return self._run(_REVOKE, **_REFS.bind(refs))

    def complete(self, refs: Sequence[LeaseRef], *, late: bool) -> list[CompletedTask]:
        """Completes the tasks of these leases, which must be all; `late` ones have run out."""
        rows = self._rows(_COMPLETE_LATE if late else _COMPLETE, **_REFS.bind(refs))
        return [CompletedTask(*row) for row in rows]


def _live(row: Any) -> LiveLease:
    key, attempt, fence, worker_id, status, *rest = row
    return LiveLease(LeaseRef(key, attempt, fence), worker_id, Status(status), *rest)
