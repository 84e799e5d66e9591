"""Read contents and review them. Layer: client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from contentgen.client.documents import PUBLISH_STATUS, REVIEW_STATUS, document, duration, timestamp, value
from contentgen.client.errors import ResourceNotFoundException
from contentgen.client.methods import (
    Methods,
    lists,
    returns,
    returns_all,
    returns_by,
    returns_if_found,
    returns_whether_found,
)
from contentgen.client.results import Comment, Content, ContentRevision, PublishStatus, ReviewEvent, ReviewStatus, Task
from contentgen.client.tasks import PAGE_SIZE
from contentgen.client.transport import Pages
from contentgen.v1 import content_service_pb2 as pb
from contentgen.v1 import task_pb2


def _claimed(content: pb.Content | None) -> Content | None:
    return None if content is None else document(Content, content)


class ContentMethods(Methods):
    @returns_if_found(Content)
    async def get_content(self, content_id: int | None) -> pb.Content:
        """Returns a content with its texts, or None if it does not exist.

        Args:
            content_id: a task's `content_id`; None: the task has no content.

        Example:
            >>> if content := client.get_content(content_id):
            ...     print(content["body"])
        """
        if content_id is None:
            raise ResourceNotFoundException("the task has no content")
        request = pb.GetContentRequest(content_id=content_id)
        return (await self._call(self._stubs.contents.GetContent, request)).content

    @lists(Content)
    def iter_contents(
        self,
        account_id: int | None = None,
        review_status: ReviewStatus | None = None,
        *,
        publish_status: PublishStatus | None = None,
        category: str = "",
        labels: Mapping[str, str] | None = None,
        min_quality_score: float | None = None,
        created_after: datetime | str | None = None,
        created_before: datetime | str | None = None,
        query: str = "",
        search_bodies: bool = False,
        assignee: str = "",
        oldest_first: bool = False,
        page_size: int = PAGE_SIZE,
    ) -> Pages[pb.Content]:
        """Iterates over contents without their texts, newest first, which it reads page by page.

        Args:
            account_id: None: of any account.
            review_status: None: any.
            publish_status: of the entry in the publish pool; None: any, or no entry.
            category: empty: any.
            labels: of the task; all of them.
            min_quality_score: None: any, or no score.
            created_after: then or later; a time without a zone is UTC.
            created_before: earlier than that.
            query: words, each of which is in the title or in the task's topic, and may be part of a longer one.
            search_bodies: a word may be in the text, too, of the newest 500 of the account, review and assignee.
            assignee: who is to review; empty: anybody or nobody.
            oldest_first: the oldest first.
            page_size: contents a call.

        Raises:
            ValueError: a status that does not exist.

        Example:
            >>> for content in client.iter_contents(review_status="pending_review"):
            ...     print(content["content_id"], content["title"])
        """
        request = pb.ListContentsRequest(
            account_id=account_id or 0,
            category=category,
            labels=labels,
            min_quality_score=min_quality_score,
            created_after=timestamp(created_after),
            created_before=timestamp(created_before),
            query=query,
            search_bodies=search_bodies,
            assignee=assignee,
            oldest_first=oldest_first,
            page_size=page_size,
        )
        if review_status is not None:
            request.review_status = value(REVIEW_STATUS, review_status)
        if publish_status is not None:
            request.publish_status = value(PUBLISH_STATUS, publish_status)
        return Pages(self._transport, self._stubs.contents.ListContents, request, lambda page: page.contents)

    @returns(Content)
    async def update_content(
        self,
        content_id: int,
        *,
        title: str | None = None,
        body: str | None = None,
        html_body: str | None = None,
        summary: str | None = None,
        category: str | None = None,
        cover_image: str | None = None,
        etag: str = "",
        reviewer: str = "",
    ) -> pb.Content:
        """Changes the texts that are given, as a new revision, and returns the content.

        A new `body` empties `html_body` unless that is given too.

        Args:
            content_id: the content.
            title: what is None stays as it is; so for the others.
            body: the text.
            html_body: the same as HTML.
            summary: what lists show of it.
            category: may be empty.
            cover_image: may be empty.
            etag: of the content when it was read; empty: whatever it is now is changed.
            reviewer: who edits, if the scheduler requires no tokens; else the token's name counts.

        Raises:
            ResourceNotFoundException: the content does not exist.
            EtagMismatchException: it has changed since it was read.

        Example:
            >>> content = client.get_content(content_id)
            >>> content = client.update_content(content_id, title="A better title", etag=content["etag"])
        """
        texts = {
            "title": title,
            "body": body,
            "html_body": html_body,
            "summary": summary,
            "category": category,
            "cover_image": cover_image,
        }
        changes = {name: text for name, text in texts.items() if text is not None}
        request = pb.UpdateContentRequest(
            content=pb.Content(content_id=content_id, **changes),  # type: ignore[arg-type] # all of these are texts
            update_mask=FieldMask(paths=list(changes)),
            etag=etag,
            reviewer=reviewer,
        )
        return (await self._call(self._stubs.contents.UpdateContent, request)).content

    @lists(ContentRevision)
    def iter_content_revisions(self, content_id: int, *, page_size: int = PAGE_SIZE) -> Pages[pb.ContentRevision]:
        """Iterates over the revisions of a content with their texts, oldest first, which it reads page by page.

        Raises:
            ResourceNotFoundException: the content does not exist.

        Example:
            >>> for revision in client.iter_content_revisions(content_id):
            ...     print(revision["number"], revision["author"], revision["title"])
        """
        request = pb.ListContentRevisionsRequest(content_id=content_id, page_size=page_size)
        return Pages(self._transport, self._stubs.contents.ListContentRevisions, request, lambda page: page.revisions)

    @returns(Content)
    async def restore_content_revision(self, content_id: int, revision: int, *, etag: str = "") -> pb.Content:
        """Gives a content the texts of one of its revisions, as a new revision, and returns the content.

        Args:
            content_id: the content.
            revision: its number; 1 is the creator's text.
            etag: of the content when it was read; empty: whatever it is now is changed.

        Raises:
            ResourceNotFoundException: the content or the revision does not exist.
            EtagMismatchException: it has changed since it was read.

        Example:
            >>> content = client.restore_content_revision(content_id, 1)
        """
        request = pb.RestoreContentRevisionRequest(content_id=content_id, revision=revision, etag=etag)
        return (await self._call(self._stubs.contents.RestoreContentRevision, request)).content

    @returns(Comment)
    async def add_comment(self, content_id: int, text: str) -> pb.Comment:
        """Adds a comment to a content, for other editors, and returns it.

        Raises:
            ResourceNotFoundException: the content does not exist.
            ResourceExhausted: it has 1,000 comments.

        Example:
            >>> comment = client.add_comment(content_id, "Is the price still right?")
        """
        request = pb.AddCommentRequest(content_id=content_id, text=text)
        return (await self._call(self._stubs.contents.AddComment, request)).comment

    @lists(Comment)
    def iter_comments(self, content_id: int, *, page_size: int = PAGE_SIZE) -> Pages[pb.Comment]:
        """Iterates over the comments of a content, oldest first, which it reads page by page.

        Raises:
            ResourceNotFoundException: the content does not exist.

        Example:
            >>> for comment in client.iter_comments(content_id):
            ...     print(comment["author"], comment["text"])
        """
        request = pb.ListCommentsRequest(content_id=content_id, page_size=page_size)
        return Pages(self._transport, self._stubs.contents.ListComments, request, lambda page: page.comments)

    @lists(ReviewEvent)
    def iter_review_events(self, content_id: int, *, page_size: int = PAGE_SIZE) -> Pages[pb.ReviewEvent]:
        """Iterates over what became of a content's review, oldest first: decisions, taken back or not, and assignments.

        Raises:
            ResourceNotFoundException: the content does not exist.

        Example:
            >>> for event in client.iter_review_events(content_id):
            ...     print(event["event_time"], event["actor"], event["review_status"], event["comment"])
        """
        request = pb.ListReviewEventsRequest(content_id=content_id, page_size=page_size)
        return Pages(self._transport, self._stubs.contents.ListReviewEvents, request, lambda page: page.events)

    @returns(Content)
    async def assign_review(self, content_id: int, assignee: str) -> pb.Content:
        """Says who is to review a content, and returns it. An empty `assignee` is nobody.

        Raises:
            ResourceNotFoundException: the content does not exist.

        Example:
            >>> print(client.assign_review(content_id, "anna")["assignee"])
        """
        request = pb.AssignReviewRequest(content_id=content_id, assignee=assignee)
        return (await self._call(self._stubs.contents.AssignReview, request)).content

    @returns(Content)
    async def review_content(
        self,
        content_id: int,
        *,
        approve: bool,
        comment: str = "",
        etag: str = "",
        reviewer: str = "",
        scheduled_at: datetime | str | None = None,
    ) -> pb.Content:
        """Approves or rejects a content, and returns it; an approved one enters the publish pool.

        Args:
            content_id: the content.
            approve: False rejects it.
            comment: why.
            etag: of the content when it was read; empty: whatever it is now is decided on.
            reviewer: who reviews, if the scheduler requires no tokens; else the token's name counts.
            scheduled_at: of an approval: not published before; a time without a zone is UTC. None: the task's.

        Raises:
            ResourceNotFoundException: the content does not exist.
            InvalidStateException: it was decided before, by a review or by `auto_approve`.
            EtagMismatchException: it has changed since it was read.

        Example:
            >>> content = client.review_content(content_id, approve=True, comment="well done")
        """
        request = _review(
            content_id, approve=approve, comment=comment, etag=etag, reviewer=reviewer, scheduled_at=scheduled_at
        )
        return (await self._call(self._stubs.contents.ReviewContent, request)).content

    @returns_all(Content)
    async def review_contents(self, reviews: Iterable[Mapping[str, Any]]) -> Iterable[pb.Content]:
        """Decides 1 to 100 reviews in one transaction, all or none, and returns the contents without their texts.

        Args:
            reviews: the arguments of `review_content` of each, by name.

        Raises:
            TypeError: a name that is no argument of `review_content`.
            RequestError: as `review_content`, for the first one that can't be decided; the message names it.

        Example:
            >>> contents = client.review_contents([{"content_id": content_id, "approve": False, "comment": "too long"}])
        """
        request = pb.BatchReviewContentsRequest(requests=[_review(**fields) for fields in reviews])
        return (await self._call(self._stubs.contents.BatchReviewContents, request)).contents

    @returns(Content)
    async def reopen_content(self, content_id: int) -> pb.Content:
        """Takes a review's decision back, and returns the content: it waits again, and has left the publish pool.

        Raises:
            ResourceNotFoundException: the content does not exist.
            InvalidStateException: a publisher has claimed it, or it is published.

        Example:
            >>> print(client.reopen_content(content_id)["review_status"])
        """
        request = pb.ReopenContentRequest(content_id=content_id)
        return (await self._call(self._stubs.contents.ReopenContent, request)).content

    @returns_by(_claimed)
    async def claim_review(
        self,
        account_id: int | None = None,
        *,
        content_id: int | None = None,
        lease: float | None = None,
        reviewer: str = "",
    ) -> pb.Content | None:
        """Returns the oldest content that waits for its review and nobody holds, and holds it; None if there is none.

        Two reviewers get different contents. A claim bars nobody from deciding, and ends with the decision.

        Args:
            account_id: only of this account; None: of any.
            content_id: this content, also if the reviewer holds it already: its lease begins anew. Returns None if it
                is decided, or somebody else holds it.
            lease: seconds until it may be given to others; default 10 minutes.
            reviewer: who reviews, if the scheduler requires no tokens; else the token's name counts.

        Example:
            >>> while content := client.claim_review(lease=300):
            ...     reviewed = client.review_content(content["content_id"], approve=True, etag=content["etag"])
        """
        request = pb.ClaimReviewRequest(
            account_id=account_id or 0, lease=duration(lease), reviewer=reviewer, content_id=content_id or 0
        )
        answer = await self._call(self._stubs.contents.ClaimReview, request)
        return answer.content if answer.HasField("content") else None

    @returns(Content)
    async def release_review(self, content_id: int) -> pb.Content:
        """Ends the claim of a review before its lease does, and returns the content.

        Raises:
            ResourceNotFoundException: the content does not exist.
            PermissionDenied: somebody else holds it, and the token is no operator's.

        Example:
            >>> print(client.release_review(content_id)["review_holder"])
        """
        request = pb.ReleaseReviewRequest(content_id=content_id)
        return (await self._call(self._stubs.contents.ReleaseReview, request)).content

    @returns(Task)
    async def regenerate_content(self, content_id: int, feedback: str) -> task_pb2.Task:
        """Submits a task that writes a content anew, with the feedback behind its requirements, and returns its status.

        The new content waits for a review; once it is approved it supersedes the old one.

        Raises:
            ResourceNotFoundException: the content does not exist, or its task was cleaned up.
            InvalidArgument: the requirements would be too long.
            RequestError: as `submit_task`.

        Example:
            >>> task = client.regenerate_content(content_id, "Shorter, and with a table of prices")
            >>> print(client.wait(task["task_id"], timeout=0)["regenerates_content_id"])
        """
        request = pb.RegenerateContentRequest(content_id=content_id, feedback=feedback)
        return (await self._call(self._stubs.contents.RegenerateContent, request)).task

    @returns_whether_found
    async def delete_content(self, content_id: int, *, force: bool = False) -> None:
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
        await self._call(self._stubs.contents.DeleteContent, request)


def _review(
    content_id: int,
    *,
    approve: bool,
    comment: str = "",
    etag: str = "",
    reviewer: str = "",
    scheduled_at: datetime | str | None = None,
) -> pb.ReviewContentRequest:
    return pb.ReviewContentRequest(
        content_id=content_id,
        decision=pb.REVIEW_DECISION_APPROVE if approve else pb.REVIEW_DECISION_REJECT,
        comment=comment,
        etag=etag,
        reviewer=reviewer,
        schedule_time=timestamp(scheduled_at),
    )
