"""Leases: claim, renewal, change, end. Every write names lease and attempt; zero rows is an answer, never ignored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from scheduler_svc.application.records import CompletedTask, Grant, LeaseChange, LiveLease, Named
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.store.batch import Batch, array
from scheduler_svc.store.rows import Statements

# The head of one index, whatever the backlog. `head` is materialized: as the inner side of a join its LIMIT might run
# twice. The n-th of the head goes to the n-th worker of the array; the payload is only read.
_CLAIM = sa.text("""
    WITH head AS MATERIALIZED (
        SELECT task_key, priority, tag, account_id, attempt, timeout_ms FROM ready
        ORDER BY priority DESC, tag, task_key LIMIT :n FOR UPDATE SKIP LOCKED
    ),
    numbered AS MATERIALIZED (
        SELECT *, (row_number() OVER (ORDER BY priority DESC, tag, task_key))::integer AS n,
            (random() * 2147483646)::integer AS fence
        FROM head
    ),
    gone AS (DELETE FROM ready WHERE task_key = ANY(ARRAY(SELECT task_key FROM numbered))),
    granted AS (
        INSERT INTO leases
            (task_key, attempt, fence, worker_id, status, account_id, priority, tag, timeout_ms, claim_time,
            expire_time)
        SELECT task_key, attempt, fence, (CAST(:workers AS text[]))[n], 2, account_id, priority, tag, timeout_ms,
            now(), now() + make_interval(secs => :ttl + 1)
        FROM numbered ORDER BY task_key
    )
    SELECT h.task_key, h.attempt, h.fence, (CAST(:workers AS text[]))[h.n], h.account_id, h.priority, h.timeout_ms,
        p.topic, p.keywords, p.category, p.requirements, p.tone, p.creator_options, p.labels, t.auto_approve
    FROM numbered AS h
    JOIN task_payloads AS p ON p.task_key = h.task_key
    JOIN tasks AS t ON t.task_key = h.task_key
    ORDER BY h.n
""")

_LIVE = """
    task_key, attempt, fence, worker_id, status, revoked, account_id, priority, tag, timeout_ms, claim_time,
    accept_time, start_time
"""
_LOCK = sa.text(
    f"SELECT {_LIVE} FROM leases WHERE task_key = ANY(CAST(:keys AS bigint[])) ORDER BY task_key FOR UPDATE"
)
_LOCK_OF_WORKER = sa.text(f"SELECT {_LIVE} FROM leases WHERE worker_id = :worker_id ORDER BY task_key FOR UPDATE")

# Judged by the start of the transaction. A renewal that waited for the row's lock and comes late still renews.
_LOCK_EXPIRED = sa.text(
    f"SELECT {_LIVE} FROM leases WHERE expire_time < now() ORDER BY task_key LIMIT :limit FOR UPDATE"
)
# Past its own timeout since it was taken into a slot; or not taken into one for that long and a lease time more.
_LOCK_TIMED_OUT = sa.text(f"""
    SELECT {_LIVE} FROM leases
    WHERE NOT revoked AND coalesce(accept_time, claim_time + make_interval(secs => :ttl))
        + timeout_ms * interval '1 millisecond' < now()
    ORDER BY task_key LIMIT :limit FOR UPDATE
""")

_NAMED = Batch(task_key="bigint", attempt="integer", fence="integer", worker_id="text")
# A lease that lives a second longer than promised need not be written again for a second: under load most states then
# only read. What is renewed by the update is known by its rows, the rest by what stood there already.
_RENEW = sa.text(f"""
    WITH mine AS MATERIALIZED (
        SELECT l.* FROM {_NAMED.source}, LATERAL (
            SELECT task_key, attempt, fence, expire_time FROM leases AS l
            WHERE l.task_key = r.task_key AND l.attempt = r.attempt AND l.fence = r.fence
                AND l.worker_id = r.worker_id AND NOT l.revoked
            OFFSET 0) AS l
    ),
    due AS (
        UPDATE leases SET expire_time = now() + make_interval(secs => :ttl + 1)
        WHERE task_key = ANY(ARRAY(SELECT task_key FROM mine WHERE expire_time < now() + make_interval(secs => :ttl)))
            AND NOT revoked
        RETURNING task_key, attempt, fence
    )
    SELECT task_key, attempt, fence FROM due
    UNION ALL
    SELECT task_key, attempt, fence FROM mine WHERE expire_time >= now() + make_interval(secs => :ttl)
