"""The windows of the accounts in the order of dispatch: assigns tags to their tasks, and removes them.

A task in `ready` without a tag waits behind its account's window. It has no table of its own, so that a cancel or a
late result finds it where all others are. A transaction that adds to an account's tasks, admits them or closes the
account holds its rows in `shares`. The loads of accounts (counts, pauses, limits, quotas) are read for autoscalers once
a second.

The free seats of an account are counted anew in one snapshot, from its tags and leases, and never stored: a counter
would be a row that every end of a lease writes, and a defect could leave it wrong for good. A claim turns a tag into a
lease, which leaves their sum as it was. So it checks no limit. A new limit or a pause first closes the account, which
waits for submits in progress, and then removes tags, which waits for claims in progress: it holds from its commit on.
While an account is closed, a task that becomes ready gets no tag, even one that returns from a lease.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from scheduler_svc.database.batch import UnnestedRows, array
from scheduler_svc.database.statements import Pipeline, Statements
from scheduler_svc.dispatch.rows import AccountQueue, FlowMark
from scheduler_svc.dispatch.sql.selectors import served
from scheduler_svc.dispatch.sql.tags import ASSIGN_TAGS, floor, virtual_time
from scheduler_svc.domain.account import ALL_ACCOUNTS
from scheduler_svc.domain.dispatch import MAX_QUEUE, QUEUES, Flow, Load, StartQuota, Starts
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import MAX_PRIORITY, MIN_PRIORITY, READY
from scheduler_svc.history.sql import unfolded

# A row for each priority, used or not: the first task of a priority also finds the account closed.
_CLOSE_ACCOUNT = sa.text(f"""
    INSERT INTO shares AS s (account_id, priority, finish, closed)
    SELECT :account_id, priority, 0, true FROM generate_series({MIN_PRIORITY}, {MAX_PRIORITY}) AS priority
    ORDER BY priority
    ON CONFLICT (account_id, priority) DO UPDATE SET closed = true
""")
"""Closes an account: tasks that become ready get no tag."""
_LOCK_SHARES = sa.text("SELECT FROM shares WHERE account_id = :account_id ORDER BY priority FOR UPDATE")
"""Locks an account's shares, against others who assign or remove its tags."""

# Each is a range of one index, written so that no other index can serve it, whatever the statistics say.
_TAGGED = """
    w.tag IS NOT NULL AND (w.account_id, w.priority, w.tag) >= ({account_id}, {priority}, {floor})
    AND (w.account_id, w.priority, w.tag) <= ({account_id}, {priority}, float8 'Infinity')
"""
_UNTAGGED = """
    w.tag IS NULL AND (w.account_id, w.priority, w.task_key) >= ({account_id}, {priority}, 0)
    AND (w.account_id, w.priority, w.task_key) <= ({account_id}, {priority}, 9223372036854775807)
"""


def _of(account_id: str, priority: str) -> dict[str, str]:
    return {"account_id": account_id, "priority": priority, "floor": floor(priority)}


_GIVEN = _of("CAST(:account_id AS bigint)", "CAST(:priority AS smallint)")
_OF_SHARE = _of("s.account_id", "s.priority")

