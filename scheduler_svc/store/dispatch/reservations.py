"""Reservations of tags: a part of the statements that make tasks ready. ASSIGN_TAGS comes before each of them.

An account's virtual finish starts at the priority's virtual time or later, and advances by one share a task; the larger
its weight, the smaller the share. Tasks that exceed its window (see domain/fairness.py) wait behind it, and so do all
later ones. Replicas are serialized by the row's lock; the row is read under it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from scheduler_svc.application.records import TagReservation
from scheduler_svc.domain.fairness import MAX_WINDOW, REFILL_LIMIT
from scheduler_svc.store.dispatch.floors import virtual_time
from scheduler_svc.store.engine.batch import UnnestedRows

GROUPS = UnnestedRows(account_id="bigint", priority="smallint", count="integer", number="bigint")
"""How many tasks of each account and priority become ready."""
_PRIORITIES = 16
"""More than there are: an account's groups are numbered from this many times its id on."""


def reserved(condition: str) -> str:
    """For WITH: `reserved`, a row for each of `GROUPS`; empty unless `condition` holds.

    A row that is there finds its count by a binary search in the ascending numbers of the groups: a join would read all
    groups for each row.
    """
    return f"""
        clock AS MATERIALIZED (
            SELECT p.priority, {virtual_time("p.priority")} AS now
            FROM (SELECT DISTINCT priority FROM {GROUPS.source}) AS p
        ),
        becoming_ready AS MATERIALIZED (
            SELECT r.account_id, r.priority, r.count, a.weight, clock.now,
                a.max_concurrent_tasks > 0 OR a.max_starts_per_minute > 0
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
                                excluded.account_id * {_PRIORITIES} + excluded.priority, CAST(:number AS bigint[])
                            )] AS count
                        FROM clock, accounts AS a
                        WHERE clock.priority = excluded.priority AND a.account_id = excluded.account_id
                    ) AS r
                ) AS r)
            RETURNING s.account_id, s.priority, s.finish,
                (SELECT a.weight FROM accounts AS a WHERE a.account_id = s.account_id) AS weight, s.tagged,
                (SELECT clock.now FROM clock WHERE clock.priority = s.priority) AS now, s.closed
        )"""


def bind_counts(counts: Mapping[tuple[int, int], int]) -> dict[str, str]:
    """The parameters of `reserved` for these numbers of tasks by (account, priority); a number may be 0."""
    rows = [
        (account_id, priority, count, account_id * _PRIORITIES + priority)
        for (account_id, priority), count in sorted(counts.items())
    ]
    return GROUPS.bind(rows)


def reservations(rows: Iterable[Any]) -> dict[tuple[int, int], TagReservation]:
    """The rows of `reserved`, by (account, priority)."""
    return {(account_id, priority): TagReservation(*turn) for account_id, priority, *turn in rows}
