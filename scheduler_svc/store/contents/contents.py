"""Contents and the publish pool, as readers see them."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa

from scheduler_svc.application.records import ContentPage, ContentRow, PoolRow
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.content import Content, ContentFilter, PoolEntry, Publication, PublishStatus, ReviewStatus
from scheduler_svc.store.contents import content_lists
from scheduler_svc.store.contents.content_lists import ENTRY_STATUS, PUBLISH_STATUS, Selection
from scheduler_svc.store.engine.access_paths import EACH_ACCOUNT, accounts
from scheduler_svc.store.engine.batch import Insert, array
from scheduler_svc.store.engine.rows import Statements
from scheduler_svc.store.schema.tables import PUBLISH_TIME, PUBLISHABLE

# Nothing sweeps the expired claim of a review either: readers do not see it.
_HELD = "CASE WHEN review_claim_expire_time > now() THEN {} END"

_META = f"""content_id, account_id, task_key, title, {{bodies}}, summary, category, images, word_count, quality_score,
    review_status, review_comment, create_time, coalesce(cover_image, images ->> 0, ''), revision, etag,
    reviewer, review_time, {_HELD.format("review_holder")}, {_HELD.format("review_claim_expire_time")},
    {ENTRY_STATUS}, superseded_by_content_id"""
_WHOLE = _META.format(bodies="body, html_body")
_LISTED = _META.format(bodies="'', ''")

_GET = sa.text(f"SELECT {_WHOLE} FROM contents WHERE content_id = :content_id")
"""Reads one content, with its bodies."""

_GET_LOCKED = sa.text(f"SELECT {_WHOLE} FROM contents WHERE content_id = :content_id FOR UPDATE")
"""Reads one content, and locks it."""

_GET_LISTED = sa.text(f"SELECT {_LISTED} FROM contents WHERE content_id = ANY(CAST(:ids AS bigint[]))")
"""Reads contents without their bodies."""

_LOCK_LISTED = sa.text(f"""
    SELECT {_LISTED} FROM contents WHERE content_id = ANY(CAST(:ids AS bigint[])) ORDER BY content_id FOR UPDATE
""")
"""Reads contents without their bodies, and locks them."""

_GET_ACCOUNTS = sa.text("SELECT content_id, account_id FROM contents WHERE content_id = ANY(CAST(:ids AS bigint[]))")
"""Reads the accounts of contents."""

_LATEST = 9_223_372_036_854_775_807

_POOL = f"content_id, account_id, priority, schedule_time, {PUBLISH_STATUS} AS status, error, claim_id"

_GET_ENTRY = sa.text(f"SELECT {_POOL} FROM publish_pool WHERE content_id = :content_id")
"""Reads one entry of the publish pool."""


@cache
def _claim(*, of_accounts: bool) -> sa.TextClause:
    """Claims due entries of the publish pool; skips those that another publisher's claim has locked.

    They are the head of one index, which has the time too, so entries that are scheduled for later cost little. Of
    several accounts the head of each is locked, the first ones are taken, and the others are unlocked at the commit.
    """
    order = "ORDER BY priority DESC, content_id LIMIT :limit"
    due = f"{PUBLISHABLE} AND {PUBLISH_TIME} <= now() {order} FOR UPDATE SKIP LOCKED"
    if of_accounts:
        own = f"SELECT content_id, priority FROM publish_pool WHERE account_id = a.own AND {due}"
        head = f"SELECT content_id FROM {EACH_ACCOUNT}, LATERAL ({own}) AS k {order}"
    else:
        head = f"SELECT content_id FROM publish_pool WHERE {due}"
    return sa.text(f"""
        WITH due AS MATERIALIZED ({head}),
        claimed AS (
            UPDATE publish_pool SET status = {PublishStatus.PUBLISHING}, claim_id = 'claim-' || gen_random_uuid(),
                claim_expire_time = now() + make_interval(secs => :lease)
            WHERE content_id = ANY(ARRAY(SELECT content_id FROM due)) RETURNING {_POOL}
        )
        SELECT * FROM claimed ORDER BY priority DESC, content_id
    """)


_LOCK = sa.text("""
    SELECT content_id FROM contents WHERE content_id = ANY(CAST(:ids AS bigint[])) ORDER BY content_id FOR UPDATE