# One snapshot, so that leases, tags and starts of the account count each task exactly once. `now` is later than any
# claim that the snapshot shows.
_WAITLIST_SQL = f"""
    WITH a AS MATERIALIZED (
        SELECT account_id, weight, max_concurrent_tasks,
            EXISTS (SELECT FROM pauses AS p WHERE p.account_id = accounts.account_id) AS paused,
            CASE WHEN max_concurrent_tasks > 0
                THEN (SELECT count(*) FROM leases AS l WHERE l.account_id = accounts.account_id) ELSE 0 END AS leases,
            max_starts_per_minute, clock_timestamp() AS now
        FROM accounts WHERE account_id = :account_id
    )
    SELECT a.weight, a.max_concurrent_tasks, a.paused, a.leases, a.max_starts_per_minute, a.now, q.tagged, q.times,
        q.counts, s.priority, s.finish,
        {virtual_time("s.priority")} AS now,
        (SELECT count(*) FROM ready AS w WHERE {_TAGGED.format(**_OF_SHARE)}) AS tagged,
        (SELECT count(*) FROM (
            SELECT FROM ready AS w WHERE {_UNTAGGED.format(**_OF_SHARE)}
            ORDER BY w.account_id, w.priority, w.task_key LIMIT :count_limit) AS w) AS untagged,
        {served("s.priority", "interval '10 minutes'")} AS served{{waits}}
    FROM a LEFT JOIN LATERAL (
        SELECT tagged, times, counts FROM start_quotas AS x
        WHERE x.account_id = a.account_id AND a.max_starts_per_minute > 0 OFFSET 0) AS q ON true,
    LATERAL (
        SELECT account_id, priority, finish FROM shares AS x
        WHERE (x.account_id, x.priority) >= (a.account_id, {MIN_PRIORITY})
            AND (x.account_id, x.priority) <= (a.account_id, {MAX_QUEUE})
        ORDER BY x.account_id DESC, x.priority DESC OFFSET 0) AS s
"""
_WAITLIST = sa.text(_WAITLIST_SQL.format(waits=""))
"""Reads an account's waiting tasks by priority, with its limits."""
# Of each priority it examines at most as many tasks as there may be seats, in dispatch order. Tags are assigned and
# removed in that order too, so these are the same tasks whichever of them have a tag at the moment.
_SEATS = "least(:count_limit, nullif(a.max_concurrent_tasks, 0), nullif(a.max_starts_per_minute, 0))"
_WAITLIST_AGED = sa.text(
    _WAITLIST_SQL.format(
        waits=f""",
        CASE WHEN a.max_concurrent_tasks > 0 OR a.max_starts_per_minute > 0 THEN ARRAY(
            SELECT CAST(extract(epoch FROM a.now - w.ready_time) AS float8) FROM (
                (SELECT w.ready_time FROM ready AS w WHERE {_TAGGED.format(**_OF_SHARE)}
                ORDER BY w.account_id, w.priority, w.tag LIMIT {_SEATS})
                UNION ALL
                (SELECT w.ready_time FROM ready AS w WHERE {_UNTAGGED.format(**_OF_SHARE)}
                ORDER BY w.account_id, w.priority, w.task_key LIMIT {_SEATS})
                LIMIT {_SEATS}) AS w
            WHERE w.ready_time <= a.now - make_interval(secs => CAST(:aging AS float8)) ORDER BY w.ready_time)
        ELSE '{{}}' END AS waits"""
    )
)
"""The same with the waits of its oldest tasks, for priorities that rise with the wait."""

# Locks the rows that are free. An account of which it can't lock all rows is locked by another session.
_TRY_LOCK = sa.text("""
    WITH free AS MATERIALIZED (
        SELECT account_id, priority FROM shares WHERE account_id = ANY(CAST(:accounts AS bigint[]))
        ORDER BY account_id, priority FOR UPDATE SKIP LOCKED
    )
    SELECT account_id FROM shares AS s WHERE account_id = ANY(CAST(:accounts AS bigint[]))
    GROUP BY account_id HAVING count(*) > (SELECT count(*) FROM free WHERE free.account_id = s.account_id)
""")
"""Locks several accounts' shares if they are free; finds accounts that another session has locked."""

