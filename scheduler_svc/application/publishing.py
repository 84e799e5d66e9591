"""A content after its task: its review, and its end."""

from __future__ import annotations

from scheduler_svc.application.ports import Tx
from scheduler_svc.domain.content import Content, PublishStatus, ReviewDecision, ReviewStatus
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
