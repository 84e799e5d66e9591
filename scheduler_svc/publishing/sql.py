"""The publish pool: which entries are claimed next, by whom, and how it went.

Nothing sweeps expired claims: readers see such an entry as pending, and the next claim takes it as such. An entry that
waits for its next attempt is a failed one with a time: readers see it as pending, no claim finds it, and a claim after
that time begins by making it pending. So neither the time nor the order of lists is in the index of claims, which each
completed task fills: lists merge ranges of several indexes instead.
"""

from __future__ import annotations

import builtins
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import Any

import sqlalchemy as sa

from scheduler_svc.database.statements import EACH_ACCOUNT, Page, Statements, accounts
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.content import PoolEntry, PublishStatus
from scheduler_svc.domain.publishing import EntryChange, PoolFilter, PoolPosition, PublishAttempt, PublishReport
from scheduler_svc.domain.task import MAX_PRIORITY, MIN_PRIORITY

_PENDING, _PUBLISHING = PublishStatus.PENDING, PublishStatus.PUBLISHING
# The indexes of the pool are spelt like these.
PUBLISHABLE = f"status IN ({_PENDING}, {_PUBLISHING})"
_PUBLISH_TIME = "coalesce(claim_expire_time, schedule_time, '-infinity')"
AWAITS_RETRY = "next_attempt_time IS NOT NULL"
_HELD = f"status = {_PUBLISHING} AND claim_expire_time > now()"
_EXPIRED = f"status = {_PUBLISHING} AND claim_expire_time <= now()"


def shown_time(column: str) -> str:
    """Returns the end of a claim, as it is read: the longest one ends in a year that the driver does not know."""
    return f"least({column}, '9999-12-31 00:00Z')"


_CLAIM_END = shown_time("claim_expire_time")

SEEN_STATUS = f"CASE WHEN {_EXPIRED} OR {AWAITS_RETRY} THEN {_PENDING} ELSE status END"
"""The state of an entry, as readers see it."""

ENTRY = f"""content_id, account_id, priority, schedule_time, {SEEN_STATUS} AS status, error, claim_id,
    CASE WHEN {_HELD} THEN {_CLAIM_END} END AS claim_expire_time, attempt_count, next_attempt_time, published_url,
    CASE WHEN {_HELD} THEN publisher ELSE '' END AS publisher,
    (SELECT c.title FROM contents AS c WHERE c.content_id = publish_pool.content_id) AS title"""
"""The columns of `entry`."""

_GET_ENTRY = sa.text(f"SELECT {ENTRY} FROM publish_pool WHERE content_id = :content_id")
"""Reads one entry of the publish pool."""

_ORDER = "priority DESC, content_id"


def _head(condition: str, *, of_accounts: bool) -> str:
    """Returns the first entries that meet the condition, locked; skips those that another publisher's claim has locked.

    Of several accounts the head of each is locked, the first ones are taken, and the others are unlocked at the commit.
    A range of one account, in its order, has no other index than that of accounts.
    """
    first = "LIMIT :limit FOR UPDATE SKIP LOCKED"
    if not of_accounts:
        return f"SELECT content_id FROM publish_pool WHERE {condition} ORDER BY {_ORDER} {first}"
    own_condition = f"account_id BETWEEN a.own AND a.own AND {condition} ORDER BY account_id, {_ORDER}"
    entries = f"SELECT content_id, priority FROM publish_pool WHERE {own_condition} {first}"
    return f"SELECT content_id FROM {EACH_ACCOUNT}, LATERAL ({entries}) AS k ORDER BY {_ORDER} LIMIT :limit"


@cache
def _resume(*, of_accounts: bool) -> sa.TextClause:
    """Makes entries pending whose wait for the next attempt is over: as many as a claim may take, in its order."""
    due = f"{AWAITS_RETRY} AND next_attempt_time <= now() AND coalesce(schedule_time, '-infinity') <= now()"
    return sa.text(f"""
        WITH due AS MATERIALIZED ({_head(due, of_accounts=of_accounts)})
        UPDATE publish_pool SET status = {_PENDING}, next_attempt_time = NULL
        WHERE content_id = ANY(ARRAY(SELECT content_id FROM due))
    """)