_MOVE_FINISH = """
    UPDATE shares SET finish = {{finish}} WHERE (account_id, priority) >= ({account_id}, {priority})
        AND (account_id, priority) <= ({account_id}, {priority})
""".format(**_GIVEN)
_TAG = "CAST(:start AS float8) + (row_number() OVER (ORDER BY {order}) - 1) / CAST(:weight AS float8)"
_LAST = "CAST(:start AS float8) + (SELECT count(*) FROM chosen) / CAST(:weight AS float8)"
# Skips locked rows: they are being cancelled. The join is by ctid, which is stable because the rows are locked. Joined
# by key, a plan made while nothing waited would compare all waiting tasks with each of them.
_ASSIGN_TAGS_TO_OLDEST = sa.text(f"""
    WITH chosen AS MATERIALIZED (
        SELECT row_ctid, {_TAG.format(order="task_key")} AS tag FROM (
            SELECT w.ctid AS row_ctid, w.task_key FROM ready AS w WHERE {_UNTAGGED.format(**_GIVEN)}
            ORDER BY w.account_id, w.priority, w.task_key LIMIT :count FOR UPDATE SKIP LOCKED) AS w
    ),
    moved AS ({_MOVE_FINISH.format(finish=_LAST)})
    UPDATE ready SET tag = chosen.tag FROM chosen WHERE ready.ctid = chosen.row_ctid
""")
"""Assigns tags to the oldest tasks without one."""
# The last tasks of the window. Waits for a claim in progress, which keeps the tasks that it took.
_REMOVE_LAST_TAGS = sa.text(f"""
    WITH chosen AS MATERIALIZED (
        SELECT w.task_key FROM ready AS w WHERE {_TAGGED.format(**_GIVEN)}
        ORDER BY w.account_id DESC, w.priority DESC, w.tag DESC LIMIT :count
    ),
    held AS MATERIALIZED (
        SELECT task_key, tag FROM ready
        WHERE task_key = ANY(ARRAY(SELECT task_key FROM chosen)) ORDER BY task_key FOR UPDATE
    ),
    moved AS ({_MOVE_FINISH.format(finish="coalesce((SELECT min(tag) FROM held), finish)")})
    UPDATE ready SET tag = NULL WHERE task_key = ANY(ARRAY(SELECT task_key FROM held))
""")
"""Removes the tags of the last tasks."""
# Skips locked rows: they are being claimed or cancelled.
_RENEW_TAGS = sa.text(f"""
    WITH chosen AS MATERIALIZED (
        SELECT row_ctid, {_TAG.format(order="tag, task_key")} AS tag FROM (
            SELECT w.ctid AS row_ctid, w.task_key, w.tag FROM ready AS w WHERE {_TAGGED.format(**_GIVEN)}
            FOR UPDATE SKIP LOCKED) AS w
    ),
    moved AS ({_MOVE_FINISH.format(finish=_LAST)})
    UPDATE ready SET tag = chosen.tag FROM chosen WHERE ready.ctid = chosen.row_ctid
""")
"""Assigns new tags to all tasks that have one, in the same order."""

_MARKS = UnnestedRows(priority="smallint", backlog="boolean", refill="float8")
_CLOSED = f"(CAST(:closed AS boolean) OR r.priority >= {QUEUES})"
_MARK_PRIORITIES = sa.text(f"""
    UPDATE shares AS s SET backlog = r.backlog, closed = {_CLOSED}, refill = r.refill
    FROM {_MARKS.source}
    WHERE (s.account_id, s.priority) >= (CAST(:account_id AS bigint), r.priority)
        AND (s.account_id, s.priority) <= (CAST(:account_id AS bigint), r.priority)
        AND (s.backlog, s.closed, s.refill) IS DISTINCT FROM (r.backlog, {_CLOSED}, r.refill)
""")
"""Stores the backlog and refill tag of an account's priorities, and whether it is closed."""

# Steps from account to account: one index lookup each, however many tasks they have.
_WITH_BACKLOG = sa.text("""
    WITH RECURSIVE found AS (
        (SELECT w.account_id FROM ready AS w WHERE w.tag IS NULL AND w.account_id > :after
            ORDER BY w.account_id, w.priority, w.task_key LIMIT 1)
        UNION ALL
        SELECT (SELECT w.account_id FROM ready AS w WHERE w.tag IS NULL AND w.account_id > found.account_id
            ORDER BY w.account_id, w.priority, w.task_key LIMIT 1)
        FROM found WHERE found.account_id IS NOT NULL
    )
    SELECT account_id FROM found
    WHERE account_id IS NOT NULL AND NOT EXISTS (SELECT FROM pauses AS p WHERE p.account_id = found.account_id)
    LIMIT :limit
""")
"""Finds accounts with tasks that wait without a tag."""
_WITH_LIMIT = sa.text("SELECT account_id FROM accounts WHERE max_concurrent_tasks > 0")
"""Finds accounts with a limit of concurrent tasks."""


