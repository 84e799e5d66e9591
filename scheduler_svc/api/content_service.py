"""ContentService: contents, their review, and the publish pool. Part of `api`."""

from __future__ import annotations

from datetime import timedelta
from operator import attrgetter

from contentgen.v1 import content_service_pb2 as pb
from contentgen.v1.content_service_pb2_grpc import ContentServiceServicer
from scheduler_svc.api.access.auth import caller
from scheduler_svc.api.messages import convert
from scheduler_svc.api.messages.pages import PageRequest
from scheduler_svc.api.messages.times import MAX_DURATION
from scheduler_svc.api.messages.validation import MAX_ITEMS, MAX_NAME, Violations
from scheduler_svc.application import editing, publishing
from scheduler_svc.application.calls import Calls
from scheduler_svc.application.tasks import query
from scheduler_svc.domain.access import ALL
from scheduler_svc.domain.content import (
    MAX_RESULT_BYTES,
    TITLE_LENGTH,
    ContentEdit,
    ReviewDecision,
    ReviewStatus,
    publication,
)

MAX_REMARK = 2_000
"""Characters of a reviewer's comment, or of a publisher's error."""
ANONYMOUS = "anonymous"
"""Who reviews, if there is neither a token nor a name in the request."""
_MAX_TEXT = {
    "title": TITLE_LENGTH,
    "body": MAX_RESULT_BYTES,
    "html_body": MAX_RESULT_BYTES,
    "summary": MAX_REMARK,
    "category": MAX_NAME,
    "cover_image": MAX_REMARK,
}
"""Characters of what an edit may change."""
DEFAULT_LEASE = timedelta(minutes=10)
MIN_LEASE = timedelta(seconds=1)