@cache
def _claim(*, of_accounts: bool) -> sa.TextClause:
    """Claims due entries of the publish pool; skips those that another publisher's claim has locked.

    They are the head of one index, which has the time too, so entries that are scheduled for later cost little.
    """
    due = f"{PUBLISHABLE} AND {_PUBLISH_TIME} <= now()"
    return sa.text(f"""
        WITH due AS MATERIALIZED ({_head(due, of_accounts=of_accounts)}),
        claimed AS (
            UPDATE publish_pool SET status = {_PUBLISHING}, claim_id = 'claim-' || gen_random_uuid(),
                claim_expire_time = now() + make_interval(secs => :lease), claim_time = now(), publisher = :publisher
            WHERE content_id = ANY(ARRAY(SELECT content_id FROM due)) RETURNING {ENTRY}
        )
        SELECT * FROM claimed ORDER BY {_ORDER}
    """)


# The fence: no claim but the latest, and that only while it holds.
_FENCE = f"content_id = :content_id AND claim_id = :claim_id AND {_HELD}"

_LOCK_CLAIMED = sa.text(f"SELECT {ENTRY} FROM publish_pool WHERE {_FENCE} FOR UPDATE")
"""Locks an entry that a claim holds."""
_ADD_ATTEMPT = sa.text("""
    INSERT INTO publish_attempts (content_id, number, publisher, start_time, published, error)
    SELECT content_id, coalesce((SELECT max(a.number) FROM publish_attempts AS a WHERE a.content_id = p.content_id), 0)
        + 1, publisher, claim_time, :published, :error
    FROM publish_pool AS p WHERE content_id = :content_id
""")
"""Records the attempt that ends now, of a locked entry."""
_END_CLAIM = sa.text(f"""
    UPDATE publish_pool SET status = :status, error = :error, published_url = :url, attempt_count = attempt_count + 1,
        next_attempt_time = now() + make_interval(secs => :wait), claim_expire_time = NULL, claim_time = NULL,
        publisher = ''
    WHERE content_id = :content_id RETURNING {ENTRY}
""")
"""Ends the claim of a locked entry; without a wait it has no next attempt."""
_RENEW_CLAIM = sa.text(f"""
    UPDATE publish_pool SET claim_expire_time = now() + make_interval(secs => :lease) WHERE {_FENCE} RETURNING {ENTRY}
""")
"""Renews a claim that holds."""
_RETRY_ENTRY = sa.text(f"""
    UPDATE publish_pool SET status = {_PENDING}, attempt_count = 0, next_attempt_time = NULL
    WHERE content_id = :content_id AND status = {PublishStatus.FAILED} RETURNING {ENTRY}
""")
"""Makes a failed entry pending, whether it waits for its next attempt or has none."""
# A claim that expired ends here: it hides the entry's time from the next claim.
_UPDATE_ENTRY = sa.text(f"""
    UPDATE publish_pool SET priority = coalesce(:priority, priority),
        schedule_time = CASE WHEN NOT :unschedule THEN coalesce(CAST(:schedule_time AS timestamptz), schedule_time) END,
        status = CASE status WHEN {_PUBLISHING} THEN {_PENDING} ELSE status END, claim_expire_time = NULL
    WHERE content_id = :content_id AND status <> {PublishStatus.PUBLISHED} AND NOT ({_HELD}) RETURNING {ENTRY}
""")
"""Changes an entry that is pending or failed."""
_REMOVE_ENTRY = sa.text(
    f"DELETE FROM publish_pool WHERE content_id = :content_id AND NOT ({_HELD}) RETURNING content_id"
)
"""Removes an entry that nobody holds."""

_ATTEMPTS = sa.text("""
    SELECT number, publisher, start_time, end_time, published, error FROM publish_attempts
    WHERE content_id = :content_id AND number > :after ORDER BY number LIMIT :limit
""")
"""Lists a content's attempts, oldest first."""

