"""Edits of a content's texts, and its revisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scheduler_svc.application.tasks import query
from scheduler_svc.domain.content import MAX_RESULT_BYTES, Content, ContentEdit, ContentRevision
from scheduler_svc.domain.errors import EtagMismatch, FieldViolation, InvalidArgument, NotFound

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx


def check_etag(content: Content, etag: str) -> None:
    """Raises EtagMismatch if `etag` is stale; an empty one checks nothing."""
    if etag and etag != content.etag:
        raise EtagMismatch(content.content_id, content.etag)


def update_content(tx: Tx, content_id: int, edit: ContentEdit, etag: str, author: str) -> Content:
    """Edits a content, which makes a revision if it changes anything.

    Raises NotFound, EtagMismatch, and InvalidArgument if body and HTML would be too large together.
    """
    content = tx.contents.get_locked(content_id)
    if content is None:
        raise NotFound("content", content_id)
    check_etag(content, etag)
    edited = edit.of(content.texts)
    if edited == content.texts:
        return content
    if (size := edited.size) > MAX_RESULT_BYTES:
        too_large = f"must have at most {MAX_RESULT_BYTES:,} bytes together with html_body, would have {size:,}"
        raise InvalidArgument([FieldViolation("content.body", too_large)])
    tx.revisions.add(content_id, edited, author)
    tx.search.index(content_id)
    return query.get_content(tx, content_id)


def list_revisions(tx: Tx, content_id: int, after: int, limit: int) -> list[ContentRevision]:
    """Returns revisions with numbers above `after`, oldest first; fewer than `limit` if they are large.

    Raises NotFound.
    """
    if revisions := tx.revisions.list(content_id, after, limit):
        return revisions
    content = query.get_content(tx, content_id)
    if content.revision > 1 or after:
        return []
    return [ContentRevision(1, "", content.create_time, content.texts)]
