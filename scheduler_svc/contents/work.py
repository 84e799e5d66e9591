"""Contents: reads, edits and revisions, comments, reviews, and contents that are written anew with feedback.

Decisions of reviews may be taken back; claims keep reviewers apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from scheduler_svc.domain.account import CallerIdentity, Role, Scope
from scheduler_svc.domain.change import Snapshot
from scheduler_svc.domain.content import (
    MAX_COMMENTS,
    MAX_HELD_REVIEWS,
    MAX_RESULT_BYTES,
    Comment,
    Content,
    ContentEdit,
    ContentRevision,
    Review,
    ReviewDecision,
    ReviewEvent,
    ReviewStatus,
)
from scheduler_svc.domain.errors import (
    EtagMismatch,
    InvalidArgument,
    InvalidState,
    NotFound,
    RoleForbidden,
    TooManyComments,
    TooManyReviews,
    existing,
)
from scheduler_svc.domain.task import MAX_LENGTHS, MAX_PROMPT_BYTES, Brief, NewTask
from scheduler_svc.publishing.work import CHANGEABLE, require_changeable
from scheduler_svc.tasks import query
from scheduler_svc.webhooks.work import store_review

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


def check_etag(content: Content, etag: str) -> None:
    """Raises EtagMismatch if `etag` is stale; an empty one checks nothing."""
    if etag and etag != content.etag:
        raise EtagMismatch(content.content_id, content.etag)


def update_content(tx: Tx, content_id: int, edit: ContentEdit, etag: str, author: str) -> tuple[Content, Content]:
    """Edits a content, which makes a revision if it changes anything; returns it before and after.

    Raises NotFound, EtagMismatch, and InvalidArgument if body and HTML would be too large together.
    """
    content = get_content(tx, content_id, lock=True)
    check_etag(content, etag)
    edited = edit.of(content.texts)
    if edited == content.texts:
        return content, content
    if (size := edited.size) > MAX_RESULT_BYTES:
        too_large = f"must have at most {MAX_RESULT_BYTES:,} bytes together with html_body, would have {size:,}"
        raise InvalidArgument.of("content.body", too_large)
    tx.revisions.add(content_id, edited, author)
    tx.search.index(content_id)
    return content, get_content(tx, content_id)


def list_revisions(tx: Tx, content_id: int, after: int, limit: int) -> list[ContentRevision]:
    """Returns revisions with numbers above `after`, oldest first; fewer than `limit` if they are large.

    Raises NotFound.
    """
    if revisions := tx.revisions.list(content_id, after, limit):
        return revisions
    content = get_content(tx, content_id)
    if content.revision > 1 or after:
        return []
    return [ContentRevision(1, "", content.create_time, content.texts)]


def restore_revision(tx: Tx, content_id: int, number: int, etag: str, author: str) -> Content:
    """Gives a content the texts of a revision. Raises what `update_content` raises, and NotFound for the revision."""
    check_etag(get_content(tx, content_id, lock=True), etag)
    revision = next((one for one in list_revisions(tx, content_id, number - 1, 1) if one.number == number), None)
    texts = existing(revision, "revision", number).texts
    return update_content(tx, content_id, ContentEdit(**texts._asdict()), etag, author)[1]


def add_comment(tx: Tx, content_id: int, author: str, text: str) -> tuple[int, Comment]:
    """Adds a comment; returns the account, too. Raises NotFound and TooManyComments."""
    content = _lock(tx, content_id)
    count = tx.comments.count(content_id)
    if count >= MAX_COMMENTS:
        raise TooManyComments(content_id, MAX_COMMENTS)
    return content.account_id, tx.comments.add(content_id, count + 1, author, text)


def list_comments(tx: Tx, content_id: int, after: int, limit: int) -> list[Comment]:
    """Returns comments with numbers above `after`, oldest first. Raises NotFound."""
    if comments := tx.comments.list(content_id, after, limit):
        return comments
    get_content(tx, content_id)
    return []


def list_review_events(tx: Tx, content_id: int, after: int, limit: int) -> list[ReviewEvent]:
    """Returns what became of a review, with numbers above `after`, oldest first. Raises NotFound."""
    if events := tx.reviews.events(content_id, after, limit):
        return events
    get_content(tx, content_id)
    return []


def review_content(tx: Tx, review: Review) -> Content:
    """Decides a review; an approved content enters the publish pool.

    Raises NotFound, EtagMismatch, and InvalidState if it is decided already.
    """
    _decide(tx, [review])
    return get_content(tx, review.content_id)


def review_contents(tx: Tx, reviews: Sequence[Review]) -> list[Content]:
    """Decides reviews of different contents, all or none; returns the contents without their bodies, in that order.

    Raises what `review_content` raises, for the first one that can't be decided.
    """
    _decide(tx, reviews)
    decided = tx.contents.listed([review.content_id for review in reviews])
    return [decided[review.content_id] for review in reviews]


def _decide(tx: Tx, reviews: Sequence[Review]) -> None:
    contents = tx.contents.lock_listed([review.content_id for review in reviews])
    for review in reviews:
        if review.content_id not in contents:
            raise NotFound("content", review.content_id)
        content = contents[review.content_id]
        if content.review_status is not ReviewStatus.PENDING_REVIEW:
            subject = f"content {content.content_id}"
            raise InvalidState.of(subject, "reviewed", content.review_status, [ReviewStatus.PENDING_REVIEW])
        check_etag(content, review.etag)
    # a content before the one written in its place
    for review in sorted(reviews, key=lambda decision: decision.content_id):
        tx.reviews.decide(review)
        store_review(tx, replace(contents[review.content_id], review_status=review.decision.outcome))
        if review.decision.outcome is ReviewStatus.APPROVED:
            tx.reviews.offer(review.content_id, review.schedule_time)
            _supersede(tx, review)


def _supersede(tx: Tx, approved: Review) -> None:
    """If the content was written in place of another, rejects that one, unless a publisher has it or has had it."""
    predecessor_id = tx.reviews.regenerated(approved.content_id)
    entries = {} if predecessor_id is None else tx.contents.lock([predecessor_id])
    for content_id, entry in entries.items():
        if entry is None or entry.status in CHANGEABLE:
            comment = f"superseded by content {approved.content_id}"
            before = tx.contents.listed([content_id])[content_id]
            tx.reviews.decide(Review(content_id, ReviewDecision.REJECT, approved.reviewer, comment))
            tx.reviews.withdraw(content_id)
            if before.review_status is not ReviewStatus.REJECTED:
                store_review(tx, replace(before, review_status=ReviewStatus.REJECTED))
        tx.reviews.supersede(content_id, approved.content_id)


def reopen_content(tx: Tx, content_id: int, actor: str) -> Content:
    """Takes a decision back, and the content out of the publish pool; one that waits for its review stays as it is.

    Raises NotFound, and InvalidState if a publisher has claimed it, or it is published.
    """
    entries = tx.contents.lock([content_id])
    content = get_content(tx, content_id)
    if content.review_status is ReviewStatus.PENDING_REVIEW:
        return content
    require_changeable(content_id, entries[content_id], "reopened")
    tx.reviews.reopen(content_id, actor)
    predecessor_id = tx.reviews.regenerated(content_id)
    for predecessor in tx.contents.lock_listed([predecessor_id]).values() if predecessor_id else ():
        if predecessor.superseded_by_content_id == content_id:
            tx.reviews.supersede(predecessor.content_id, None)
    reopened = get_content(tx, content_id)
    store_review(tx, reopened)
    return reopened


def claim_review(tx: Tx, scope: Scope, reviewer: str, lease: timedelta) -> Content | None:
    """Returns the oldest content that waits for its review and that nobody held until now; None if there is none.

    Raises TooManyReviews.
    """
    _lock_held(tx, reviewer)
    content_id = tx.reviews.claim(scope, reviewer, lease)
    return None if content_id is None else get_content(tx, content_id)


def hold_review(tx: Tx, content_id: int, reviewer: str, lease: timedelta) -> Content | None:
    """Claims the review of one content, or renews the reviewer's claim; None if it is decided or somebody else's.

    Raises NotFound and TooManyReviews.
    """
    if get_content(tx, content_id).review_holder != reviewer:
        _lock_held(tx, reviewer)
    content = _lock(tx, content_id)
    if content.review_status is not ReviewStatus.PENDING_REVIEW or content.review_holder not in {"", reviewer}:
        return None
    tx.reviews.hold(content_id, reviewer, lease)
    return get_content(tx, content_id)


def _lock_held(tx: Tx, reviewer: str) -> None:
    """Makes other claims of the reviewer wait for the commit. Raises TooManyReviews."""
    if tx.reviews.lock_held(reviewer, MAX_HELD_REVIEWS) >= MAX_HELD_REVIEWS:
        raise TooManyReviews(reviewer, MAX_HELD_REVIEWS)


def release_review(tx: Tx, content_id: int, caller: CallerIdentity) -> Content:
    """Ends the claim of a review, if there is one. Raises NotFound, and RoleForbidden if it is not the caller's."""
    content = _lock(tx, content_id)
    if content.review_holder:
        if caller.role is not Role.OPERATOR and caller.name != content.review_holder:
            action = f"to release what {content.review_holder!r} holds"
            raise RoleForbidden(caller.name, caller.role, action, [Role.OPERATOR])
        tx.reviews.release(content_id)
    return get_content(tx, content_id)


