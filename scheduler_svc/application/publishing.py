"""A content on its way out: the publish pool, and the deletion."""

from __future__ import annotations

from datetime import timedelta

from scheduler_svc.application.ports import Tx
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.content import PoolEntry, Publication, PublishStatus
from scheduler_svc.domain.errors import InvalidState, NotFound

REMOVABLE = (PublishStatus.PENDING, PublishStatus.FAILED)
"""States in which an entry may leave the pool: no publisher has it, or has had it."""


def delete_content(tx: Tx, content_id: int, *, force: bool) -> None:
    """Deletes a content and its pool entry. Raises NotFound.

    Without `force`, raises InvalidState if a publisher has claimed it, or it is published.
    """
    entries = tx.contents.lock([content_id])
    if content_id not in entries:
        raise NotFound("content", content_id)
    if not force:
        require_removable(content_id, entries[content_id], "deleted without force")
    tx.contents.delete([content_id])


def require_removable(content_id: int, entry: PoolEntry | None, to_be: str) -> None:
    """Raises InvalidState if a publisher has claimed the content, or it is published."""
    if entry is not None and entry.status not in REMOVABLE:
        current, required = entry.status.label, [status.label for status in REMOVABLE]
        message = f"content {content_id} is {current}; to be {to_be} it must be {' or '.join(required)}"
        raise InvalidState(message, current, required)


def claim_pool(tx: Tx, scope: Scope, limit: int, lease: timedelta) -> list[PoolEntry]:
    return tx.contents.claim_pool(scope, limit, lease)


def report_published(tx: Tx, content_id: int, claim_id: str, publication: Publication) -> PoolEntry:
    """Ends a claim. Raises NotFound, and InvalidState if the claim has expired, is not the latest, or has ended."""
    entry = tx.contents.end_claim(content_id, claim_id, publication)
    if entry is None:
        raise _not_held(tx, content_id, claim_id)
    return entry


def _not_held(tx: Tx, content_id: int, claim_id: str) -> NotFound | InvalidState:
    entry = tx.contents.get_entry(content_id)
    if entry is None:
        return NotFound("content", content_id)
    by = " by another claim" if entry.status is PublishStatus.PUBLISHING else ""
    message = f"claim {claim_id!r} does not hold content {content_id}: in the pool it is {entry.status.label}{by}"
    return InvalidState(message, entry.status.label, [PublishStatus.PUBLISHING.label])
