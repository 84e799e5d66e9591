"""`contentgen content list|show|review|delete` and `contentgen pool list`. Layer: commands."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from contentgen.cli import tables
from contentgen.cli.command import Session, command
from contentgen.cli.documents import document
from contentgen.cli.options import Limit, OnlyAccount, page_size
from contentgen.cli.output import first
from contentgen.client.documents import REVIEW_STATUS, value
from contentgen.v1 import content_service_pb2 as pb


class Review(StrEnum):
    PENDING_REVIEW = "pending_review"
    APPROVED = "approved"
    REJECTED = "rejected"


ContentId = Annotated[int, typer.Argument(metavar="CONTENT_ID", min=1, help="The content.", show_default=False)]
ReviewStatus = Annotated[
    Review | None, typer.Option("--review", help="Only where the review stands so.", show_default=False)
]
Decision = Annotated[
    bool | None,
    typer.Option("--approve/--reject", help="Into the publish pool, or not to be published.", show_default=False),
]
Force = Annotated[
    bool, typer.Option("--force", help="Also what a publisher has claimed, and what is published.", show_default=False)
]
Comment = Annotated[str, typer.Option("--comment", "-m", help="What the reviewer says.", show_default=False)]


def add_to(contents: typer.Typer, pool: typer.Typer) -> None:
    """Those of both groups."""
    command(
        contents,
        "list",
        "contentgen content list --review pending_review",
        "contentgen content list --account 1 --limit 20",
    )(list_)
    command(contents, "show", "contentgen content show 17", "contentgen -o json content show 17 | jq -r .html_body")(
        show
    )
    command(
        contents,
        "review",
        "contentgen content review 17 --approve",
        'contentgen content review 17 --reject --comment "Two facts are wrong"',
    )(review)
    command(contents, "delete", "contentgen content delete 17", "contentgen content delete --force 17")(delete)
    command(
        pool, "list", "contentgen pool list --account 1", "contentgen -o jsonl pool list | jq .status | sort | uniq -c"
    )(list_pool)


def list_(session: Session, account: OnlyAccount = 0, review: ReviewStatus = None, limit: Limit = None) -> None:
    """List contents without their texts, the newest first, page by page to the end."""
    request = pb.ListContentsRequest(account_id=account, page_size=page_size(limit))
    if review is not None:
        request.review_status = value(REVIEW_STATUS, review)
    connection = session.connection
    pages = connection.call.pages(connection.contents.ListContents, request)
    contents = (document(content) for page in pages for content in page.contents)
    session.output.many(first(contents, limit), tables.CONTENTS, "contents")


def show(session: Session, content_id: ContentId) -> None:
    """Show a content with its text."""
    connection = session.connection
    found = connection.call(connection.contents.GetContent, pb.GetContentRequest(content_id=content_id)).content
    session.output.one(document(found), tables.content)


def review(session: Session, content_id: ContentId, approve: Decision = None, comment: Comment = "") -> None:
    """Approve or reject a content that waits for its review. A content is decided once."""
    if approve is None:
        raise typer.BadParameter("give --approve or --reject")
    decision = pb.REVIEW_DECISION_APPROVE if approve else pb.REVIEW_DECISION_REJECT
    request = pb.ReviewContentRequest(content_id=content_id, decision=decision, comment=comment)
    connection = session.connection
    reviewed = connection.call(connection.contents.ReviewContent, request).content
    told = (
        f"content {content_id} is approved and in the publish pool" if approve else f"content {content_id} is rejected"
    )
    session.output.text(told, document(reviewed))


def delete(session: Session, content_id: ContentId, force: Force = False) -> None:
    """Delete a content for good, with its entry in the publish pool. Its task stays."""
    connection = session.connection
    connection.call(connection.contents.DeleteContent, pb.DeleteContentRequest(content_id=content_id, force=force))
    session.output.text(f"content {content_id} is deleted", {"content_id": content_id, "deleted": True})


def list_pool(session: Session, account: OnlyAccount = 0, limit: Limit = None) -> None:
    """List the publish pool, the newest content first, page by page to the end."""
    request = pb.ListPublishPoolRequest(account_id=account, page_size=page_size(limit))
    connection = session.connection
    pages = connection.call.pages(connection.contents.ListPublishPool, request)
    entries = (document(entry) for page in pages for entry in page.entries)
    session.output.many(first(entries, limit), tables.POOL, "entries in the publish pool")
