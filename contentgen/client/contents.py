"""Read contents and review them. Layer: client."""

from __future__ import annotations

from contentgen.client import documents
from contentgen.client.errors import ResourceNotFoundException
from contentgen.client.methods import Listing, Methods, Unary
from contentgen.client.results import Content, ReviewStatus
from contentgen.client.tasks import PAGE_SIZE
from contentgen.client.transport import Pages
from contentgen.v1 import content_service_pb2 as pb


class ContentMethods(Methods):
    @Unary
    async def get_content(self, content_id: int | None) -> Content | None:
        """Returns a content with its texts, or None if it does not exist.

        Args:
            content_id: a task's `content_id`; None: the task has no content.

        Example:
            >>> if content := client.get_content(content_id):
            ...     print(content["body"])
        """
        if content_id is None:
            return None
        request = pb.GetContentRequest(content_id=content_id)
        try:
            return documents.content((await self._call(self._stubs.contents.GetContent, request)).content)
        except ResourceNotFoundException:
            return None

    @Listing
    def iter_contents(
        self,
        account_id: int | None = None,
        review_status: ReviewStatus | None = None,
        *,
        page_size: int = PAGE_SIZE,
    ) -> Pages[Content]:
        """Iterates over contents without their texts, newest first, which it reads page by page.

        Raises:
            ValueError: a review status that does not exist.

        Example:
            >>> for content in client.iter_contents(review_status="pending_review"):
            ...     print(content["content_id"], content["title"])
        """
        request = pb.ListContentsRequest(account_id=account_id or 0, page_size=page_size)
        if review_status is not None:
            request.review_status = documents.value(documents.REVIEW_STATUS, review_status)
        return Pages(
            self._transport,
            self._stubs.contents.ListContents,
            request,
            lambda page: [documents.content(content) for content in page.contents],
        )

    @Unary
    async def review_content(self, content_id: int, *, approve: bool, comment: str = "") -> Content:
        """Approves or rejects a content, and returns it; an approved one enters the publish pool.

        Raises:
            ResourceNotFoundException: the content does not exist.
            InvalidStateException: it was decided before, by a review or by `auto_approve`.

        Example:
            >>> content = client.review_content(content_id, approve=True, comment="well done")
        """
        decision = pb.REVIEW_DECISION_APPROVE if approve else pb.REVIEW_DECISION_REJECT
        request = pb.ReviewContentRequest(content_id=content_id, decision=decision, comment=comment)
        return documents.content((await self._call(self._stubs.contents.ReviewContent, request)).content)

    @Unary
    async def delete_content(self, content_id: int, *, force: bool = False) -> bool:
        """Deletes a content with its entry in the publish pool. Returns False if it does not exist.

        Args:
            content_id: the content; its task stays, and still names it.
            force: also what a publisher has claimed, and what is published.

        Raises:
            InvalidStateException: it is claimed or published, and `force` is off.

        Example:
            >>> if client.delete_content(content_id, force=True):
            ...     print("deleted")
        """
        request = pb.DeleteContentRequest(content_id=content_id, force=force)
        try:
            await self._call(self._stubs.contents.DeleteContent, request)
        except ResourceNotFoundException:
            return False
        return True
