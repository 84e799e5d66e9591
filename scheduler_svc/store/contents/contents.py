"""Contents, as readers see them, and how they enter the publish pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from scheduler_svc.application.records import ContentPage, ContentRow, PoolRow
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.asset import Asset, LeftOut
from scheduler_svc.domain.content import Content, ContentFilter, PoolEntry, PublishStatus, ReviewStatus
from scheduler_svc.domain.ids import KEY_MAX
from scheduler_svc.store.contents import content_lists
from scheduler_svc.store.contents.content_lists import ENTRY_STATUS, Selection
from scheduler_svc.store.contents.publish_pool import ENTRY, entry, shown_time
from scheduler_svc.store.engine.access_paths import accounts, of_each_account
from scheduler_svc.store.engine.batch import Insert, array
from scheduler_svc.store.engine.rows import Statements

# Nothing sweeps the expired claim of a review either: readers do not see it.
_HELD = "CASE WHEN review_claim_expire_time > now() THEN {} END"
_CLAIM_END = _HELD.format(shown_time("review_claim_expire_time"))

_META = f"""content_id, account_id, task_key, title, {{bodies}}, summary, category, images, word_count, quality_score,
    review_status, review_comment, create_time, coalesce(cover_image, images ->> 0, ''), revision, etag,
    reviewer, review_time, {_HELD.format("review_holder")}, {_CLAIM_END},
    {ENTRY_STATUS}, superseded_by_content_id, usage, model, {{named}}"""
# What its result names, in order.
_NAMED = """(
        SELECT jsonb_agg(jsonb_build_array(n.reason, n.name, n.sha256, a.media_type, a.size, a.width, a.height)
            ORDER BY n.position)
        FROM content_assets AS n
        LEFT JOIN LATERAL (SELECT * FROM assets AS x WHERE x.sha256 = n.sha256 OFFSET 0) AS a ON true
        WHERE n.content_id = contents.content_id) AS named"""
_WHOLE = _META.format(bodies="body, html_body", named=_NAMED)
_LISTED = _META.format(bodies="'', ''", named=_NAMED)

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

_LOCK = sa.text("""
    SELECT content_id FROM contents WHERE content_id = ANY(CAST(:ids AS bigint[])) ORDER BY content_id FOR UPDATE
""")
"""Locks contents, before they are deleted."""
_LOCK_ENTRIES = sa.text(f"""
    SELECT {ENTRY} FROM publish_pool WHERE content_id = ANY(CAST(:ids AS bigint[])) ORDER BY content_id FOR UPDATE
""")
"""Locks their entries of the publish pool."""
# Their assets stay for a while: a backup under way may know the contents.
_DELETE = sa.text("""
    WITH entries AS (DELETE FROM publish_pool WHERE content_id = ANY(CAST(:ids AS bigint[]))),
        attempts AS (DELETE FROM publish_attempts WHERE content_id = ANY(CAST(:ids AS bigint[]))),
        revisions AS (DELETE FROM content_revisions WHERE content_id = ANY(CAST(:ids AS bigint[]))),
        named AS (DELETE FROM content_assets WHERE content_id = ANY(CAST(:ids AS bigint[])) RETURNING sha256),
        touched AS (
            UPDATE assets SET touch_time = now() WHERE sha256 = ANY(ARRAY(
                SELECT sha256 FROM assets WHERE sha256 = ANY(ARRAY(SELECT sha256 FROM named))
                ORDER BY sha256 FOR NO KEY UPDATE)))
    DELETE FROM contents WHERE content_id = ANY(CAST(:ids AS bigint[]))
""")
"""Deletes contents with their revisions, what they name, their pool entries and the attempts to publish them."""


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

_CONTENTS = Insert("contents", **CONTENT_COLUMNS, usage="jsonb", model="text")
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
        statement = content_lists.page(_LISTED, of, few=few)
        rows = self._rows(statement, **reads, **content_lists.values(wanted), limit=limit)
        ended = reads[end] == range_[end] or len(rows) == limit
        return ContentPage([_content(row) for row in rows], None if ended else reads[end] - oldest_first)

    def _bound(self, of: Selection, scope: Scope, range_: Mapping[str, Any]) -> tuple[int, bool]:
        """How far a page looks, and whether few are not approved."""
        skipped = of_each_account(scope, content_lists.MAX_EXAMINED) - 1
        bound, few = self._row(content_lists.bound(of), **range_, skipped=skipped)
        return bound, few

    def lock(self, content_ids: Sequence[int]) -> dict[int, PoolEntry | None]:
        """Those of these contents that there are, locked, with their entries in the pool, which are locked too."""
        these = array("bigint", content_ids)
        found: dict[int, PoolEntry | None] = {row[0]: None for row in self._rows(_LOCK, ids=these)}
        entries = map(entry, self._rows(_LOCK_ENTRIES, ids=these))
        return found | {each.content_id: each for each in entries if each.content_id in found}

    def delete(self, content_ids: Sequence[int]) -> None:
        """Deletes locked contents with their revisions and their entries in the pool. Their tasks stay as they are."""
        if content_ids:
            self._run(_DELETE, ids=array("bigint", content_ids))

    def _by_id(self, statement: sa.TextClause, content_ids: Sequence[int]) -> dict[int, Content]:
        rows = self._rows(statement, ids=array("bigint", content_ids))
        return {content.content_id: content for content in map(_content, rows)}


def _range(scope: Scope, after: int | None, *, oldest_first: bool = False) -> dict[str, Any]:
    """Whose contents a list is about, and the ids behind `after`."""
    if oldest_first:
        ids = {"low": (after or 0) + 1, "high": KEY_MAX}
    else:
        ids = {"low": 0, "high": KEY_MAX if after is None else after}
    return accounts(scope) | ids


def _content(row: Any) -> Content:
    (content_id, account_id, task_key, title, body, html_body, summary, category, images, *rest) = row
    word_count, quality_score, review_status, comment, create_time, cover_image, revision, etag, *review = rest
    reviewer, review_time, review_holder, review_claim_expire_time, publish_status, superseded_by, *run = review
    usage, model, named = run
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
        usage=usage or {},
        model=model or "",
        assets=tuple(Asset(*asset) for reason, *asset in named or () if reason is None),
        left_out=tuple(LeftOut(name, reason) for reason, name, *_ in named or () if reason is not None),
    )