""")
"""Locks contents, before they are deleted."""
_LOCK_ENTRIES = sa.text(f"""
    SELECT {_POOL} FROM publish_pool WHERE content_id = ANY(CAST(:ids AS bigint[])) ORDER BY content_id FOR UPDATE
""")
"""Locks their entries of the publish pool."""
_DELETE = sa.text("""
    WITH entries AS (DELETE FROM publish_pool WHERE content_id = ANY(CAST(:ids AS bigint[]))),
    revisions AS (DELETE FROM content_revisions WHERE content_id = ANY(CAST(:ids AS bigint[])))
    DELETE FROM contents WHERE content_id = ANY(CAST(:ids AS bigint[]))
""")
"""Deletes contents with their revisions and their entries of the publish pool."""

# The fence: no claim but the latest, and that only while it holds.
_END_CLAIM = sa.text(f"""
    UPDATE publish_pool SET status = :status, error = :error, claim_expire_time = NULL
    WHERE content_id = :content_id AND claim_id = :claim_id AND status = {PublishStatus.PUBLISHING}
        AND claim_expire_time > now()
    RETURNING {_POOL}
""")
"""Ends the latest claim of an entry, while it holds."""


CONTENT_COLUMNS = {
    "content_id": "bigint",
    "account_id": "bigint",
    "task_key": "bigint",
    "title": "text",
    "body": "text",
    "html_body": "text",
    "summary": "text",
    "category": "text",
    "images": "jsonb",
    "word_count": "integer",
    "quality_score": "float8",
    "review_status": "smallint",
}
"""What every content is inserted with."""

_CONTENTS = Insert("contents", **CONTENT_COLUMNS)
"""Inserts the contents of completed tasks."""
_ENTRIES = Insert(
    "publish_pool", content_id="bigint", account_id="bigint", priority="smallint", schedule_time="timestamptz"
)
"""Inserts their entries of the publish pool."""


class Contents(Statements):
    def insert(self, contents: Sequence[ContentRow], pool: Sequence[PoolRow]) -> None:
        """Stores what completed tasks made; their unique keys refuse a second content of a task."""
        self._session.insert(_CONTENTS, contents)
        self._session.insert(_ENTRIES, pool)

    def get(self, content_id: int) -> Content | None:
        row = self._row(_GET, content_id=content_id)
        return None if row is None else _content(row)

    def get_locked(self, content_id: int) -> Content | None:
        row = self._row(_GET_LOCKED, content_id=content_id)
        return None if row is None else _content(row)

    def listed(self, content_ids: Sequence[int]) -> dict[int, Content]:
        """Those of these contents that there are, without their bodies."""
        return self._by_id(_GET_LISTED, content_ids)

    def lock_listed(self, content_ids: Sequence[int]) -> dict[int, Content]:
        """The same, locked in the order of their ids."""
        return self._by_id(_LOCK_LISTED, content_ids)

    def accounts_of(self, content_ids: Sequence[int]) -> dict[int, int]:
        return dict(map(tuple, self._rows(_GET_ACCOUNTS, ids=array("bigint", content_ids))))

    def list(
        self, scope: Scope, wanted: ContentFilter, after: int | None, limit: int, *, oldest_first: bool = False
    ) -> ContentPage:
        """Contents without their bodies, newest first or oldest first, behind the id `after`.

        At most `limit`; or fewer, with more to come, where it would have to look at too many that do not match.
        """
        of = Selection.of(wanted, of_accounts=scope.accounts is not None, oldest_first=oldest_first)
        range_ = _range(scope, after, oldest_first=oldest_first)
        bound, few = self._bound(of, scope, range_) if of.examines else (None, False)
        end = "high" if oldest_first else "low"
        reads = range_ if bound is None else range_ | {end: bound}
        statement = content_lists.page("contents", _LISTED, of, few=few)
        rows = self._rows(statement, **reads, **content_lists.values(wanted), limit=limit)
        ended = reads[end] == range_[end] or len(rows) == limit
        return ContentPage([_content(row) for row in rows], None if ended else reads[end] - oldest_first)

    def _bound(self, of: Selection, scope: Scope, range_: Mapping[str, Any]) -> tuple[int, bool]:
        """How far a page looks, and whether few are not approved."""
        each = content_lists.MAX_EXAMINED // len(scope.accounts or (0,))
        bound, few = self._row(content_lists.bound(of), **range_, skipped=max(1, each) - 1)
        return bound, few

    def lock(self, content_ids: Sequence[int]) -> dict[int, PoolEntry | None]:
        """Those of these contents that there are, locked, with their entries in the pool, which are locked too."""
        these = array("bigint", content_ids)
        found: dict[int, PoolEntry | None] = {row[0]: None for row in self._rows(_LOCK, ids=these)}
        entries = map(_entry, self._rows(_LOCK_ENTRIES, ids=these))
        return found | {entry.content_id: entry for entry in entries if entry.content_id in found}

    def delete(self, content_ids: Sequence[int]) -> None:
        """Deletes locked contents with their revisions and their entries in the pool. Their tasks stay as they are."""
        if content_ids:
            self._run(_DELETE, ids=array("bigint", content_ids))

    def list_pool(self, scope: Scope, before: int | None, limit: int) -> builtins.list[PoolEntry]:
        """Entries of the publish pool, newest first, with content ids below `before`."""
        statement = content_lists.page("publish_pool", _POOL, Selection(scope.accounts is not None))
        return [_entry(row) for row in self._rows(statement, **_range(scope, before), limit=limit)]

    def get_entry(self, content_id: int) -> PoolEntry | None:
        row = self._row(_GET_ENTRY, content_id=content_id)
        return None if row is None else _entry(row)

    def claim_pool(self, scope: Scope, limit: int, lease: timedelta) -> builtins.list[PoolEntry]:
        """Claims due entries, each with a claim of its own; highest priority first, then oldest content."""
        named = accounts(scope)
        statement = _claim(of_accounts=bool(named))
        return [_entry(row) for row in self._rows(statement, **named, limit=limit, lease=lease.total_seconds())]

    def end_claim(self, content_id: int, claim_id: str, publication: Publication) -> PoolEntry | None:
        """The entry after its publication; None if this claim does not hold it."""
        status, error = publication
        row = self._row(_END_CLAIM, content_id=content_id, claim_id=claim_id, status=status.value, error=error)
        return None if row is None else _entry(row)

    def _by_id(self, statement: sa.TextClause, content_ids: Sequence[int]) -> dict[int, Content]:
        rows = self._rows(statement, ids=array("bigint", content_ids))
        return {content.content_id: content for content in map(_content, rows)}


def _range(scope: Scope, after: int | None, *, oldest_first: bool = False) -> dict[str, Any]:
    """Whose contents a list is about, and the ids behind `after`."""
    if oldest_first:
        ids = {"low": (after or 0) + 1, "high": _LATEST}
    else:
        ids = {"low": 0, "high": _LATEST if after is None else after}
    return accounts(scope) | ids


def _content(row: Any) -> Content:
    (content_id, account_id, task_key, title, body, html_body, summary, category, images, *rest) = row
    word_count, quality_score, review_status, comment, create_time, cover_image, revision, etag, *review = rest
    reviewer, review_time, review_holder, review_claim_expire_time, publish_status, superseded_by = review
    return Content(
        content_id=content_id,
        account_id=account_id,
        task_key=task_key,
        title=title,
        body=body,
        html_body=html_body,
        summary=summary,
        category=category,
        images=tuple(images),
        word_count=word_count,
        quality_score=quality_score,
        review_status=ReviewStatus(review_status),
        review_comment=comment,
        create_time=create_time,
        cover_image=cover_image,
        revision=revision,
        etag=etag,
        reviewer=reviewer,
        review_time=review_time,
        review_holder=review_holder or "",
        review_claim_expire_time=review_claim_expire_time,
        publish_status=None if publish_status is None else PublishStatus(publish_status),
        superseded_by_content_id=superseded_by or 0,
    )


def _entry(row: Any) -> PoolEntry:
    content_id, account_id, priority, schedule_time, status, error, claim_id = row
    return PoolEntry(content_id, account_id, priority, schedule_time, PublishStatus(status), error, claim_id)
