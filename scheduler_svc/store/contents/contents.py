"""Contents and the publish pool, as readers see them."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa

from scheduler_svc.application.records import ContentPage, ContentRow, PoolRow
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.asset import Asset, LeftOut
from scheduler_svc.domain.content import Content, PoolEntry, Publication, PublishStatus, ReviewStatus
from scheduler_svc.domain.task import DEFAULT_PRIORITY
from scheduler_svc.store.contents import content_lists
from scheduler_svc.store.engine.access_paths import EACH_ACCOUNT, accounts
from scheduler_svc.store.engine.batch import Insert, array
from scheduler_svc.store.engine.rows import Statements
from scheduler_svc.store.schema.tables import PUBLISH_TIME, PUBLISHABLE

_META = """content_id, account_id, task_key, title, {bodies}, summary, category, images, word_count, quality_score,
    review_status, review_comment, create_time, usage, model, {named}"""
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

_GET_ACCOUNT = sa.text("SELECT account_id FROM contents WHERE content_id = :content_id")
"""Reads the account of a content."""

_LATEST = 9_223_372_036_854_775_807

# Only what waits for a review is decided, so that of two decisions at a time the second finds nothing.
_DECIDE = sa.text(f"""
    UPDATE contents SET review_status = :outcome, review_comment = :comment
    WHERE content_id = :content_id AND review_status = {ReviewStatus.PENDING_REVIEW} RETURNING {_WHOLE}
""")
"""Reviews a content that waits for it."""

# Contents outlive their tasks: where the task was cleaned up, a submit's defaults stand in for what it said.
_OFFER = sa.text(f"""
    INSERT INTO publish_pool (content_id, account_id, priority, schedule_time)
    SELECT c.content_id, c.account_id, coalesce(t.priority, {DEFAULT_PRIORITY}), t.schedule_time
    FROM contents AS c LEFT JOIN tasks AS t USING (task_key) WHERE c.content_id = :content_id
""")
"""Adds a content to the publish pool."""

# Nothing sweeps expired claims: readers see such an entry as pending, and the next claim takes it as such.
_POOL = f"""content_id, account_id, priority, schedule_time,
    CASE WHEN status = {PublishStatus.PUBLISHING} AND claim_expire_time <= now() THEN {PublishStatus.PENDING}
        ELSE status END AS status, error, claim_id"""

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
# Their assets stay for a while: a backup under way may know the contents.
_DELETE = sa.text("""
    WITH entries AS (DELETE FROM publish_pool WHERE content_id = ANY(CAST(:ids AS bigint[]))),
    named AS (DELETE FROM content_assets WHERE content_id = ANY(CAST(:ids AS bigint[])) RETURNING sha256),
    touched AS (
        UPDATE assets SET touch_time = now() WHERE sha256 = ANY(ARRAY(
            SELECT sha256 FROM assets WHERE sha256 = ANY(ARRAY(SELECT sha256 FROM named))
            ORDER BY sha256 FOR NO KEY UPDATE)))
    DELETE FROM contents WHERE content_id = ANY(CAST(:ids AS bigint[]))
""")
"""Deletes contents, what they name, and their entries of the publish pool."""

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

    def account_of(self, content_id: int) -> int | None:
        row = self._row(_GET_ACCOUNT, content_id=content_id)
        return None if row is None else int(row[0])

    def list(self, scope: Scope, review_status: ReviewStatus | None, before: int | None, limit: int) -> ContentPage:
        """Contents without their bodies, newest first, with ids below `before`.

        At most `limit`; or fewer, with more to come, where it would have to look at too many with another status.
        """
        floor, few = (0, False) if review_status is None else self._floor(scope, review_status, before)
        statement = content_lists.page(
            "contents", _LISTED, review_status, of_accounts=scope.accounts is not None, few=few
        )
        rows = self._page(statement, scope, before, limit, floor)
        return ContentPage([_content(row) for row in rows], floor if floor and len(rows) < limit else None)

    def _floor(self, scope: Scope, review_status: ReviewStatus, before: int | None) -> tuple[int, bool]:
        """Down to which content a page looks, and whether few are not approved."""
        each = content_lists.MAX_EXAMINED // len(scope.accounts or (0,))
        statement = content_lists.floor(review_status, of_accounts=scope.accounts is not None)
        floor, few = self._row(statement, **_below(scope, before), floor=0, skipped=max(1, each) - 1)
        return floor, few

    def lock(self, content_ids: Sequence[int]) -> dict[int, PoolEntry | None]:
        """Those of these contents that there are, locked, with their entries in the pool, which are locked too."""
        these = array("bigint", content_ids)
        found: dict[int, PoolEntry | None] = {row[0]: None for row in self._rows(_LOCK, ids=these)}
        entries = map(_entry, self._rows(_LOCK_ENTRIES, ids=these))
        return found | {entry.content_id: entry for entry in entries if entry.content_id in found}

    def delete(self, content_ids: Sequence[int]) -> None:
        """Deletes locked contents with their entries in the pool. Their tasks stay as they are."""
        if content_ids:
            self._run(_DELETE, ids=array("bigint", content_ids))

    def decide(self, content_id: int, outcome: ReviewStatus, comment: str) -> Content | None:
        """The content after its review; None if there is no such content, or it does not wait for one."""
        row = self._row(_DECIDE, content_id=content_id, outcome=outcome.value, comment=comment)
        return None if row is None else _content(row)

    def offer(self, content_id: int) -> None:
        """Puts a content into the publish pool, with its task's priority and time."""
        self._run(_OFFER, content_id=content_id)

    def list_pool(self, scope: Scope, before: int | None, limit: int) -> builtins.list[PoolEntry]:
        """Entries of the publish pool, newest first, with content ids below `before`."""
        statement = content_lists.page("publish_pool", _POOL, of_accounts=scope.accounts is not None)
        return [_entry(row) for row in self._page(statement, scope, before, limit)]

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

    def _page(
        self, statement: sa.TextClause, scope: Scope, before: int | None, limit: int, floor: int = 0
    ) -> Sequence[Any]:
        return self._rows(statement, **_below(scope, before), limit=limit, floor=floor)


def _below(scope: Scope, before: int | None) -> dict[str, Any]:
    """Whose contents a list is about, and below which id."""
    return accounts(scope) | {"before": _LATEST if before is None else before}


def _content(row: Any) -> Content:
    (content_id, account_id, task_key, title, body, html_body, summary, category, images, *rest) = row
    word_count, quality_score, review_status, comment, create_time, usage, model, named = rest
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
        usage=usage or {},
        model=model or "",
        assets=tuple(Asset(*asset) for reason, *asset in named or () if reason is None),
        left_out=tuple(LeftOut(name, reason) for reason, name, *_ in named or () if reason is not None),
    )


def _entry(row: Any) -> PoolEntry:
    content_id, account_id, priority, schedule_time, status, error, claim_id = row
    return PoolEntry(content_id, account_id, priority, schedule_time, PublishStatus(status), error, claim_id)
