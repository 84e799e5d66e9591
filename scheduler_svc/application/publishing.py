"""A content after its task: the review, and the publish pool."""

from __future__ import annotations

from datetime import timedelta

from scheduler_svc.application.ports import Tx
from scheduler_svc.application.webhooks.events import store_publication, store_review
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.content import (
    Content,
    PoolEntry,
    Publication,
    PublishStatus,
    ReviewDecision,
    ReviewStatus,
)
from scheduler_svc.domain.errors import InvalidState, NotFound

DELETABLE = (PublishStatus.PENDING, PublishStatus.FAILED)
"""States of a pool entry in which its content may be deleted."""


def review_content(tx: Tx, content_id: int, decision: ReviewDecision, comment: str) -> Content:
    """Decides a review; an approved content enters the publish pool.

    Raises NotFound, and InvalidState if it is decided already.
    """
    decided = tx.contents.decide(content_id, decision.outcome, comment)
    if decided is None:
        raise _not_to_review(tx, content_id)
    if decided.review_status is ReviewStatus.APPROVED:
        tx.contents.offer(content_id)
    store_review(tx, decided)
    return decided


def _not_to_review(tx: Tx, content_id: int) -> NotFound | InvalidState:
    content = tx.contents.get(content_id)
    if content is None:
        return NotFound("content", content_id)
    current, required = content.review_status.label, ReviewStatus.PENDING_REVIEW.label
    message = f"content {content_id} is {current}; to be reviewed it must be {required}"
    return InvalidState(message, current, [required])


def delete_content(tx: Tx, content_id: int, *, force: bool) -> None:
    """Deletes a content and its pool entry. Raises NotFound.

    Without `force`, raises InvalidState if a publisher has claimed it, or it is published.
    """
    entries = tx.contents.lock([content_id])
    if content_id not in entries:
        raise NotFound("content", content_id)
    entry = entries[content_id]
    if entry is not None and entry.status not in DELETABLE and not force:
        current, required = entry.status.label, [status.label for status in DELETABLE]
        message = f"content {content_id} is {current}; without force it is deleted only while {' or '.join(required)}"
        raise InvalidState(message, current, required)
    tx.contents.delete([content_id])


def claim_pool(tx: Tx, scope: Scope, limit: int, lease: timedelta) -> list[PoolEntry]:
    return tx.contents.claim_pool(scope, limit, lease)


def report_published(tx: Tx, content_id: int, claim_id: str, publication: Publication) -> PoolEntry:
    """Ends a claim. Raises NotFound, and InvalidState if the claim has expired, is not the latest, or has ended."""
    entry = tx.contents.end_claim(content_id, claim_id, publication)
    if entry is None:
        raise _not_held(tx, content_id, claim_id)
    store_publication(tx, entry)
    return entry


def _not_held(tx: Tx, content_id: int, claim_id: str) -> NotFound | InvalidState:
    entry = tx.contents.get_entry(content_id)
    if entry is None:
        return NotFound("content", content_id)
    by = " by another claim" if entry.status is PublishStatus.PUBLISHING else ""
    message = f"claim {claim_id!r} does not hold content {content_id}: in the pool it is {entry.status.label}{by}"
    return InvalidState(message, entry.status.label, [PublishStatus.PUBLISHING.label])
