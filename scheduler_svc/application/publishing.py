"""A content's end: who may take it out of the publish pool, and the deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scheduler_svc.domain.content import PoolEntry, PublishStatus
from scheduler_svc.domain.errors import InvalidState, NotFound

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx

CHANGEABLE = (PublishStatus.PENDING, PublishStatus.FAILED)
"""States of an entry that no publisher has, or has published: it may change, and its content may leave the pool."""


def delete_content(tx: Tx, content_id: int, *, force: bool) -> int:
    """Deletes a content and its pool entry; returns its account. Raises NotFound.

    Without `force`, raises InvalidState if a publisher has claimed it, or it is published.
    """
    entries = tx.contents.lock([content_id])
    if content_id not in entries:
        raise NotFound("content", content_id)
    if not force:
        require_changeable(content_id, entries[content_id], "deleted without force")
    account_id = tx.contents.accounts_of([content_id])[content_id]
    tx.contents.delete([content_id])
    return account_id


def require_changeable(content_id: int, entry: PoolEntry | None, to_be: str) -> None:
    """Raises InvalidState if a publisher has claimed the content, or it is published."""
    if entry is not None and entry.status not in CHANGEABLE:
        current, required = entry.status.label, [status.label for status in CHANGEABLE]
        message = f"content {content_id} is {current}; to be {to_be} it must be {' or '.join(required)}"
        raise InvalidState(message, current, required)