def assign_review(tx: Tx, content_id: int, assignee: str, assigner: str) -> Content:
    """Says who is to review a content; empty: nobody. Raises NotFound."""
    if _lock(tx, content_id).assignee != assignee:
        tx.reviews.assign(content_id, assignee, assigner)
    return get_content(tx, content_id)


def _lock(tx: Tx, content_id: int) -> Content:
    return existing(tx.contents.lock_listed([content_id]).get(content_id), "content", content_id)


def new_task(tx: Tx, content_id: int, feedback: str) -> NewTask:
    """Returns the submit of a task that writes a content anew: as its task, with the feedback, and for a review.

    Raises NotFound for the content and for its task, and InvalidArgument if the requirements would be too long.
    """
    content = get_content(tx, content_id)
    task = query.get_task(tx, content.task_key)
    return NewTask(
        account_id=task.account_id,
        brief=_with_feedback(task.brief, feedback),
        priority=task.priority,
        auto_approve=False,
        max_retries=task.max_retries,
        auto_retry=task.auto_retry,
        timeout=task.timeout,
        labels=task.labels,
        backoff=task.backoff,
        worker_selector=task.worker_selector,
        regenerates_content_id=content_id,
    )


def _with_feedback(brief: Brief, feedback: str) -> Brief:
    new_brief = brief._replace(requirements="\n\n".join(text for text in (brief.requirements, feedback) if text))
    length, most = len(new_brief.requirements), MAX_LENGTHS["requirements"]
    if length > most:
        raise _too_long(f"{most:,} characters with the task's requirements, would have {length:,}")
    if (size := new_brief.prompt_bytes) > MAX_PROMPT_BYTES:
        raise _too_long(f"{MAX_PROMPT_BYTES:,} bytes with the task's topic and requirements, would have {size:,}")
    return new_brief


def _too_long(limit: str) -> InvalidArgument:
    return InvalidArgument.of("feedback", f"must have at most {limit}")


def get_content(tx: Tx, content_id: int, *, lock: bool = False) -> Content:
    """Returns one content with its body. Raises NotFound."""
    return existing(tx.contents.get(content_id, lock=lock), "content", content_id)


def unindexed(tx: Tx) -> Snapshot | None:
    """Returns which contents there may be, if not all of them are indexed."""
    if tx.search.last() <= tx.search.indexed_to():
        return None
    return tx.search.snapshot()


def index_contents(tx: Tx, settled: int, limit: int) -> None:
    """Indexes the next `limit` contents up to the id `settled`: no content appears any more that has a lower one.

    Does nothing while another replica does it.
    """
    after = tx.search.take_turn()
    if after is not None and after < settled:
        tx.search.index_next(after, settled, limit)
