"""Lists of contents in SQL: ranges of an index, and how far down a page reads. Part of `store`.

Without a review status every row that is read belongs on the page. With one that is not so: of a million rejected
contents none may wait for a review. Then a page examines `MAX_EXAMINED` contents at most. If a list is of contents that
are not approved, it examines only those, which have an index of their own.
"""

from __future__ import annotations

from functools import lru_cache

import sqlalchemy as sa

from scheduler_svc.domain.content import ReviewStatus
from scheduler_svc.store.engine.access_paths import EACH_ACCOUNT
from scheduler_svc.store.schema.tables import NOT_APPROVED

MAX_EXAMINED = 5_000
"""Contents of which a page finds out whether they match: a few ms."""

_NEWEST = "ORDER BY content_id DESC"
_OWN_NEWEST = "ORDER BY account_id DESC, content_id DESC"
_OWN = "(account_id, content_id) >= (a.own, :floor) AND (account_id, content_id) < (a.own, :before)"
# By the columns of its index, so that the planner does not read the whole table, whatever its statistics say.
_ALL_WAITING = f"{NOT_APPROVED} AND (account_id, content_id) > (0, 0)"


@lru_cache(maxsize=20)
def floor(review_status: ReviewStatus, *, of_accounts: bool) -> sa.TextClause:
    """Finds the content down to which a page reads, and whether few contents are not approved.

    `skipped` is one less than the number of contents that a page reads, of each account.
    """
    waits = f" AND {NOT_APPROVED}" if _waits(review_status) else ""
    last = "OFFSET :skipped LIMIT 1"
    if of_accounts:
        each = f"SELECT content_id FROM contents WHERE {_OWN}{waits} {_OWN_NEWEST} {last}"
        return sa.text(f"SELECT coalesce(max(k.content_id), :floor), false FROM {EACH_ACCOUNT}, LATERAL ({each}) AS k")
    end = f"SELECT content_id FROM contents WHERE content_id >= :floor AND content_id < :before {_NEWEST} {last}"
    few = f"NOT EXISTS (SELECT FROM contents WHERE {_ALL_WAITING} {_OWN_NEWEST} {last})" if waits else "false"
    return sa.text(
        f"SELECT CASE WHEN few THEN :floor ELSE coalesce(({end}), :floor) END, few FROM (SELECT {few}) AS f(few)"
    )


@lru_cache(maxsize=20)
def page(
    columns: str,
    review_status: ReviewStatus | None = None,
    *,
    of_accounts: bool,
    few: bool = False,
) -> sa.TextClause:
    """Reads a page of contents: the newest `limit` from `floor` on, below `before`.

    `few`: few contents are not approved, so all of those are read. Of several accounts the newest ids of each are
    merged first: of a hundred accounts most rows are not on the page.
    """
    condition = _condition(review_status)
    if few:
        waiting = f"SELECT content_id, review_status FROM contents WHERE {_ALL_WAITING} {_OWN_NEWEST} OFFSET 0"
        found = f"SELECT content_id FROM ({waiting}) AS w WHERE content_id < :before{condition} {_NEWEST} LIMIT :limit"
    elif of_accounts:
        own = f"SELECT content_id FROM contents WHERE {_OWN}{condition} {_OWN_NEWEST} LIMIT :limit"
        found = f"SELECT k.content_id FROM {EACH_ACCOUNT}, LATERAL ({own}) AS k {_NEWEST} LIMIT :limit"
    else:
        range_ = f"content_id >= :floor AND content_id < :before{condition}"
        return sa.text(f"SELECT {columns} FROM contents WHERE {range_} {_NEWEST} LIMIT :limit")
    return sa.text(f"SELECT {columns} FROM contents WHERE content_id = ANY(ARRAY({found})) {_NEWEST}")


def _waits(review_status: ReviewStatus) -> bool:
    return review_status is not ReviewStatus.APPROVED


def _condition(review_status: ReviewStatus | None) -> str:
    """By a literal, so that the partial index of what is not approved can serve."""
    if review_status is None:
        return ""
    return f" AND review_status = {review_status}" + (f" AND {NOT_APPROVED}" if _waits(review_status) else "")
