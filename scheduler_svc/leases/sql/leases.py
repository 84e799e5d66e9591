"""Leases: renewal, change, end. Every write is fenced by lease and attempt; the caller checks the number of rows.

Fences are random, so that no lease that is granted after a restore from a backup equals one from before it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from scheduler_svc.database.batch import UnnestedRows, array
from scheduler_svc.database.statements import Pipeline, Statements, account_filter, leased, payload, task
from scheduler_svc.dispatch.rows import Claimed
from scheduler_svc.dispatch.sql.claim import CLAIM, CLAIM_AGED, CLAIM_ROUTED, SLOTS, claimed_rows
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.content import TITLE_LENGTH, CompletedTask
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import LeaseEnd, ReaperRow
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.resolution import COMPLETIONS
from scheduler_svc.leases.rows import (
    Inconsistent,
    LeaseChange,
    LiveLease,
    NamedLease,
    RenewalResult,
    ReportedResult,
)

_LIVE = """
    task_key, attempt, fence, worker_id, status, revoked, account_id, priority, tag, timeout_ms, claim_time,
    accept_time, start_time
"""
_READ_LEASES = sa.text(f"SELECT {_LIVE} FROM leases WHERE task_key = ANY(CAST(:keys AS bigint[])) ORDER BY task_key")
"""Reads the leases of some tasks."""
_LOCK_LEASES = sa.text(f"{_READ_LEASES.text} FOR UPDATE")
"""Locks the leases of some tasks."""
_LOCK_FREE_LEASES = sa.text(f"{_LOCK_LEASES.text} SKIP LOCKED")
"""Locks those of them that nobody else has locked."""
# A range that one index alone can serve, in its order.
_OF_WORKER = sa.text(f"""
    SELECT {_LIVE} FROM leases
    WHERE (worker_id, task_key) >= (:worker_id, 0) AND (worker_id, task_key) <= (:worker_id, 9223372036854775807)
    ORDER BY worker_id, task_key
""")
"""Reads a worker's leases."""
_STAGES = sa.text(f"""
    SELECT count(*) FILTER (WHERE NOT revoked AND accept_time IS NULL),
        count(*) FILTER (WHERE NOT revoked AND accept_time IS NOT NULL AND status = {Status.SUBMITTED}),
        count(*) FILTER (WHERE NOT revoked AND status = {Status.PROCESSING}),
        count(*) FILTER (WHERE revoked)
    FROM leases
""")
"""Counts leases by stage."""
_LOCK_OF_WORKER = sa.text(f"{_OF_WORKER.text} FOR UPDATE")
"""Locks a worker's leases."""
_LOCK_FREE_OF_WORKER = sa.text(f"{_OF_WORKER.text} FOR UPDATE SKIP LOCKED")
"""Locks those of a worker's leases that nobody else has locked."""

# Judged by the start of the transaction. Locked rows are being renewed or ended, or another session holds
# them: the next tick retries them, and a renewal wins over the reaper (rule 11).
_LOCK_EXPIRED = sa.text(
    f"""SELECT {_LIVE} FROM leases
    WHERE expire_time < now() AND account_id <> ALL(CAST(:but AS bigint[]))
    ORDER BY task_key LIMIT :limit FOR UPDATE SKIP LOCKED"""
)
"""Locks expired leases."""
# Past its own timeout since it was taken into a slot; or not taken into one for that long and a lease time more. An
# expired lease is lost, however long it took.
_LOCK_TIMED_OUT = sa.text(f"""
    SELECT {_LIVE} FROM leases
    WHERE NOT revoked AND coalesce(accept_time, claim_time + make_interval(secs => CAST(:ttl AS float8)))
        + timeout_ms * interval '1 millisecond' < now()
        AND expire_time >= now()
        AND (CAST(:accounts AS bigint[]) IS NULL OR account_id = ANY(CAST(:accounts AS bigint[])))
        AND account_id <> ALL(CAST(:but AS bigint[]))
    ORDER BY task_key LIMIT :limit FOR UPDATE SKIP LOCKED
""")
"""Locks leases whose attempt has taken too long."""

_NAMED = UnnestedRows(task_key="bigint", attempt="integer", fence="integer", worker_id="text")
# A lease that lives a second longer than promised need not be written again for a second: under load most
# heartbeats then only read. Rows that another session has locked are waited for, or skipped and reported.
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
_RENEW_LEASES = sa.text(_RENEW_SQL.format(skip=""))
"""Renews leases that a heartbeat names."""
_RENEW_FREE = sa.text(_RENEW_SQL.format(skip="SKIP LOCKED"))
"""Renews those of them that nobody else has locked."""

