"""Contents, as readers see them, and how they enter the publish pool."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from scheduler_svc.application.records import ContentPage, ContentRow, PoolRow
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.content import Content, ContentFilter, PoolEntry
from scheduler_svc.store.contents.content_list import ContentList
from scheduler_svc.store.contents.content_rows import LISTED, WHOLE, content
from scheduler_svc.store.contents.list_queries import Selection
from scheduler_svc.store.contents.publish_pool import ENTRY, entry
from scheduler_svc.store.engine.batch import Insert, array
from scheduler_svc.store.engine.rows import Statements

_GET = sa.text(f"SELECT {WHOLE} FROM contents WHERE content_id = :content_id")
"""Reads one content, with its bodies."""

_GET_LOCKED = sa.text(f"SELECT {WHOLE} FROM contents WHERE content_id = :content_id FOR UPDATE")
"""Reads one content, and locks it."""

_GET_LISTED = sa.text(f"SELECT {LISTED} FROM contents WHERE content_id = ANY(CAST(:ids AS bigint[]))")
"""Reads contents without their bodies."""

_LOCK_LISTED = sa.text(f"""
    SELECT {LISTED} FROM contents WHERE content_id = ANY(CAST(:ids AS bigint[])) ORDER BY content_id FOR UPDATE
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
        return None if row is None else content(row)

    def get_locked(self, content_id: int) -> Content | None:
        row = self._row(_GET_LOCKED, content_id=content_id)
        return None if row is None else content(row)

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
        return ContentList(self._session, scope, wanted, of).page(after, limit)

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
        return {found.content_id: found for found in map(content, rows)}
