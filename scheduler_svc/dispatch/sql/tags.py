"""Tags: the floors below which none is claimed, their reservation, and the starts that count against a quota.

A deleted row stays in its index for as long as any transaction on the server could see it, and a backup's transaction
lasts for hours. A search for the first tag would read all of these entries, so it begins at the priority's floor. No
task is hidden below one: tags are assigned from the virtual time on, which is never below the floor, under a shared
lock that is held from before the virtual time is read until the commit. The floor is raised under the same lock,
exclusive, so no tag is being assigned then. A periodic check lowers a floor that hides a task nevertheless. Admission
of a backlog, the due loop, the folds of counts and look-ups in `shares` have no floor: they read dead entries.

A reservation is a part of the statements that make tasks ready; ASSIGN_TAGS comes before each of them. An account's
virtual finish starts at the priority's virtual time or later, and advances by one share a task; the larger its weight,
the smaller the share. Tasks that exceed its window (`domain/dispatch.py`) wait behind it, and so do all later ones.
Replicas are serialized by the row's lock; the row is read under it.

A transaction that counts an account's starts holds its rows in `shares`. One that removes a task without claiming it
does not, so `tagged` is only added to and subtracted from, never set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from scheduler_svc.database.batch import UnnestedRows, array
from scheduler_svc.database.connections import AdvisoryLock
from scheduler_svc.database.statements import Statements
from scheduler_svc.dispatch.sql.selectors import ALL_QUEUES
from scheduler_svc.domain.dispatch import MAX_WINDOW, QUEUES, REFILL_LIMIT, Starts
from scheduler_svc.history.work import TagReservation

ASSIGN_TAGS = sa.text(f"SELECT pg_advisory_xact_lock_shared({AdvisoryLock.FLOORS.key})")
"""Locks the floors, before the statement that reads the virtual time and assigns tags."""


def floor(priority: str) -> str:
    """Returns the floor of a priority; nothing with a lower tag can be claimed."""
    return f"coalesce((SELECT f.tag FROM ready_floors AS f WHERE f.priority = {priority}), '-Infinity')"


def virtual_time(priority: str) -> str:
    """Returns the virtual time of a priority: the smallest tag that waits, or the largest finish if none waits."""
    return f"""coalesce(
        (SELECT w.tag FROM ready AS w WHERE w.priority = {priority} AND w.tag >= {floor(priority)}
            ORDER BY w.tag LIMIT 1),
        greatest({floor(priority)}, coalesce(
            (SELECT s.finish FROM shares AS s WHERE s.priority = {priority} ORDER BY s.finish DESC LIMIT 1), 0)))"""


_LOCK_OUT_TAGS = sa.text(f"SELECT pg_try_advisory_xact_lock({AdvisoryLock.FLOORS.key})")
"""Locks out transactions that assign tags, if none does."""
_RAISE_FLOORS = sa.text(f"""
    INSERT INTO ready_floors AS f (priority, tag)
    SELECT priority, tag FROM (SELECT p.priority, {virtual_time("p.priority")} AS tag FROM {ALL_QUEUES}) AS p
    WHERE tag > {floor("p.priority")} AND tag > 0
    ON CONFLICT (priority) DO UPDATE SET tag = excluded.tag WHERE excluded.tag > f.tag
""")
"""Raises each floor to the virtual time of its priority."""
_LOWER_FLOORS = sa.text("""
    UPDATE ready_floors AS f SET tag = w.tag FROM ready_floors AS g, LATERAL (
        SELECT tag FROM ready AS w WHERE w.priority = g.priority AND w.tag < g.tag ORDER BY w.tag LIMIT 1) AS w
    WHERE f.priority = g.priority AND w.tag < f.tag
""")
"""Lowers the floors that hide a task."""


class Floors(Statements):
    def rise(self) -> bool:
        """Raises each floor to the virtual time; returns False if a transaction is assigning tags."""
        free = self._row(_LOCK_OUT_TAGS)[0]
        if free:
            self._run(_RAISE_FLOORS)
        return bool(free)

    def uncover(self) -> int:
        """Lowers floors that hide a task; returns how many. Reads all dead entries below them."""
        return self._run(_LOWER_FLOORS)


GROUPS = UnnestedRows(account_id="bigint", priority="smallint", count="integer", number="bigint")
"""How many tasks of each account and priority become ready."""
_PRIORITIES = 16
"""More than there are: an account's groups are numbered from this many times its id on."""
_NO_COUNT = _PRIORITIES - 1
"""The number of all of its groups with a worker selector: these get no tag, whatever their count."""


