"""Reviews of contents: decisions, taken back or not, and claims, which keep reviewers apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from scheduler_svc.application.editing import check_etag
from scheduler_svc.application.publishing import CHANGEABLE, require_changeable
from scheduler_svc.application.tasks import query
from scheduler_svc.application.webhooks.events import store_review
from scheduler_svc.domain.access import CallerIdentity, Role, Scope
from scheduler_svc.domain.content import MAX_HELD_REVIEWS, Content, Review, ReviewDecision, ReviewStatus
from scheduler_svc.domain.errors import InvalidState, NotFound, RoleForbidden, TooManyReviews

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx


def review_content(tx: Tx, review: Review) -> Content:
    """Decides a review; an approved content enters the publish pool.

    Raises NotFound, EtagMismatch, and InvalidState if it is decided already.
    """
    _decide(tx, [review])
    return query.get_content(tx, review.content_id)


def review_contents(tx: Tx, reviews: Sequence[Review]) -> list[Content]:
    """Decides reviews of different contents, all or none; returns the contents without their bodies, in that order.

    Raises what `review_content` raises, for the first one that can't be decided.
    """
    _decide(tx, reviews)
    decided = tx.contents.listed([review.content_id for review in reviews])
    return [decided[review.content_id] for review in reviews]


def _decide(tx: Tx, reviews: Sequence[Review]) -> None:
    found = tx.contents.lock_listed([review.content_id for review in reviews])
    for review in reviews:
        if review.content_id not in found:
            raise NotFound("content", review.content_id)
        content = found[review.content_id]
        if content.review_status is not ReviewStatus.PENDING_REVIEW:
            raise _not_to_review(content)
        check_etag(content, review.etag)
    for review in sorted(reviews, key=lambda it: it.content_id):  # a content before the one written in its place
        tx.reviews.decide(review)
        store_review(tx, replace(found[review.content_id], review_status=review.decision.outcome))
        if review.decision.outcome is ReviewStatus.APPROVED:
            tx.reviews.offer(review.content_id, review.schedule_time)
            _supersede(tx, review)


def _supersede(tx: Tx, approved: Review) -> None:
    """If the content was written in place of another, rejects that one, unless a publisher has it or has had it."""
    old = tx.reviews.regenerated(approved.content_id)
    entries = {} if old is None else tx.contents.lock([old])
    for content_id, entry in entries.items():
        if entry is None or entry.status in CHANGEABLE:
            said = f"superseded by content {approved.content_id}"
            before = tx.contents.listed([content_id])[content_id]
            tx.reviews.decide(Review(content_id, ReviewDecision.REJECT, approved.reviewer, said))
            tx.reviews.withdraw(content_id)
            if before.review_status is not ReviewStatus.REJECTED:
                store_review(tx, replace(before, review_status=ReviewStatus.REJECTED))
        tx.reviews.supersede(content_id, approved.content_id)


def _not_to_review(content: Content) -> InvalidState:
    current, required = content.review_status.label, ReviewStatus.PENDING_REVIEW.label
    message = f"content {content.content_id} is {current}; to be reviewed it must be {required}"
    return InvalidState(message, current, [required])


def reopen_content(tx: Tx, content_id: int) -> Content:
    """Takes a decision back, and the content out of the publish pool; one that waits for its review stays as it is.

    Raises NotFound, and InvalidState if a publisher has claimed it, or it is published.
    """
    entries = tx.contents.lock([content_id])
    content = query.get_content(tx, content_id)
    if content.review_status is ReviewStatus.PENDING_REVIEW:
        return content
    require_changeable(content_id, entries[content_id], "reopened")
    tx.reviews.reopen(content_id)
    old = tx.reviews.regenerated(content_id)
    for found in tx.contents.lock_listed([old]).values() if old else ():
        if found.superseded_by_content_id == content_id:
            tx.reviews.supersede(found.content_id, None)
    reopened = query.get_content(tx, content_id)
    store_review(tx, reopened)
    return reopened


def claim_review(tx: Tx, scope: Scope, reviewer: str, lease: timedelta) -> Content | None:
    """Returns the oldest content that waits for its review and that nobody held until now; None if there is none.

    Raises TooManyReviews.
    """
    _lock_held(tx, reviewer)
    content_id = tx.reviews.claim(scope, reviewer, lease)
    return None if content_id is None else query.get_content(tx, content_id)


def hold_review(tx: Tx, content_id: int, reviewer: str, lease: timedelta) -> Content | None:
    """Claims the review of one content, or renews the reviewer's claim; None if it is decided or somebody else's.

    Raises NotFound and TooManyReviews.
    """
    if query.get_content(tx, content_id).review_holder != reviewer:
        _lock_held(tx, reviewer)
    content = tx.contents.lock_listed([content_id]).get(content_id)
    if content is None:
        raise NotFound("content", content_id)
    if content.review_status is not ReviewStatus.PENDING_REVIEW or content.review_holder not in {"", reviewer}:
        return None
    tx.reviews.hold(content_id, reviewer, lease)
    return query.get_content(tx, content_id)


def _lock_held(tx: Tx, reviewer: str) -> None:
    """Makes other claims of the reviewer wait for the commit. Raises TooManyReviews."""
    if tx.reviews.lock_held(reviewer, MAX_HELD_REVIEWS) >= MAX_HELD_REVIEWS:
        raise TooManyReviews(reviewer, MAX_HELD_REVIEWS)


def release_review(tx: Tx, content_id: int, caller: CallerIdentity) -> Content:
    """Ends the claim of a review, if there is one. Raises NotFound, and RoleForbidden if it is not the caller's."""
    content = tx.contents.lock_listed([content_id]).get(content_id)
    if content is None:
        raise NotFound("content", content_id)
    if content.review_holder:
        if caller.role is not Role.OPERATOR and caller.name != content.review_holder:
            what = f"to release what {content.review_holder!r} holds"
            raise RoleForbidden(caller.name, caller.role, what, [Role.OPERATOR])
        tx.reviews.release(content_id)
    return query.get_content(tx, content_id)