class ContentService(ContentServiceServicer):
    def __init__(self, reads: Calls, writes: Calls) -> None:
        self._reads = reads
        self._writes = writes

    async def GetContent(self, request: pb.GetContentRequest, context: object) -> pb.GetContentResponse:
        with Violations() as bad:
            bad.id("content_id", request.content_id)
        await self._check_ownership(request.content_id)
        content = await self._reads.run(query.get_content, request.content_id)
        return pb.GetContentResponse(content=convert.content(content))

    async def ListContents(self, request: pb.ListContentsRequest, context: object) -> pb.ListContentsResponse:
        with Violations() as bad:
            bad.account_filter("account_id", request.account_id)
            review_status = _review_status(request.review_status, bad)
            page = PageRequest.of(request, bad, "ListContents", request.account_id, request.review_status)
        scope = caller().about(request.account_id)
        found = await self._reads.run(query.list_contents, scope, review_status, page.position, page.limit)
        contents, token = page.cut(found.contents, convert.listed_content, attrgetter("content_id"), found.rest)
        return pb.ListContentsResponse(contents=contents, next_page_token=token)

    async def UpdateContent(self, request: pb.UpdateContentRequest, context: object) -> pb.UpdateContentResponse:
        with Violations() as bad:
            bad.id("content.content_id", request.content.content_id)
            edit = _edit(request, bad)
            bad.text("etag", request.etag, MAX_NAME)
            bad.text("reviewer", request.reviewer, MAX_NAME)
        content_id = request.content.content_id
        await self._check_ownership(content_id)
        content = await self._writes.run(
            editing.update_content, content_id, edit, request.etag, _reviewer(request.reviewer)
        )
        return pb.UpdateContentResponse(content=convert.content(content))

    async def ListContentRevisions(
        self, request: pb.ListContentRevisionsRequest, context: object
    ) -> pb.ListContentRevisionsResponse:
        with Violations() as bad:
            bad.id("content_id", request.content_id)
            page = PageRequest.of(request, bad, "ListContentRevisions", request.content_id)
        await self._check_ownership(request.content_id)
        found = await self._reads.run(editing.list_revisions, request.content_id, page.position or 0, page.limit)
        revisions, token = page.cut(found, convert.content_revision, attrgetter("number"))
        return pb.ListContentRevisionsResponse(revisions=revisions, next_page_token=token)

    async def ListPublishPool(self, request: pb.ListPublishPoolRequest, context: object) -> pb.ListPublishPoolResponse:
        with Violations() as bad:
            bad.account_filter("account_id", request.account_id)
            page = PageRequest.of(request, bad, "ListPublishPool", request.account_id)
        scope = caller().about(request.account_id)
        found = await self._reads.run(query.list_pool, scope, page.position, page.limit)
        entries, token = page.cut(found, convert.pool_entry, attrgetter("content_id"))
        return pb.ListPublishPoolResponse(entries=entries, next_page_token=token)

    async def ReviewContent(self, request: pb.ReviewContentRequest, context: object) -> pb.ReviewContentResponse:
        with Violations() as bad:
            bad.id("content_id", request.content_id)
            decision = _decision(request.decision, bad)
            bad.text("comment", request.comment, MAX_REMARK)
        await self._check_ownership(request.content_id)
        content = await self._writes.run(publishing.review_content, request.content_id, decision, request.comment)
        return pb.ReviewContentResponse(content=convert.content(content))

    async def DeleteContent(self, request: pb.DeleteContentRequest, context: object) -> pb.DeleteContentResponse:
        with Violations() as bad:
            bad.id("content_id", request.content_id)
        await self._check_ownership(request.content_id)
        await self._writes.run(publishing.delete_content, request.content_id, force=request.force)
        return pb.DeleteContentResponse()

    async def ClaimPublishPool(
        self, request: pb.ClaimPublishPoolRequest, context: object
    ) -> pb.ClaimPublishPoolResponse:
        lease = DEFAULT_LEASE
        with Violations() as bad:
            bad.account_filter("account_id", request.account_id)
            bad.number("limit", request.limit, 0, MAX_ITEMS)
            if request.HasField("lease"):
                lease = bad.duration("lease", request.lease, MIN_LEASE, MAX_DURATION)
        scope = caller().about(request.account_id)
        claimed = await self._writes.run(publishing.claim_pool, scope, request.limit or 1, lease)
        return pb.ClaimPublishPoolResponse(entries=map(convert.pool_entry, claimed))

    async def ReportPublished(self, request: pb.ReportPublishedRequest, context: object) -> pb.ReportPublishedResponse:
        with Violations() as bad:
            bad.id("content_id", request.content_id)
            bad.text("claim_id", request.claim_id, MAX_NAME, required=True)
            bad.text("error", request.error, MAX_REMARK)
        await self._check_ownership(request.content_id)
        outcome = publication(request.published, request.error)
        entry = await self._writes.run(publishing.report_published, request.content_id, request.claim_id, outcome)
        return pb.ReportPublishedResponse(entry=convert.pool_entry(entry))

    async def _check_ownership(self, content_id: int) -> None:
        """Raises NotFound if the caller may not access the content."""
        scope = caller().scope
        if scope != ALL:
            await self._reads.run(query.require_own_content, scope, content_id)


def _reviewer(named: str) -> str:
    """Who reviews or edits: the token's name or, if no tokens are required, whom the request names."""
    return caller().name or named or ANONYMOUS


def _edit(request: pb.UpdateContentRequest, bad: Violations) -> ContentEdit:
    """The values of the fields that the mask names."""
    paths = bad.mask("update_mask", request.update_mask, ContentEdit._fields)
    edit = ContentEdit(**{path: getattr(request.content, path) for path in paths})
    for path in ContentEdit._fields:
        value = getattr(edit, path)
        if value is not None:
            bad.text(f"content.{path}", value, _MAX_TEXT[path], required=path in {"title", "body"})
    return edit


def _decision(value: int, bad: Violations) -> ReviewDecision:
    """The decision; any one if it is refused."""
    try:
        return ReviewDecision(value)
    except ValueError:
        unspecified = value == pb.REVIEW_DECISION_UNSPECIFIED
        bad.add("decision", "is required" if unspecified else f"must be a known ReviewDecision, is {value}")
        return ReviewDecision.REJECT


def _review_status(value: int, bad: Violations) -> ReviewStatus | None:
    """The status to list. Returns None for all."""
    if value == pb.REVIEW_STATUS_UNSPECIFIED:
        return None
    try:
        return ReviewStatus(value)
    except ValueError:
        bad.add("review_status", f"must be a known ReviewStatus, is {value}")
        return None
