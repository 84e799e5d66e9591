"""Read contents, review them, publish them. Layer: client."""

from __future__ import annotations

from collections.abc import Iterator

from contentgen.client import documents
from contentgen.client.connection import Connected
from contentgen.client.documents import Document
from contentgen.client.errors import ResourceNotFoundException
from contentgen.client.fields import duration
from contentgen.client.tasks import PAGE_SIZE
from contentgen.v1 import content_service_pb2 as pb


class ContentMethods(Connected):
    def get_content(self, content_id: int) -> Document | None:
        """A content with its texts; None where there is no such content.

        `content_id`, `account_id`, `task_id`, `title`, `body`, `html_body`, `summary`, `category`, `images`,
        `cover_image` (or None), `word_count` (characters), `quality_score` (or None), `review_status`
        (`pending_review`, `approved`, `rejected`), `review_comment` (or None), `created_at` (ISO 8601 with zone).

        Example:
            >>> print(client.get_content(content_id)["body"])
        """
        request = pb.GetContentRequest(content_id=content_id)
        try:
            return documents.content(self._connection.call(self._connection.contents.GetContent, request).content)
        except ResourceNotFoundException:
            return None

    def iter_contents(self, account_id: int | None = None, review_status: str | None = None) -> Iterator[Document]:
        """All contents without their texts, newest first, fetched page by page.

        Raises:
            ValueError: `review_status` is none of `pending_review`, `approved`, `rejected`.

        Example:
            >>> for content in client.iter_contents(review_status="pending_review"):
            ...     print(content["content_id"], content["title"])
        """
        request = pb.ListContentsRequest(account_id=account_id or 0, page_size=PAGE_SIZE)
        if review_status is not None:
            request.review_status = documents.value(documents.REVIEW_STATUS, review_status)
        for page in self._connection.call.pages(self._connection.contents.ListContents, request):
            yield from map(documents.content, page.contents)

    def review_content(self, content_id: int, *, approve: bool, comment: str = "") -> Document:
        """The content after its review; an approved one is in the publish pool.

        Raises:
            ResourceNotFoundException: no such content.
            InvalidStateException: it was decided before, by a review or by `auto_approve`.

        Example:
            >>> content = client.review_content(content_id, approve=True, comment="well done")
        """
        decision = pb.REVIEW_DECISION_APPROVE if approve else pb.REVIEW_DECISION_REJECT
        request = pb.ReviewContentRequest(content_id=content_id, decision=decision, comment=comment)
        return documents.content(self._connection.call(self._connection.contents.ReviewContent, request).content)

    def delete_content(self, content_id: int, *, force: bool = False) -> bool:
        """True once it is deleted with its entry in the publish pool, False where there is no such content.

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
            self._connection.call(self._connection.contents.DeleteContent, request)
        except ResourceNotFoundException:
            return False
        return True

    def iter_publish_pool(self, account_id: int | None = None) -> Iterator[Document]:
        """All entries of the publish pool, fetched page by page.

        `content_id`, `account_id`, `priority`, `scheduled_at` (or None), `status` (`pending`, `publishing`,
        `published`, `failed`), `error` (or None), `claim_id` (the present or last claim, or None).

        Example:
            >>> waiting = [entry for entry in client.iter_publish_pool(account_id=1) if entry["status"] == "pending"]
        """
        request = pb.ListPublishPoolRequest(account_id=account_id or 0, page_size=PAGE_SIZE)
        for page in self._connection.call.pages(self._connection.contents.ListPublishPool, request):
            yield from map(documents.publish_pool_entry, page.entries)

    def claim_publish_pool(
        self, account_id: int | None = None, limit: int = 1, *, lease: float | None = None
    ) -> list[Document]:
        """Up to `limit` (1,000 at most) due entries for this publisher only, the highest priority first.

        Args:
            account_id: only of this account; None: of any.
            limit: how many at most.
            lease: seconds until what is not reported can be claimed by others; default 10 minutes.

        Example:
            >>> for entry in client.claim_publish_pool(limit=10, lease=120):
            ...     print("to be published:", entry["content_id"])
        """
        request = pb.ClaimPublishPoolRequest(account_id=account_id or 0, limit=limit, lease=duration(lease))
        answer = self._connection.call(self._connection.contents.ClaimPublishPool, request)
        return [documents.publish_pool_entry(entry) for entry in answer.entries]

    def report_published(self, content_id: int, claim_id: str, *, error: str | None = None) -> Document:
        """The entry once it is published or, with an `error`, has failed for good.

        Raises:
            ResourceNotFoundException: not in the pool.
            InvalidStateException: the claim ran out, is not the latest, or was reported before.

        Example:
            >>> entry = client.report_published(content_id, claim_id, error="the site refused it")
        """
        request = pb.ReportPublishedRequest(
            content_id=content_id, claim_id=claim_id, published=error is None, error=error or ""
        )
        return documents.publish_pool_entry(
            self._connection.call(self._connection.contents.ReportPublished, request).entry
        )