def reserved(condition: str) -> str:
    """Returns, for WITH, `reserved`: a row for each of `GROUPS`; empty unless `condition` holds.

    A row that is there finds its count by a binary search in the ascending numbers of the groups: a join would read all
    groups for each row. Tasks with a worker selector get no tag, as if their account was closed: admission gives them
    one once a worker is there.
    """
    return f"""
        clock AS MATERIALIZED (
            SELECT p.priority, {virtual_time("p.priority")} AS now
            FROM (SELECT DISTINCT priority FROM {GROUPS.source}) AS p
        ),
        becoming_ready AS MATERIALIZED (
            SELECT r.account_id, r.priority, r.count, a.weight, clock.now,
                r.priority >= {QUEUES} OR a.max_concurrent_tasks > 0 OR a.max_starts_per_minute > 0
                    OR EXISTS (SELECT FROM pauses AS p WHERE p.account_id = a.account_id) AS closed
            FROM {GROUPS.source} JOIN accounts AS a USING (account_id) JOIN clock USING (priority) WHERE {condition}
        ),
        reserved AS (
            INSERT INTO shares AS s (account_id, priority, finish, tagged, backlog, closed, refill)
            SELECT account_id, priority, now + n / weight, n, n < count, closed,
                CASE WHEN n < count AND NOT closed THEN now + (n - {REFILL_LIMIT}) / weight END
            FROM (
                SELECT *, CASE WHEN closed THEN 0 ELSE least(count, {MAX_WINDOW}) END AS n FROM becoming_ready) AS r
            ORDER BY account_id, priority
            ON CONFLICT (account_id, priority) DO UPDATE SET (finish, tagged, backlog, refill) = (
                SELECT CASE WHEN n > 0 THEN start + n / weight ELSE s.finish END, n, s.backlog OR n < count,
                    CASE WHEN n < count AND NOT s.closed AND NOT s.backlog THEN start + (n - {REFILL_LIMIT}) / weight
                        ELSE s.refill END
                FROM (
                    SELECT count, weight, start, CASE WHEN s.closed OR s.backlog THEN 0
                        ELSE least(count, greatest(0, ceil({MAX_WINDOW} - (start - now) * weight)))::integer END AS n
                    FROM (
                        SELECT a.weight, clock.now, greatest(clock.now, s.finish) AS start,
                            (CAST(:count AS integer[]))[width_bucket(
                                excluded.account_id * {_PRIORITIES} + least(excluded.priority, {_NO_COUNT}),
                                CAST(:number AS bigint[]))] AS count
                        FROM clock, accounts AS a
                        WHERE clock.priority = excluded.priority AND a.account_id = excluded.account_id
                    ) AS r
                ) AS r)
            RETURNING s.account_id, s.priority, s.finish,
                (SELECT a.weight FROM accounts AS a WHERE a.account_id = s.account_id) AS weight, s.tagged,
                (SELECT clock.now FROM clock WHERE clock.priority = s.priority) AS now, s.closed
        )"""


def bind_counts(counts: Mapping[tuple[int, int], int]) -> dict[str, str]:
    """Returns the parameters of `reserved` for these numbers of tasks by (account, priority); a number may be 0."""
    rows = [
        (account_id, priority, count, account_id * _PRIORITIES + min(priority, _NO_COUNT))
        for (account_id, priority), count in sorted(counts.items())
    ]
    return GROUPS.bind(rows)


def reservations(rows: Iterable[Any]) -> dict[tuple[int, int], TagReservation]:
    """Returns the rows of `reserved`, by (account, priority)."""
    return {(account_id, priority): TagReservation(*turn) for account_id, priority, *turn in rows}


_ADD_QUOTA = sa.text("""
    INSERT INTO start_quotas (account_id, tagged, times, counts) VALUES (:account_id, 0, '{}', '{}')
    ON CONFLICT DO NOTHING
""")
"""Begins to count an account's starts."""
_REMOVE_QUOTA = sa.text("DELETE FROM start_quotas WHERE account_id = :account_id")
"""Stops counting an account's starts."""
_STORE_STARTS = sa.text("""
    INSERT INTO start_quotas AS q (account_id, tagged, times, counts)
    VALUES (:account_id, :more, CAST(:times AS timestamptz[]), CAST(:counts AS integer[]))
    ON CONFLICT (account_id) DO UPDATE SET tagged = q.tagged + excluded.tagged, times = excluded.times,
        counts = excluded.counts
""")
"""Stores an account's starts within the last minute."""
_TAGS = UnnestedRows(account_id="bigint", tags="integer")
_SUBTRACT_TAGS = sa.text(f"""
    UPDATE start_quotas AS q SET tagged = q.tagged - r.tags FROM {_TAGS.source}
    WHERE q.account_id = r.account_id AND q.account_id = ANY(ARRAY(
        SELECT account_id FROM start_quotas WHERE account_id = ANY(CAST(:account_id AS bigint[]))
        ORDER BY account_id FOR UPDATE))
""")
"""Subtracts the tags of tasks that were removed without a claim."""
_REOPENED = sa.text("""
    SELECT account_id FROM start_quotas AS q WHERE EXISTS (
        SELECT FROM shares AS s WHERE s.account_id = q.account_id AND NOT s.closed OFFSET 0)
""")
"""Finds accounts with a quota that are not closed."""


class StartQuotas(Statements):
    def add(self, account_id: int) -> None:
        """Counts the account's starts from now on. Idempotent."""
        self._run(_ADD_QUOTA, account_id=account_id)

    def remove(self, account_id: int) -> None:
        self._run(_REMOVE_QUOTA, account_id=account_id)

    def count(self, account_id: int, more: int, starts: Sequence[Starts]) -> None:
        """Stores the starts of the last minute, and that `more` tasks have a tag than before."""
        times = array("timestamptz", [start.time for start in starts])
        counts = array("integer", [start.number for start in starts])
        self._run(_STORE_STARTS, account_id=account_id, more=more, times=times, counts=counts)

    def subtract_tags(self, tags: Mapping[int, int]) -> None:
        """Subtracts, by account, tasks that were removed with a tag and will not start."""
        self._run(_SUBTRACT_TAGS, **_TAGS.bind(sorted(tags.items())))

    def reopened(self) -> list[int]:
        """Returns accounts with a quota that a replica of a version without quotas opened: they get tags at once."""
        return [row[0] for row in self._rows(_REOPENED)]