""")

# A revoked lease ends once a state names it no longer after having named it.
_REFS = Batch(task_key="bigint", attempt="integer", fence="integer")
_END_UNNAMED_REVOKED = sa.text(f"""
    DELETE FROM leases WHERE task_key IN (
        SELECT task_key FROM leases
        WHERE revoked AND named AND worker_id = ANY(CAST(:workers AS text[]))
            AND (task_key, attempt, fence) NOT IN (SELECT task_key, attempt, fence FROM {_REFS.source})
        ORDER BY task_key FOR UPDATE)
""")
_NAME_REVOKED = sa.text(f"""
    UPDATE leases SET named = true
    WHERE revoked AND NOT named AND worker_id = ANY(CAST(:workers AS text[]))
        AND (task_key, attempt, fence) IN (SELECT task_key, attempt, fence FROM {_REFS.source})
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
    FROM gone JOIN task_payloads AS p ON p.task_key = gone.task_key
    WHERE t.task_key = gone.task_key AND t.status + 0 = 1 AND t.attempt < gone.attempt
    RETURNING t.task_key, t.content_id, t.account_id, left(p.topic, 255), p.category, t.priority, t.schedule_time,
        t.auto_approve
""")
# A late result has no lease any more; its task still names it as the last one, which ran out (4).
_COMPLETE_LATE = sa.text(f"""
    UPDATE tasks AS t SET status = 4, lease_end = 1, start_time = coalesce(t.start_time, now()), end_time = now(),
        content_id = nextval('content_seq'), error = NULL, losses = 0, refusals = 0
    FROM {_REFS.source} JOIN task_payloads AS p ON p.task_key = r.task_key
    WHERE t.task_key = r.task_key AND t.attempt = r.attempt AND t.fence = r.fence AND t.status + 0 = 1 AND t.lease_end = 4
        AND NOT EXISTS (SELECT FROM leases AS l WHERE l.task_key = t.task_key)
    RETURNING t.task_key, t.content_id, t.account_id, left(p.topic, 255), p.category, t.priority, t.schedule_time,
        t.auto_approve
""")


class Leases(Statements):
    """Statements on `leases`."""

    def claim(self, workers: Sequence[str], ttl: float) -> list[Grant]:
        """Moves the head of `ready` to leases, one for each element of `workers` as far as there are tasks."""
        rows = self._rows(_CLAIM, n=len(workers), workers=array("text", workers), ttl=ttl)
        return [Grant(LeaseRef(*row[:3]), *row[3:]) for row in rows]

    def lock(self, keys: Sequence[int]) -> dict[int, LiveLease]:
        """The leases that these tasks have now, by task, locked in the order of the keys."""
        return {lease.ref.task_key: lease for lease in map(_live, self._rows(_LOCK, keys=array("bigint", keys)))}

    def lock_of_worker(self, worker_id: str) -> list[LiveLease]:
        """All leases of a worker, locked."""
        return [_live(row) for row in self._rows(_LOCK_OF_WORKER, worker_id=worker_id)]

    def lock_expired(self, limit: int) -> list[LiveLease]:
        """Leases that ran out, locked."""
        return [_live(row) for row in self._rows(_LOCK_EXPIRED, limit=limit)]

    def lock_timed_out(self, ttl: float, limit: int) -> list[LiveLease]:
        """Leases whose run, or whose wait for a slot, has taken too long, locked."""
        return [_live(row) for row in self._rows(_LOCK_TIMED_OUT, ttl=ttl, limit=limit)]

    def renew(self, named: Sequence[Named], ttl: float) -> set[LeaseRef]:
        """Renews what is live and its worker's own; returns the leases that are renewed."""
        return {LeaseRef(*row) for row in self._rows(_RENEW, ttl=ttl, **_NAMED.bind(named))}

    def settle_revoked(self, workers: Sequence[str], named: Sequence[LeaseRef]) -> int:
        """Ends revoked leases that these workers named before and name no more; returns how many ended."""
        parameters = {"workers": array("text", workers)} | _REFS.bind(named)
        ended = self._run(_END_UNNAMED_REVOKED, **parameters)
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
