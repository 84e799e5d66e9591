"""ContentService: contents and their review; `publishing/service.py` has its calls about the publish pool."""

from __future__ import annotations

import math
from operator import attrgetter
from typing import Any

from grpc import aio

from contentgen.v1 import asset_pb2 as asset_pb
from contentgen.v1 import content_service_pb2 as pb
from scheduler_svc.assets.uploads import first_message
from scheduler_svc.config import Settings
from scheduler_svc.contents import asset_work, work
from scheduler_svc.contents.asset_work import NewFile
from scheduler_svc.contents.uploads import ContentUploads
from scheduler_svc.domain.account import ANONYMOUS
from scheduler_svc.domain.content import (
    MAX_RESULT_BYTES,
    MAX_SOURCE,
    TITLE_LENGTH,
    Comment,
    Content,
    ContentEdit,
    ContentFilter,
    ContentRevision,
    PublishStatus,
    Review,
    ReviewDecision,
    ReviewStatus,
    stays_below,
)
from scheduler_svc.publishing import work as publishing
from scheduler_svc.publishing.service import MAX_REMARK, PublishPoolCalls, lease_of
from scheduler_svc.runtime.access import caller, caller_trace
from scheduler_svc.runtime.auditing import concerns, replaces
from scheduler_svc.runtime.calls import Calls
from scheduler_svc.runtime.pages import PageRequest, selection
from scheduler_svc.runtime.tracing import Tracer
from scheduler_svc.runtime.validation import MAX_NAME, Violations, message_of
from scheduler_svc.tasks import messages
from scheduler_svc.tasks.submit import SubmitCommitter, SubmitItem

_MAX_TEXT = {
    "title": TITLE_LENGTH,
    "body": MAX_RESULT_BYTES,
    "html_body": MAX_RESULT_BYTES,
    "summary": MAX_REMARK,
    "category": MAX_NAME,
    "cover_image": MAX_REMARK,
}
"""Characters of what an edit may change."""
MAX_BATCH_REVIEWS = 100
MAX_WORDS = 10
"""Words of a search."""


