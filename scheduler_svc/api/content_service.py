"""ContentService: what was generated, and the publish pool. Part of `api`."""

from __future__ import annotations

from operator import attrgetter

from contentgen.v1 import content_service_pb2 as pb
from contentgen.v1.content_service_pb2_grpc import ContentServiceServicer

from scheduler_svc.api import convert
from scheduler_svc.api.pages import Page
from scheduler_svc.api.unimplemented import unimplemented
from scheduler_svc.api.validation import Violations
from scheduler_svc.application import query
from scheduler_svc.application.calls import Calls
from scheduler_svc.domain.content import ReviewStatus


class ContentService(ContentServiceServicer):
    """Each RPC: check the request, make the application call, convert the answer."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def GetContent(self, request: pb.GetContentRequest, context: object) -> pb.GetContentResponse:
        with Violations() as bad:
            bad.id("content_id", request.content_id)
        content = await self._calls.run(query.get_content, request.content_id)
        return pb.GetContentResponse(content=convert.content(content))

    async def ListContents(self, request: pb.ListContentsRequest, context: object) -> pb.ListContentsResponse:
        with Violations() as bad:
            bad.account_filter("account_id", request.account_id)
            review_status = _review_status(request.review_status, bad)
            page = Page.of(request, bad, "ListContents", request.account_id, request.review_status)
        found = await self._calls.run(query.list_contents, request.account_id, review_status, page.position, page.limit)
        contents, token = page.cut(found, convert.listed_content, attrgetter("content_id"))
        return pb.ListContentsResponse(contents=contents, next_page_token=token)

    async def ListPublishPool(self, request: pb.ListPublishPoolRequest, context: object) -> pb.ListPublishPoolResponse:
        with Violations() as bad:
            bad.account_filter("account_id", request.account_id)
            page = Page.of(request, bad, "ListPublishPool", request.account_id)
        found = await self._calls.run(query.list_pool, request.account_id, page.position, page.limit)
        entries, token = page.cut(found, convert.pool_entry, attrgetter("content_id"))
        return pb.ListPublishPoolResponse(entries=entries, next_page_token=token)

    ReviewContent = ClaimPublishPool = ReportPublished = unimplemented


def _review_status(value: int, bad: Violations) -> ReviewStatus | None:
    """The status to look for; None for any."""
    if value == pb.REVIEW_STATUS_UNSPECIFIED:
        return None
    try:
        return ReviewStatus(value)
    except ValueError:
        bad.add("review_status", f"must be a known ReviewStatus, is {value}")
        return None