class Window(Statements):
    """Statements on the tags in `ready`, and on `shares`."""

    def __init__(self, session: Pipeline, aging: float = 0.0) -> None:
        """`aging`: seconds of wait after which a task competes one priority higher; 0: never."""
        super().__init__(session)
        self._aging = aging

    def close(self, account_id: int) -> None:
        """Closes the account: its tasks get no tag until it is settled."""
        self._run(_CLOSE_ACCOUNT, account_id=account_id)

    def lock(self, account_id: int) -> None:
        """Locks the account against others who add to its tasks or assign tags; tags may be assigned then."""
        self._session.hold_back(ASSIGN_TAGS, {})
        self._run(_LOCK_SHARES, account_id=account_id)

    def try_lock(self, accounts: Collection[int]) -> set[int]:
        """Locks the free ones of these accounts, as `lock` does; returns those that another session has locked."""
        return {row[0] for row in self._rows(_TRY_LOCK, accounts=array("bigint", accounts))}

    def lock_due(self, due_accounts: Callable[[Collection[int]], Collection[int]]) -> set[int]:
        """Locks all of `due_accounts(excluded)`; returns those excluded, which another session has locked."""
        excluded: set[int] = set()
        while locked := self.try_lock(due_accounts(excluded)):
            excluded |= locked
        return excluded

    def account_queue(self, account_id: int, count_limit: int) -> AccountQueue | None:
        """Returns an account's waiting tasks; None if it never had any.

        `count_limit`: up to which number untagged tasks of a priority are counted.
        """
        aged = {"aging": self._aging} if self._aging else {}
        rows = self._rows(_WAITLIST_AGED if aged else _WAITLIST, account_id=account_id, count_limit=count_limit, **aged)
        if not rows:
            return None
        weight, limit, paused, leases, *quota = rows[0][:9]
        flows = tuple(Flow(*row[9:]) for row in rows)
        return AccountQueue(weight, limit, paused, leases, flows, _quota(*quota), self._aging)

    def admit(self, account_id: int, priority: int, count: int, start: float, weight: float) -> int:
        """Assigns tags to the oldest `count` tasks without one, from `start` on; returns how many."""
        return self._run(
            _ASSIGN_TAGS_TO_OLDEST, account_id=account_id, priority=priority, count=count, start=start, weight=weight
        )

    def untag(self, account_id: int, priority: int, count: int) -> int:
        """Removes the tags of the last `count` tasks; returns how many were not claimed meanwhile."""
        return self._run(_REMOVE_LAST_TAGS, account_id=account_id, priority=priority, count=count)

    def renew(self, account_id: int, priority: int, start: float, weight: float) -> int:
        """Assigns new tags to all tasks that have one, from `start` on, in the same order."""
        return self._run(_RENEW_TAGS, account_id=account_id, priority=priority, start=start, weight=weight)

    def mark(self, account_id: int, flows: Sequence[FlowMark], *, closed: bool) -> None:
        """Stores each priority's backlog and refill tag, and whether the account is closed."""
        self._run(_MARK_PRIORITIES, account_id=account_id, closed=closed, **_MARKS.bind(flows))

    def accounts_with_backlog(self, after: int, limit: int) -> list[int]:
        """Returns accounts with untagged tasks and ids above `after`, in the order of their ids, but no paused ones."""
        return [row[0] for row in self._rows(_WITH_BACKLOG, after=after, limit=limit)]

    def accounts_with_limit(self) -> list[int]:
        return [row[0] for row in self._rows(_WITH_LIMIT)]


def _quota(
    limit: int, now: datetime, admitted: int | None, times: Sequence[datetime] | None, counts: Sequence[int] | None
) -> StartQuota | None:
    """Returns None if the account has no quota."""
    if not limit:
        return None
    starts = [Starts(*pair) for pair in zip(times or (), counts or (), strict=True)]
    return StartQuota(limit, now, admitted or 0, starts)