class ContentService(PublishPoolCalls):
    def __init__(
        self,
        reads: Calls,
        writes: Calls,
        settings: Settings,
        submits: SubmitCommitter,
        *,
        uploads: ContentUploads,
        tracer: Tracer,
    ) -> None:
        super().__init__(reads, writes, settings)
        self._uploads = uploads
        self._submits = submits
        self._tracer = tracer

    async def GetContent(self, request: pb.GetContentRequest, context: object) -> pb.GetContentResponse:
        content = await self.reads.run(work.get_content, await self.own_content(request.content_id))
        return pb.GetContentResponse(content=_content_message(content))

    async def ListContents(self, request: pb.ListContentsRequest, context: object) -> pb.ListContentsResponse:
        with Violations() as violations:
            violations.account_filter("account_id", request.account_id)
            wanted = _filter(request, violations)
            fields = selection(request, account_id=request.account_id, review_status=request.review_status)
            page = PageRequest.of(request, violations, "ListContents", *fields)
        scope = caller().scope
        result = await self.reads.run(
            lambda tx: tx.contents.list(scope, wanted, page.position, page.limit, oldest_first=request.oldest_first)
        )
        contents, token = page.cut(result.rows, _listed_content_message, attrgetter("content_id"), result.rest)
        return pb.ListContentsResponse(contents=contents, next_page_token=token)

    async def UpdateContent(self, request: pb.UpdateContentRequest, context: object) -> pb.UpdateContentResponse:
        with Violations() as violations:
            violations.id("content.content_id", request.content.content_id)
            edit = _edit(request, violations)
            violations.text("etag", request.etag, MAX_NAME)
            violations.text("reviewer", request.reviewer, MAX_NAME)
        content_id = request.content.content_id
        await self.check_ownership(content_id)
        before, content = await self.writes.run(
            work.update_content, content_id, edit, request.etag, _reviewer(request.reviewer)
        )
        replaces(_content_message(before))
        return pb.UpdateContentResponse(content=_content_message(content))

    async def ListContentRevisions(
        self, request: pb.ListContentRevisionsRequest, context: object
    ) -> pb.ListContentRevisionsResponse:
        with Violations() as violations:
            violations.id("content_id", request.content_id)
            page = PageRequest.of(request, violations, "ListContentRevisions", request.content_id)
        await self.check_ownership(request.content_id)
        revisions = await self.reads.run(work.list_revisions, request.content_id, page.position or 0, page.limit)
        listed, token = page.cut(revisions, _revision_message, attrgetter("number"))
        return pb.ListContentRevisionsResponse(revisions=listed, next_page_token=token)

    async def RestoreContentRevision(
        self, request: pb.RestoreContentRevisionRequest, context: object
    ) -> pb.RestoreContentRevisionResponse:
        with Violations() as violations:
            violations.id("content_id", request.content_id)
            violations.id("revision", request.revision)
            violations.text("etag", request.etag, MAX_NAME)
        await self.check_ownership(request.content_id)
        content = await self.writes.run(
            work.restore_revision, request.content_id, request.revision, request.etag, _reviewer()
        )
        return pb.RestoreContentRevisionResponse(content=_content_message(content))

    async def UploadAsset(
        self, _: object, context: aio.ServicerContext[pb.UploadAssetRequest, pb.UploadAssetResponse]
    ) -> pb.UploadAssetResponse:
        first: pb.UploadAssetRequest = await first_message(context)
        with Violations() as violations:
            violations.id("content_id", first.content_id)
            violations.text("name", first.name, MAX_NAME, required=True)
            if not stays_below(first.name):
                violations.add("name", "must lead below a folder, on any system")
            violations.text("etag", first.etag, MAX_NAME)
        await self.check_ownership(first.content_id)
        new = NewFile(first.content_id, first.name, first.etag, _reviewer())
        content = await self._uploads.store(new, first, context)
        asset = next(asset for asset in content.assets if asset.name == new.name)
        return pb.UploadAssetResponse(asset=message_of(asset_pb.Asset, asset), content=_content_message(content))

    async def RemoveAsset(self, request: pb.RemoveAssetRequest, context: object) -> pb.RemoveAssetResponse:
        with Violations() as violations:
            violations.id("content_id", request.content_id)
            violations.text("name", request.name, MAX_SOURCE, required=True)
            violations.text("etag", request.etag, MAX_NAME)
        await self.check_ownership(request.content_id)
        content = await self.writes.run(
            asset_work.remove_asset, request.content_id, request.name, request.etag, _reviewer()
        )
        return pb.RemoveAssetResponse(content=_content_message(content))

    async def AddComment(self, request: pb.AddCommentRequest, context: object) -> pb.AddCommentResponse:
        with Violations() as violations:
            violations.id("content_id", request.content_id)
            violations.text("text", request.text, MAX_REMARK, required=True)
        await self.check_ownership(request.content_id)
        account_id, comment = await self.writes.run(work.add_comment, request.content_id, _reviewer(), request.text)
        concerns(account_id)
        return pb.AddCommentResponse(comment=_comment_message(comment))

    async def ListComments(self, request: pb.ListCommentsRequest, context: object) -> pb.ListCommentsResponse:
        with Violations() as violations:
            violations.id("content_id", request.content_id)
            page = PageRequest.of(request, violations, "ListComments", request.content_id)
        await self.check_ownership(request.content_id)
        comments = await self.reads.run(work.list_comments, request.content_id, page.position or 0, page.limit)
        listed, token = page.cut(comments, _comment_message, attrgetter("number"))
        return pb.ListCommentsResponse(comments=listed, next_page_token=token)

    async def AssignReview(self, request: pb.AssignReviewRequest, context: object) -> pb.AssignReviewResponse:
        with Violations() as violations:
            violations.id("content_id", request.content_id)
            violations.text("assignee", request.assignee, MAX_NAME)
        await self.check_ownership(request.content_id)
        content = await self.writes.run(work.assign_review, request.content_id, request.assignee, _reviewer())
        return pb.AssignReviewResponse(content=_content_message(content))

    async def ReviewContent(self, request: pb.ReviewContentRequest, context: object) -> pb.ReviewContentResponse:
        with Violations() as violations:
            review = _review(request, violations)
        await self.check_ownership(request.content_id)
        content = await self.writes.run(work.review_content, review)
        return pb.ReviewContentResponse(content=_content_message(content))

    async def BatchReviewContents(
        self, request: pb.BatchReviewContentsRequest, context: object
    ) -> pb.BatchReviewContentsResponse:
        with Violations() as violations:
            violations.text("reviewer", request.reviewer, MAX_NAME)
            reviews = _reviews(request, violations)
        await self.check_ownership(*(review.content_id for review in reviews))
        contents = await self.writes.run(work.review_contents, reviews)
        return pb.BatchReviewContentsResponse(contents=map(_listed_content_message, contents))

    async def ReopenContent(self, request: pb.ReopenContentRequest, context: object) -> pb.ReopenContentResponse:
        content = await self.writes.run(work.reopen_content, await self.own_content(request.content_id))
        return pb.ReopenContentResponse(content=_content_message(content))

    async def ClaimReview(self, request: pb.ClaimReviewRequest, context: object) -> pb.ClaimReviewResponse:
        with Violations() as violations:
            violations.account_filter("account_id", request.account_id)
            lease = lease_of(request, violations)
            violations.text("reviewer", request.reviewer, MAX_NAME)
            if request.content_id:
                violations.id("content_id", request.content_id)
        reviewer = _reviewer(request.reviewer)
        if request.content_id:
            await self.check_ownership(request.content_id)
            content = await self.writes.run(work.hold_review, request.content_id, reviewer, lease)
        else:
            content = await self.writes.run(work.claim_review, caller().scope, reviewer, lease)
        return pb.ClaimReviewResponse(content=None if content is None else _content_message(content))

    async def ReleaseReview(self, request: pb.ReleaseReviewRequest, context: object) -> pb.ReleaseReviewResponse:
        content = await self.writes.run(work.release_review, await self.own_content(request.content_id), caller())
        return pb.ReleaseReviewResponse(content=_content_message(content))

    async def RegenerateContent(
        self, request: pb.RegenerateContentRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.RegenerateContentResponse:
        with Violations() as violations:
            violations.id("content_id", request.content_id)
            violations.text("feedback", request.feedback, MAX_REMARK, required=True)
        await self.check_ownership(request.content_id)
        new = await self.reads.run(work.new_task, request.content_id, request.feedback)
        size = len(new.brief.requirements) + request.ByteSize()
        with self._tracer.submit("ContentService/RegenerateContent", caller_trace(context)) as span:
            stored = await self._submits.commit(SubmitItem(span.traced((new,)), size))
            span.stored(stored)
        (task,) = stored
        return pb.RegenerateContentResponse(task=messages.listed_task(task))

    async def DeleteContent(self, request: pb.DeleteContentRequest, context: object) -> pb.DeleteContentResponse:
        content_id = await self.own_content(request.content_id)
        concerns(await self.writes.run(publishing.delete_content, content_id, force=request.force))
        return pb.DeleteContentResponse()


def _reviewer(name: str = "") -> str:
    """Returns who reviews or edits: the token's name or, if no tokens are required, whom the request names."""
    return caller().name or name or ANONYMOUS


def _review(request: pb.ReviewContentRequest, violations: Violations, reviewer: str = "") -> Review:
    """Returns the decision of `reviewer`, unless the request names another."""
    violations.id("content_id", request.content_id)
    decision = _decision(request.decision, violations)
    violations.text("comment", request.comment, MAX_REMARK)
    violations.text("etag", request.etag, MAX_NAME)
    violations.text("reviewer", request.reviewer, MAX_NAME)
    name = _reviewer(request.reviewer or reviewer)
    schedule_time = violations.optional_time("schedule_time", request)
    return Review(request.content_id, decision, name, request.comment, request.etag, schedule_time)


def _reviews(request: pb.BatchReviewContentsRequest, violations: Violations) -> list[Review]:
    if not violations.count("requests", len(request.requests), 1, MAX_BATCH_REVIEWS):
        return []
    reviews: dict[int, Review] = {}
    for i, review_request in enumerate(request.requests):
        violations.path = f"requests[{i}]."
        review = _review(review_request, violations, request.reviewer)
        if review.content_id in reviews:
            violations.add("content_id", f"must be of another content than those before, is {review.content_id}")
        reviews[review.content_id] = review
    return list(reviews.values())


def _edit(request: pb.UpdateContentRequest, violations: Violations) -> ContentEdit:
    """Returns the values of the fields that the mask names."""
    paths = violations.mask("update_mask", request.update_mask, ContentEdit._fields)
    edit = ContentEdit(**{path: getattr(request.content, path) for path in paths})
    for path in ContentEdit._fields:
        value = getattr(edit, path)
        if value is not None:
            violations.text(f"content.{path}", value, _MAX_TEXT[path], required=path in {"title", "body"})
    return edit


def _decision(value: int, violations: Violations) -> ReviewDecision:
    """Returns the decision; an arbitrary one if it is refused."""
    try:
        return ReviewDecision(value)
    except ValueError:
        unspecified = value == pb.REVIEW_DECISION_UNSPECIFIED
        violations.add("decision", "is required" if unspecified else f"must be a known ReviewDecision, is {value}")
        return ReviewDecision.REJECT


def _filter(request: pb.ListContentsRequest, violations: Violations) -> ContentFilter:
    violations.text("category", request.category, MAX_NAME)
    violations.text("query", request.query, MAX_NAME)
    violations.text("assignee", request.assignee, MAX_NAME)
    score = request.min_quality_score if request.HasField("min_quality_score") else None
    if score is not None and not math.isfinite(score):
        violations.add("min_quality_score", f"must be a finite number, is {score}")
    words = tuple(dict.fromkeys(request.query.split()))
    if len(words) > MAX_WORDS:
        violations.add("query", f"must have at most {MAX_WORDS} words, has {len(words)}")
    return ContentFilter(
        review_status=violations.status("review_status", request.review_status, ReviewStatus),
        publish_status=violations.status("publish_status", request.publish_status, PublishStatus),
        category=request.category,
        labels=violations.labels("labels", request.labels),
        min_quality_score=score,
        created_after=violations.optional_time("created_after", request),
        created_before=violations.optional_time("created_before", request),
        words=words,
        search_bodies=request.search_bodies and bool(words),
        assignee=request.assignee,
    )


def _content_message(content: Content) -> pb.Content:
    return message_of(
        pb.Content,
        content,
        assets=[message_of(asset_pb.Asset, asset) for asset in content.assets],
        left_out_assets=[message_of(asset_pb.LeftOutAsset, asset) for asset in content.left_out],
    )


def _revision_message(revision: ContentRevision) -> pb.ContentRevision:
    return message_of(pb.ContentRevision, revision, **revision.texts._asdict())


def _comment_message(comment: Comment) -> pb.Comment:
    return message_of(pb.Comment, comment)


def _listed_content_message(content: Content) -> pb.Content:
    """Returns a content without body and HTML."""
    message = _content_message(content)
    message.ClearField("body")
    message.ClearField("html_body")
    return message
