"""Edits of contents, and the revisions that they make."""

from __future__ import annotations

import builtins
from typing import Any

import sqlalchemy as sa

from scheduler_svc.domain.content import ContentRevision, ContentTexts
from scheduler_svc.store.engine.rows import Statements

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

_EDIT = sa.text(f"""
    WITH edited AS (
        UPDATE contents SET {", ".join(f"{name} = :{name}" for name in ContentTexts._fields)},
            word_count = :word_count, revision = revision + 1, etag = gen_random_uuid()
        WHERE content_id = :content_id RETURNING content_id, revision, {_TEXTS}
    )
    INSERT INTO content_revisions (content_id, number, author, {_TEXTS})
    SELECT content_id, revision, :author, {_TEXTS} FROM edited RETURNING number
""")
"""Changes the texts of a locked content, and keeps them as a revision."""

_TRIM = sa.text("""
    DELETE FROM content_revisions WHERE content_id = :content_id AND number > 1 AND number <= :last
""")
"""Deletes revisions between the first one and those that are kept."""

_LIST = sa.text(f"""
    WITH sized AS MATERIALIZED (
        SELECT number, octet_length(body) + octet_length(html_body) AS size FROM content_revisions
        WHERE content_id = :content_id AND number > :after ORDER BY number LIMIT :limit
    ),
    fitting AS MATERIALIZED (
        SELECT number FROM (SELECT number, sum(size) OVER (ORDER BY number) - size AS before FROM sized) AS s
        WHERE before <= {MAX_LISTED_BYTES}
    )
    SELECT number, author, create_time, {_TEXTS} FROM content_revisions
    WHERE content_id = :content_id AND number = ANY(ARRAY(SELECT number FROM fitting)) ORDER BY number
""")
"""Reads revisions of a content, oldest first, as many as fit on a page and one more."""


class Revisions(Statements):
    def add(self, content_id: int, texts: ContentTexts, author: str) -> None:
        """Gives a locked content these texts, as its newest revision."""
        self._run(_KEEP_FIRST, content_id=content_id)
        values = texts._asdict() | {"word_count": len(texts.body), "author": author}
        (number,) = self._row(_EDIT, content_id=content_id, **values)
        if number > MAX_REVISIONS:
            self._run(_TRIM, content_id=content_id, last=number - MAX_REVISIONS + 1)

    def list(self, content_id: int, after: int, limit: int) -> builtins.list[ContentRevision]:
        """Revisions with numbers above `after`, oldest first. None of a content that was never edited."""
        return [_revision(row) for row in self._rows(_LIST, content_id=content_id, after=after, limit=limit)]


def _revision(row: Any) -> ContentRevision:
    number, author, create_time, *texts = row
    return ContentRevision(number, author, create_time, ContentTexts(*texts))