def _count(account_id: str, *kinds: int) -> str:
    """Returns a query for the sum of an account's counts of these kinds, folded or not."""
    deltas = " UNION ALL ".join(f"({unfolded(account_id, kind)})" for kind in kinds)
    return f"""(SELECT coalesce(sum(n), 0)::bigint FROM (
            SELECT n FROM task_counts AS k WHERE k.account_id = {account_id}
                AND k.kind IN ({", ".join(str(int(kind)) for kind in kinds)})
            UNION ALL {deltas}) AS c)"""


def _ready(account_id: str) -> str:
    return _count(account_id, READY)


def _leased(account_id: str) -> str:
    return _count(account_id, Status.SUBMITTED, Status.PROCESSING)


_OF_ACCOUNT = f"""{_leased("a.account_id")},
        EXISTS (SELECT FROM pauses AS p WHERE p.account_id IN ({{pauses}})), a.max_concurrent_tasks,
        a.max_starts_per_minute, clock_timestamp(), q.times, q.counts"""
_QUOTA = """LATERAL (
        SELECT times, counts FROM start_quotas AS x
        WHERE x.account_id = a.account_id AND a.max_starts_per_minute > 0 OFFSET 0) AS q ON true"""

_LOAD = sa.text(f"""
    SELECT a.account_id, {_ready("a.account_id")}, {_OF_ACCOUNT.format(pauses=f"{ALL_ACCOUNTS}, a.account_id")}
    FROM accounts AS a LEFT JOIN {_QUOTA}
    WHERE a.account_id = :account_id
""")
"""Reads the load of one account."""

# One snapshot: a task that moves meanwhile counts once. Index look-ups only, whatever the statistics say.
_LOADS = sa.text(f"""
    WITH barred AS MATERIALIZED (
        SELECT account_id FROM accounts WHERE max_concurrent_tasks > 0
        UNION SELECT account_id FROM start_quotas
        UNION SELECT account_id FROM pauses
    ),
    waiting AS MATERIALIZED (
        SELECT account_id, ready FROM (
            SELECT barred.account_id, {_ready("barred.account_id")} AS ready FROM barred OFFSET 0) AS b
        WHERE ready > 0 AND account_id <> {ALL_ACCOUNTS}
    )
    SELECT {ALL_ACCOUNTS}, {_ready(str(ALL_ACCOUNTS))}, {_leased(str(ALL_ACCOUNTS))},
        EXISTS (SELECT FROM pauses AS p WHERE p.account_id = {ALL_ACCOUNTS}), 0, 0, clock_timestamp(),
        CAST(NULL AS timestamptz[]), CAST(NULL AS integer[])
    UNION ALL
    SELECT a.account_id, w.ready, {_OF_ACCOUNT.format(pauses="a.account_id")}
    FROM waiting AS w
    CROSS JOIN LATERAL (SELECT * FROM accounts AS x WHERE x.account_id = w.account_id OFFSET 0) AS a
    LEFT JOIN {_QUOTA}
""")
"""Reads the load of all accounts, and of each one with ready tasks that has a pause, a limit or a quota."""


class Loads(Statements):
    """Statements on counts, pauses, limits and quotas."""

    def of(self, account_id: int) -> Load | None:
        """Returns the load of one account, paused with all too, or None if there is no such account."""
        return self._one(_load, _LOAD, account_id=account_id)

    def all(self) -> tuple[Load, list[Load]]:
        """Returns the load of all accounts together, and the loads of those with a pause, a limit or a quota."""
        loads = {row[0]: _load(*row) for row in self._rows(_LOADS)}
        return loads.pop(ALL_ACCOUNTS), list(loads.values())


def _load(_account_id: int, ready: int, leased: int, paused: bool, limit: int, *of_starts: Any) -> Load:
    starts_a_minute, now, *starts = of_starts
    return Load(ready, leased, paused, limit, _quota(starts_a_minute, now, 0, *starts))