# A revoked lease ends when a heartbeat that follows one that named it names it no longer. Locked rows are left to a
# later heartbeat.
_REFS = UnnestedRows(task_key="bigint", attempt="integer", fence="integer")
_END_UNNAMED_REVOKED = sa.text(f"""
    DELETE FROM leases WHERE task_key = ANY(ARRAY(
        SELECT task_key FROM leases
        WHERE revoked AND named AND worker_id = ANY(CAST(:workers AS text[]))
            AND (task_key, attempt, fence) NOT IN (SELECT task_key, attempt, fence FROM {_REFS.source})
        ORDER BY task_key FOR UPDATE SKIP LOCKED))
    RETURNING account_id
""")
"""Deletes revoked leases that a heartbeat no longer names."""
_NAME_REVOKED = sa.text(f"""
    UPDATE leases SET named = true WHERE task_key = ANY(ARRAY(
        SELECT task_key FROM leases
        WHERE revoked AND NOT named AND worker_id = ANY(CAST(:workers AS text[]))
            AND (task_key, attempt, fence) IN (SELECT task_key, attempt, fence FROM {_REFS.source})
        ORDER BY task_key FOR NO KEY UPDATE SKIP LOCKED))
""")
"""Notes revoked leases that a heartbeat names."""

_CHANGE = UnnestedRows(
    task_key="bigint",
    attempt="integer",
    fence="integer",
    accepted="boolean",
    processing="boolean",
    percent="smallint",
    step="text",
    message="text",
)


def _live_lease(condition: str = "true") -> str:
    """Returns, for FROM, `target`: the `ctid` of the live lease that a row of `r` names, if it meets the `condition`.

    It is found by its key, whatever statistics say. A lease that somebody changes meanwhile has another `ctid`.
    """
    return f"""LATERAL (
        SELECT ctid FROM leases AS x
        WHERE x.task_key = r.task_key AND x.attempt = r.attempt AND x.fence = r.fence AND NOT x.revoked
            AND ({condition})
        OFFSET 0) AS target"""


# The rows are locked, so their ctid is stable.
_UPDATE_ATTEMPTS = sa.text(f"""
    UPDATE leases AS l SET
        accept_time = CASE WHEN r.accepted THEN coalesce(l.accept_time, now()) ELSE l.accept_time END,
        start_time = CASE WHEN r.processing THEN coalesce(l.start_time, now()) ELSE l.start_time END,
        status = CASE WHEN r.processing THEN {Status.PROCESSING} ELSE l.status END,
        percent = coalesce(r.percent, l.percent), step = coalesce(r.step, l.step),
        message = coalesce(r.message, l.message)
    FROM {_CHANGE.source}, {_live_lease()}
    WHERE l.ctid = target.ctid
""")
"""Stores the stage and progress of attempts."""

# These name leases by lists: a task has one lease at most, and the caller has locked it and compared all three.
_THESE = """
    task_key = ANY(CAST(:task_key AS bigint[])) AND attempt = ANY(CAST(:attempt AS integer[]))
    AND fence = ANY(CAST(:fence AS integer[]))
"""
_DELETE_LEASES = sa.text(f"DELETE FROM leases WHERE {_THESE}")
"""Deletes leases that ended."""
_REVOKE_LEASES = sa.text(f"UPDATE leases SET revoked = true WHERE {_THESE} AND NOT revoked")
"""Revokes leases."""

