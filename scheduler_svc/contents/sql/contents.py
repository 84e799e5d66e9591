"""Contents, as readers see them, and how they enter the publish pool; edits, and the revisions that they make."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from scheduler_svc.contents.sql.reads import LISTED, WHOLE, ContentList, ContentPage, Selection, content
from scheduler_svc.database.batch import Insert, array
from scheduler_svc.database.statements import Statements
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.content import (
    Comment,
    Content,
    ContentFilter,
    ContentRevision,
    ContentRow,
    ContentTexts,
    PoolEntry,
)
from scheduler_svc.publishing.sql import ENTRY, entry

_GET_CONTENT = sa.text(f"SELECT {WHOLE} FROM contents WHERE content_id = :content_id")
"""Reads one content, with its bodies."""

_GET_LOCKED = sa.text(f"{_GET_CONTENT.text} FOR UPDATE")
"""Reads one content, and locks it."""

_GET_LISTED = sa.text(f"SELECT {LISTED} FROM contents WHERE content_id = ANY(CAST(:ids AS bigint[]))")
"""Reads contents without their bodies."""

_LOCK_LISTED = sa.text(f"{_GET_LISTED.text} ORDER BY content_id FOR UPDATE")
"""Reads contents without their bodies, and locks them."""

_GET_ACCOUNTS = sa.text("SELECT content_id, account_id FROM contents WHERE content_id = ANY(CAST(:ids AS bigint[]))")
"""Reads the accounts of contents."""

_LOCK_CONTENTS = sa.text("""
    SELECT content_id FROM contents WHERE content_id = ANY(CAST(:ids AS bigint[])) ORDER BY content_id FOR UPDATE
""")
"""Locks contents, before they are deleted."""
_LOCK_ENTRIES = sa.text(f"""
    SELECT {ENTRY} FROM publish_pool WHERE content_id = ANY(CAST(:ids AS bigint[])) ORDER BY content_id FOR UPDATE
""")
"""Locks their entries of the publish pool."""
# Their assets stay for a while: a backup under way may know the contents.
_DELETE_CONTENTS = sa.text("""
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

_DROP_IMAGE = sa.text("UPDATE contents SET images = images - CAST(:image AS text) WHERE content_id = :content_id")
"""Removes a picture from what the creator says of images."""

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


class Contents(Statements):
    def insert(self, contents: Sequence[ContentRow]) -> None:
        """Stores what completed tasks made; their unique keys refuse a second content of a task."""
        self._session.insert(_CONTENTS, contents)

    def get(self, content_id: int, *, lock: bool = False) -> Content | None:
        return self._one(content, _GET_LOCKED if lock else _GET_CONTENT, content_id=content_id)

    def listed(self, content_ids: Sequence[int]) -> dict[int, Content]:
        """Returns those of these contents that exist, without their bodies."""
        return self._by_id(_GET_LISTED, content_ids)

    def lock_listed(self, content_ids: Sequence[int]) -> dict[int, Content]:
        return self._by_id(_LOCK_LISTED, content_ids)

    def accounts_of(self, content_ids: Sequence[int]) -> dict[int, int]:
        return dict(map(tuple, self._rows(_GET_ACCOUNTS, ids=array("bigint", content_ids))))

    def list(
        self, scope: Scope, wanted: ContentFilter, after: int | None, limit: int, *, oldest_first: bool = False
    ) -> ContentPage:
        """Returns the contents without their bodies, newest first or oldest first, behind the id `after`.

        At most `limit`; or fewer, with more to come, where it would have to look at too many that do not match.
        """
        selection = Selection.of(wanted, of_accounts=scope.accounts is not None, oldest_first=oldest_first)
        return ContentList(self._session, scope, wanted, selection).page(after, limit)

    def lock(self, content_ids: Sequence[int]) -> dict[int, PoolEntry | None]:
        """Locks those of these contents that exist, and their entries in the pool; returns the entries by content."""
        ids = array("bigint", content_ids)
        locked_ids = self._all(int, _LOCK_CONTENTS, ids=ids)
        entries = {pool_entry.content_id: pool_entry for pool_entry in self._all(entry, _LOCK_ENTRIES, ids=ids)}
        return {content_id: entries.get(content_id) for content_id in locked_ids}

    def delete(self, content_ids: Sequence[int]) -> None:
        """Deletes locked contents with their revisions and their entries in the pool. Their tasks stay as they are."""
        if content_ids:
            self._run(_DELETE_CONTENTS, ids=array("bigint", content_ids))

    def drop_image(self, content_id: int, image: str) -> None:
        self._run(_DROP_IMAGE, content_id=content_id, image=image)

    def _by_id(self, statement: sa.TextClause, content_ids: Sequence[int]) -> dict[int, Content]:
        contents = self._all(content, statement, ids=array("bigint", content_ids))
        return {article.content_id: article for article in contents}


