"""ContentService: contents and their review; see `publish_pool` for its calls about that. Part of `api`."""

from __future__ import annotations

from operator import attrgetter

from contentgen.v1 import content_service_pb2 as pb
from scheduler_svc.api.access.auth import caller
from scheduler_svc.api.messages import convert
from scheduler_svc.api.messages.pages import PageRequest
from scheduler_svc.api.messages.validation import Violations
from scheduler_svc.api.publish_pool import MAX_REMARK, PublishPoolCalls
from scheduler_svc.application import publishing
from scheduler_svc.application.tasks import query
from scheduler_svc.domain.content import ReviewDecision, ReviewStatus


class ContentService(PublishPoolCalls):
    async def GetContent(self, request: pb.GetContentRequest, context: object) -> pb.GetContentResponse:
        with Violations() as bad:
            bad.id("content_id", request.content_id)
        await self.check_ownership(request.content_id)
        content = await self.reads.run(query.get_content, request.content_id)
        return pb.GetContentResponse(content=convert.content(content))

    async def ListContents(self, request: pb.ListContentsRequest, context: object) -> pb.ListContentsResponse:
        with Violations() as bad:
            bad.account_filter("account_id", request.account_id)
            review_status = _review_status(request.review_status, bad)
            page = PageRequest.of(request, bad, "ListContents", request.account_id, request.review_status)
        scope = caller().about(request.account_id)
        found = await self.reads.run(query.list_contents, scope, review_status, page.position, page.limit)
        contents, token = page.cut(found.contents, convert.listed_content, attrgetter("content_id"), found.rest)
        return pb.ListContentsResponse(contents=contents, next_page_token=token)

    async def ReviewContent(self, request: pb.ReviewContentRequest, context: object) -> pb.ReviewContentResponse:
        with Violations() as bad:
            bad.id("content_id", request.content_id)
            decision = _decision(request.decision, bad)
            bad.text("comment", request.comment, MAX_REMARK)
        await self.check_ownership(request.content_id)
        content = await self.writes.run(publishing.review_content, request.content_id, decision, request.comment)
        return pb.ReviewContentResponse(content=convert.content(content))

    async def DeleteContent(self, request: pb.DeleteContentRequest, context: object) -> pb.DeleteContentResponse:
        with Violations() as bad:
            bad.id("content_id", request.content_id)
        await self.check_ownership(request.content_id)
        await self.writes.run(publishing.delete_content, request.content_id, force=request.force)
        return pb.DeleteContentResponse()


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