# Each condition as the index has it that serves it, so that a page reads the rows that it shows and few others.
_IS_NEW = f"status = {_PENDING}"
_MOVED_ON = "next_attempt_time IS NULL AND status = {}"
_CONDITIONS = {
    PublishStatus.PENDING: (_IS_NEW, f"next_attempt_time IS NULL AND {_EXPIRED}", AWAITS_RETRY),
    PublishStatus.PUBLISHING: (f"next_attempt_time IS NULL AND {_HELD}",),
    PublishStatus.PUBLISHED: (_MOVED_ON.format(PublishStatus.PUBLISHED),),
    PublishStatus.FAILED: (_MOVED_ON.format(PublishStatus.FAILED),),
}
_FIRST = PoolPosition(MAX_PRIORITY + 1, 0)
"""Before every entry."""
_LAST = PoolPosition(MIN_PRIORITY - 1, 0)
"""Behind every entry."""
# What is left of the position's own priority, then all lower ones: two ranges of an index.
_RANGES = f"(VALUES (:priority, :priority, :after), ({MIN_PRIORITY}, :priority - 1, 0)) AS r(low, high, after)"


MAX_EXAMINED = 5_000
"""Entries of which a page finds out whether their time matches: some 10 ms."""


@lru_cache(maxsize=32)
def _first(statuses: frozenset[PublishStatus], *, of_accounts: bool) -> str:
    """Returns the first `examined` entries after a position, in the order of claims.

    Ranges of several indexes are merged: by status, by account, and by priority from the position on.
    """
    account_condition, each_account = ("account_id = a.own AND ", f"{EACH_ACCOUNT}, ") if of_accounts else ("", "")
    rest = f"priority BETWEEN r.low AND r.high AND content_id > r.after ORDER BY {_ORDER} LIMIT :examined"
    ranges = [
        f"(SELECT content_id, priority FROM publish_pool WHERE {account_condition}{condition} AND {rest})"
        for status in sorted(statuses)
        for condition in _CONDITIONS[status]
    ]
    query = f"SELECT k.priority, k.content_id FROM {each_account}{_RANGES}, LATERAL ({' UNION ALL '.join(ranges)}) AS k"
    return f"{query} ORDER BY k.priority DESC, k.content_id LIMIT :examined"


@lru_cache(maxsize=32)
def _page(statuses: frozenset[PublishStatus], *, of_accounts: bool) -> sa.TextClause:
    """Reads a page of the publish pool in the order of claims."""
    first = f"SELECT content_id FROM ({_first(statuses, of_accounts=of_accounts)}) AS f"
    return sa.text(f"SELECT {ENTRY} FROM publish_pool WHERE content_id = ANY(ARRAY({first})) ORDER BY {_ORDER}")


@lru_cache(maxsize=32)
def _bound(statuses: frozenset[PublishStatus], *, of_accounts: bool) -> sa.TextClause:
    """Finds the last entry that a page examines by its time; none if there are fewer."""
    first = _first(statuses, of_accounts=of_accounts)
    return sa.text(f"SELECT priority, content_id FROM ({first}) AS f ORDER BY {_ORDER} OFFSET :examined - 1 LIMIT 1")


@lru_cache(maxsize=32)
def _timed_page(statuses: frozenset[PublishStatus], *, of_accounts: bool) -> sa.TextClause:
    """Reads a page of the publish pool in the order of claims: entries with a time in a range, up to a bound."""
    first = f"SELECT content_id FROM ({_first(statuses, of_accounts=of_accounts)}) AS f"
    return sa.text(f"""
        SELECT {ENTRY} FROM publish_pool
        WHERE content_id = ANY(ARRAY({first})) AND (-priority, content_id) <= (-:last_priority, :last)
            AND schedule_time >= coalesce(CAST(:scheduled_after AS timestamptz), '-infinity')
            AND schedule_time < coalesce(CAST(:scheduled_before AS timestamptz), 'infinity')
        ORDER BY {_ORDER} LIMIT :limit
    """)