MAX_REVISIONS = 100
"""Revisions of a content that are kept, the first included."""
MAX_LISTED_BYTES = 3 * 1024 * 1024
"""Texts of revisions that a list reads, and one more: as many as a page holds."""

_TEXTS = ", ".join(ContentTexts._fields)

# Its text is kept when it would be lost: a content that nobody edits has no revisions of its own.
_KEEP_FIRST = sa.text(f"""
    INSERT INTO content_revisions (content_id, number, author, create_time, {_TEXTS})
    SELECT content_id, revision, '', create_time, title, body, html_body, summary, category,
        coalesce(cover_image, images ->> 0, '')
    FROM contents WHERE content_id = :content_id AND revision = 1
""")
"""Keeps the creator's text, before the first edit."""

_EDIT_CONTENT = sa.text(f"""
    WITH edited AS (
        UPDATE contents SET {", ".join(f"{name} = :{name}" for name in ContentTexts._fields)},
            word_count = :word_count, revision = revision + 1, etag = gen_random_uuid()
        WHERE content_id = :content_id RETURNING content_id, revision, {_TEXTS}
    )
    INSERT INTO content_revisions (content_id, number, author, asset, {_TEXTS})
    SELECT content_id, revision, :author, :asset, {_TEXTS} FROM edited RETURNING number
""")
"""Changes the texts of a locked content, and keeps them as a revision."""

_TRIM_REVISIONS = sa.text("""
    DELETE FROM content_revisions WHERE content_id = :content_id AND number > 1 AND number <= :last
""")
"""Deletes revisions between the first one and those that are kept."""

_LIST_REVISIONS = sa.text(f"""
    WITH sized AS MATERIALIZED (
        SELECT number, octet_length(body) + octet_length(html_body) AS size FROM content_revisions
        WHERE content_id = :content_id AND number > :after ORDER BY number LIMIT :limit
    ),
    fitting AS MATERIALIZED (
        SELECT number FROM (SELECT number, sum(size) OVER (ORDER BY number) - size AS before FROM sized) AS s
        WHERE before <= {MAX_LISTED_BYTES}
    )
    SELECT number, author, create_time, asset, {_TEXTS} FROM content_revisions
    WHERE content_id = :content_id AND number = ANY(ARRAY(SELECT number FROM fitting)) ORDER BY number
""")
"""Reads revisions of a content, oldest first, as many as fit on a page and one more."""


class Revisions(Statements):
    def add(self, content_id: int, texts: ContentTexts, author: str, asset: str = "") -> None:
        """Gives a locked content these texts, as its newest revision. `asset`: the uploaded or removed file."""
        self._run(_KEEP_FIRST, content_id=content_id)
        values = texts._asdict() | {"word_count": len(texts.body), "author": author, "asset": asset}
        (number,) = self._row(_EDIT_CONTENT, content_id=content_id, **values)
        if number > MAX_REVISIONS:
            self._run(_TRIM_REVISIONS, content_id=content_id, last=number - MAX_REVISIONS + 1)

    def list(self, content_id: int, after: int, limit: int) -> builtins.list[ContentRevision]:
        """Returns the revisions with numbers above `after`, oldest first. A content that was never edited has none."""
        return self._all(_revision, _LIST_REVISIONS, content_id=content_id, after=after, limit=limit)


def _revision(number: int, author: str, create_time: datetime, asset: str, *texts: str) -> ContentRevision:
    return ContentRevision(number, author, create_time, ContentTexts(*texts), asset)


_COUNT_COMMENTS = sa.text("SELECT count(*) FROM content_comments WHERE content_id = :content_id")
"""Counts the comments of a content."""
_ADD_COMMENT = sa.text("""
    INSERT INTO content_comments (content_id, number, author, text) VALUES (:content_id, :number, :author, :text)
    RETURNING number, author, create_time, text
""")
"""Adds a comment to a locked content."""
_LIST_COMMENTS = sa.text("""
    SELECT number, author, create_time, text FROM content_comments
    WHERE content_id = :content_id AND number > :after ORDER BY number LIMIT :limit
""")
"""Reads comments of a content, oldest first."""


class Comments(Statements):
    """No comment is deleted before its content, so that their number is the number of the last one."""

    def count(self, content_id: int) -> int:
        return int(self._row(_COUNT_COMMENTS, content_id=content_id)[0])

    def add(self, content_id: int, number: int, author: str, text: str) -> Comment:
        values = {"content_id": content_id, "number": number, "author": author, "text": text}
        return Comment(*self._row(_ADD_COMMENT, **values))

    def list(self, content_id: int, after: int, limit: int) -> builtins.list[Comment]:
        return self._all(Comment, _LIST_COMMENTS, content_id=content_id, after=after, limit=limit)