_REPORTED = UnnestedRows(task_key="bigint", attempt="integer", fence="integer", worker_id="text")
_COMPLETED = f"""
    RETURNING t.task_key, t.attempt, t.fence, t.content_id, t.account_id, left(p.topic, {TITLE_LENGTH}) AS title,
        p.category, t.priority, t.schedule_time, t.auto_approve,
        date_part('epoch', t.end_time - t.start_time) AS seconds, t.worker_id
"""
_STEPS = ", ".join(
    f"({stage}, {step.source}, {step.target}, '{step.reason}')"
    for stage, steps in COMPLETIONS.items()
    for step in steps
)
_WITH_MOVES_AND_ENTRIES = f"""
    event AS (
        INSERT INTO task_events (task_key, previous_status, status, attempt, fence, worker_id, reason)
        SELECT task_key, source, target, attempt, fence, worker_id, reason
        FROM done JOIN (VALUES {_STEPS}) AS m(stage, source, target, reason) USING (stage)
        ORDER BY task_key, source
    ),
    entry AS (
        INSERT INTO publish_pool (content_id, account_id, priority, schedule_time)
        SELECT content_id, account_id, priority, schedule_time FROM done WHERE auto_approve
    )
"""
# `+ 0`: on old statistics the planner believes that nothing is pending, and would join through the index of statuses.
# The fence of a result: the lease is deleted and the task completes, or neither. Nothing is locked before: most results
# find their lease live, and what this does not find, or what somebody changes meanwhile, is judged by itself.
_COMPLETE_TASKS = sa.text(f"""
    WITH gone AS (
        DELETE FROM leases AS l
        USING {_REPORTED.source}, {_live_lease("r.worker_id IS NULL OR x.worker_id = r.worker_id")}
        WHERE l.ctid = target.ctid
        RETURNING l.task_key, l.attempt, l.fence, l.worker_id, l.status, l.claim_time,
            coalesce(l.start_time, now()) AS start_time, nextval('content_seq') AS content_id
    ),
    done AS (
        UPDATE tasks AS t SET status = {Status.COMPLETED}, lease_end = {LeaseEnd.COMPLETED},
            attempt = gone.attempt, fence = gone.fence, worker_id = gone.worker_id, submit_time = gone.claim_time,
            start_time = gone.start_time, end_time = now(), content_id = gone.content_id,
            error = NULL, losses = 0, refusals = 0
        FROM gone, {payload("gone")}, {task("gone", "target")}
        WHERE t.ctid = target.ctid AND t.status + 0 = {Status.PENDING} AND t.attempt < gone.attempt
        {_COMPLETED}, gone.status AS stage
    ),
    {_WITH_MOVES_AND_ENTRIES}
    SELECT g.n, done.* FROM (SELECT count(*) AS n FROM gone) AS g LEFT JOIN done ON true
""")
"""Ends live leases and completes their tasks, with history and pool entries."""
# A late result has no lease any more; its task still names it as the last one, which expired.
_COMPLETE_LATE = sa.text(f"""
    WITH done AS (
        UPDATE tasks AS t SET status = {Status.COMPLETED}, lease_end = {LeaseEnd.COMPLETED},
            start_time = coalesce(t.start_time, now()), end_time = now(),
            content_id = CASE WHEN pg_current_xact_id() IS NOT NULL THEN nextval('content_seq') END,
            error = NULL, losses = 0, refusals = 0
        FROM {_REPORTED.source}, {payload("r")}, {task("r", "target")}
        WHERE t.ctid = target.ctid AND t.attempt = r.attempt AND t.fence = r.fence AND t.status + 0 = {Status.PENDING}
            AND t.lease_end = {LeaseEnd.LOST}
            AND NOT {leased("t")}
        {_COMPLETED}, {Status.PENDING} AS stage
    ),
    {_WITH_MOVES_AND_ENTRIES}
    SELECT * FROM done
""")
"""Completes tasks whose lease expired before its result came, with history and pool entries."""

_LOCK_REAPER = sa.text("""
    SELECT extract(epoch FROM stamp)::float8, extract(epoch FROM expire_not_before)::float8,
        extract(epoch FROM now())::float8
    FROM reaper FOR UPDATE
""")
"""Locks and reads the row that all reapers share."""
_STAMP_REAPER = sa.text("UPDATE reaper SET stamp = to_timestamp(:stamp), expire_not_before = to_timestamp(:guard)")
"""Stores the time of the last tick."""