class PublishPool(Statements):
    def get(self, content_id: int) -> PoolEntry | None:
        return self._one(entry, _GET_ENTRY, content_id=content_id)

    def list(
        self, scope: Scope, wanted: PoolFilter, after: PoolPosition | None, limit: int
    ) -> Page[PoolEntry, PoolPosition]:
        """Returns the entries after a position, in the order of claims; with a time in the filter it may stop early."""
        parameters = accounts(scope)
        statuses, of_accounts = wanted.statuses or frozenset(PublishStatus), bool(parameters)
        priority, content_id = after or _FIRST
        ranges = parameters | {"priority": priority, "after": content_id}
        if not wanted.timed:
            entries = self._all(entry, _page(statuses, of_accounts=of_accounts), **ranges, examined=limit)
            return Page(entries, None)
        ranges["examined"] = MAX_EXAMINED
        bound = self._one(PoolPosition, _bound(statuses, of_accounts=of_accounts), **ranges)
        last_priority, last = bound or _LAST
        times = {"scheduled_after": wanted.scheduled_after, "scheduled_before": wanted.scheduled_before}
        values = ranges | times | {"last_priority": last_priority, "last": last, "limit": limit}
        entries = self._all(entry, _timed_page(statuses, of_accounts=of_accounts), **values)
        return Page(entries, bound if len(entries) < limit else None)

    def resume(self, scope: Scope, limit: int) -> int:
        """Makes entries pending whose wait for the next attempt is over, in the order of claims; returns how many."""
        parameters = accounts(scope)
        return self._run(_resume(of_accounts=bool(parameters)), **parameters, limit=limit)

    def claim(self, scope: Scope, limit: int, lease: timedelta, publisher: str) -> builtins.list[PoolEntry]:
        """Claims due entries, each with a claim of its own; highest priority first, then oldest content."""
        parameters = accounts(scope)
        values = parameters | {"limit": limit, "lease": lease.total_seconds(), "publisher": publisher}
        return self._all(entry, _claim(of_accounts=bool(parameters)), **values)

    def lock_claimed(self, content_id: int, claim_id: str) -> PoolEntry | None:
        """Locks the entry and returns it; None if this claim does not hold it."""
        return self._one(entry, _LOCK_CLAIMED, content_id=content_id, claim_id=claim_id)

    def end_claim(self, content_id: int, report: PublishReport, wait: timedelta | None) -> PoolEntry:
        """Records the report as an attempt; returns the locked entry after it. `wait`: until the next attempt."""
        self._run(_ADD_ATTEMPT, content_id=content_id, published=report.published, error=report.error)
        status = PublishStatus.PUBLISHED if report.published else PublishStatus.FAILED
        parameters = {"status": status.value, "error": report.error, "url": report.url}
        seconds = None if wait is None else wait.total_seconds()
        return entry(*self._row(_END_CLAIM, content_id=content_id, wait=seconds, **parameters))

    def renew(self, content_id: int, claim_id: str, lease: timedelta) -> PoolEntry | None:
        """Renews the claim and returns the entry; None if this claim does not hold it."""
        return self._one(entry, _RENEW_CLAIM, content_id=content_id, claim_id=claim_id, lease=lease.total_seconds())

    def retry(self, content_id: int) -> PoolEntry | None:
        """Makes a failed entry pending again and returns it; None if it has not failed."""
        return self._one(entry, _RETRY_ENTRY, content_id=content_id)

    def update(self, content_id: int, change: EntryChange) -> PoolEntry | None:
        """Changes an entry and returns it; None if it is neither pending nor failed."""
        return self._one(entry, _UPDATE_ENTRY, content_id=content_id, **change._asdict())

    def remove(self, content_id: int) -> bool:
        """Removes an entry that nobody holds; returns whether there was one."""
        return self._run(_REMOVE_ENTRY, content_id=content_id) > 0

    def attempts(self, content_id: int, after: int, limit: int) -> builtins.list[PublishAttempt]:
        """Returns the reported attempts with numbers above `after`, oldest first."""
        return self._all(PublishAttempt, _ATTEMPTS, content_id=content_id, after=after, limit=limit)


def entry(
    content_id: int, account_id: int, priority: int, schedule_time: datetime | None, status: int, *rest: Any
) -> PoolEntry:
    return PoolEntry(content_id, account_id, priority, schedule_time, PublishStatus(status), *rest)