class Leases(Statements):
    def __init__(self, session: Pipeline, aging: float = 0.0) -> None:
        """`aging`: seconds of wait after which a task competes one priority higher; 0: never."""
        super().__init__(session)
        self._aging = aging

    def claim(self, slots: Sequence[tuple[str, int]], ttl: float, selectors: Sequence[int] = ()) -> Claimed:
        """Moves the head of `ready` to leases: one for each of these slots whose session is open, in order.

        A slot is a worker with its session, whose labels match these worker selectors. What it returns is committed:
        it is a transaction alone.
        """
        parameters: dict[str, object] = SLOTS.bind(slots) | {"ttl": ttl}
        if selectors:
            aging, numbers = self._aging or math.inf, array("smallint", [0, *selectors])
            statement, parameters = CLAIM_ROUTED, parameters | {"aging": aging, "selectors": numbers}
        else:
            statement, aged = (CLAIM_AGED, {"aging": self._aging}) if self._aging else (CLAIM, {})
            parameters |= aged
        result = self._session.execute_and_commit(statement, parameters)
        return claimed_rows(result.fetchall())

    def lock(self, keys: Sequence[int], *, skip_locked: bool = False) -> dict[int, LiveLease]:
        """Locks the leases that these tasks have now, in the order of the keys; returns them by task.

        `skip_locked`: without those that another session has locked.
        """
        rows = self._rows(_LOCK_FREE_LEASES if skip_locked else _LOCK_LEASES, keys=array("bigint", keys))
        return {lease.ref.task_key: lease for lease in map(_live, rows)}

    def peek(self, keys: Sequence[int]) -> dict[int, LiveLease]:
        """Returns the leases of these tasks, by task; nothing is locked."""
        return {lease.ref.task_key: lease for lease in map(_live, self._rows(_READ_LEASES, keys=array("bigint", keys)))}

    def of_worker(self, worker_id: str) -> list[LiveLease]:
        return [_live(row) for row in self._rows(_OF_WORKER, worker_id=worker_id)]

    def stages(self) -> dict[str, int]:
        """Returns how many leases there are in each stage."""
        return dict(zip(("queued", "accepted", "processing", "revoked"), self._row(_STAGES), strict=True))

    def lock_of_worker(self, worker_id: str, *, skip_locked: bool = False) -> list[LiveLease]:
        """Returns the same as `of_worker`, locked; `skip_locked`: without those that another session has locked."""
        statement = _LOCK_FREE_OF_WORKER if skip_locked else _LOCK_OF_WORKER
        return [_live(row) for row in self._rows(statement, worker_id=worker_id)]

    def lock_expired(self, limit: int, but: Collection[int] = ()) -> list[LiveLease]:
        """Locks expired leases; without those that another session has locked, or of the accounts `but`."""
        return [_live(row) for row in self._rows(_LOCK_EXPIRED, limit=limit, but=array("bigint", but))]

    def lock_timed_out(self, ttl: float, limit: int, scope: Scope, but: Collection[int] = ()) -> list[LiveLease]:
        """Locks leases whose attempt, or wait for a slot, took too long, with the exceptions of `lock_expired`."""
        accounts = account_filter(scope)
        rows = self._rows(_LOCK_TIMED_OUT, ttl=ttl, limit=limit, accounts=accounts, but=array("bigint", but))
        return [_live(row) for row in rows]

    def renew(self, named: Sequence[NamedLease], ttl: float, *, skip_locked: bool = False) -> RenewalResult:
        """Renews leases that are live and their worker's own; `skip_locked`: except those that others have locked."""
        outcome = RenewalResult(set(), set())
        for *ref, skipped in self._rows(_RENEW_FREE if skip_locked else _RENEW_LEASES, ttl=ttl, **_NAMED.bind(named)):
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
        return self._run(_UPDATE_ATTEMPTS, **_CHANGE.bind(rows))

    def delete(self, refs: Sequence[LeaseRef]) -> int:
        """Deletes leases that ended; returns how many, which must be all."""
        return self._run(_DELETE_LEASES, **_REFS.bind(refs))

    def revoke(self, refs: Sequence[LeaseRef]) -> int:
        """Revokes leases: they bar their tasks until their worker releases them or they expire."""
        return self._run(_REVOKE_LEASES, **_REFS.bind(refs))

    def complete(self, results: Sequence[ReportedResult], *, late: bool = False) -> list[CompletedTask]:
        """Completes the tasks of those of these leases that are live, with history and pool entries; returns them.

        `late`: of those that have expired, and are the last ones of their tasks.
        """
        if late:
            return [_completed(*row) for row in self._rows(_COMPLETE_LATE, **_REPORTED.bind(results))]
        rows = self._rows(_COMPLETE_TASKS, **_REPORTED.bind(results))
        tasks = [_completed(*row[1:]) for row in rows if row[1] is not None]
        if rows[0][0] != len(tasks):
            raise Inconsistent(f"{rows[0][0]} leases ended with a result, {len(tasks)} tasks completed")
        return tasks


class Reaper(Statements):
    def lock(self) -> tuple[ReaperRow, float]:
        """Locks the row; returns it, and the transaction's start in seconds since 1970 by the database's clock."""
        stamp, expire_not_before, now = self._row(_LOCK_REAPER)  # the migrations insert this row
        return ReaperRow(stamp, expire_not_before), now

    def stamp(self, row: ReaperRow) -> None:
        self._run(_STAMP_REAPER, stamp=row.stamp, guard=row.expire_not_before)


def _completed(key: int, attempt: int, fence: int, *rest: Any) -> CompletedTask:
    return CompletedTask(LeaseRef(key, attempt, fence), *rest)


def _live(row: Any) -> LiveLease:
    key, attempt, fence, worker_id, status, *rest = row
    return LiveLease(LeaseRef(key, attempt, fence), worker_id, Status(status), *rest)
